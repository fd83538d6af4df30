# SPDX-License-Identifier: BSD-3-Clause
"""What a run is told to do: one frozen model, its tables and defaults.

Lengths are nm, times ns, currents pA; `surrogate.lengthscale` is in site pitches, `surrogate.noise` a variance of
the standardised values. A table or key that is not listed here is refused with the nearest one that is.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from probewise.experiment import toml_text

RULES = ("rare", "max-variance", "ask", "index", "callback")
COLUMNS = ("residual", "intensity", "spacing_nm", "spacing_1_nm", "spacing_2_nm")
HAVE_LINES = ("raster", "serpentine")
BASELINES = ("raster", "serpentine", "coarse-to-fine", "halton", "random", "max-std", "survey-threshold")
ACQUISITIONS = ("ucb", "ei", "log-ei", "pi", "thompson", "straddle", "target")
DESIGNS = ("halton", "random", "raster", "serpentine", "coarse-to-fine")
FEWEST_TO_FIT = 4  # values: below it a fit of the surrogate only repeats its priors
KERNELS = (
    "rbf", "matern12", "matern32", "matern52", "rq", "product-matern12", "product-matern32", "product-matern52",
)  # fmt: skip

Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Shape: TypeAlias = tuple[Count, Count]
SurveySide: TypeAlias = Annotated[int, Field(ge=32)]  # four tiles of 8 px: masks are made of no fewer
Point: TypeAlias = tuple[Finite, Finite]
Points: TypeAlias = Annotated[tuple[Point, ...], Field(min_length=1)]
Indices: TypeAlias = tuple[Annotated[int, Field(ge=0)], ...]
Mask: TypeAlias = Literal["vacuum", "holes", "thick", "contamination"]
Option: TypeAlias = bool | int | float | str | list[bool | int | float | str]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class InstrumentTable(Table):
    """Which microscope, and what is known of its beam. `options` goes to the backend as it stands.

    keeper: who holds real hardware, a process of its own or this one; simulators are always held here
    max_beam_s: the keeper lets the beam be on so long in all
    park: fractions (y, x) of the survey field where the beam rests when idle is "park", and where nothing else can make
    it safe; unset, the corner of the field that is farthest from all candidates
    """

    uri: Annotated[str, Field(min_length=1)] = "simulated:nio-lsmo"
    fov_nm: Positive | tuple[Positive, Positive] | None = None
    beam_current_pA: Positive | None = None
    current_source: Annotated[str, Field(pattern=r"^(nominal|measured \d{4}-\d{2}-\d{2})$")] = "nominal"
    voltage_kV: Positive = 60.0
    detector_mrad: tuple[NonNegative, Positive] = (54.0, 200.0)
    probe_nm: NonNegative = 0.0
    idle: Literal["blank", "park", "scan"] = "blank"
    park: Point | None = None
    realtime: bool = False
    keeper: Literal["process", "in-process"] = "process"
    max_beam_s: Positive | None = None
    options: dict[str, Option] = Field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        return self.uri.startswith("simulated:")


class SurveyTable(Table):
    """The one frame of the whole field. `shape = "none"` leaves it out, and the masks with it."""

    shape: tuple[SurveySide, SurveySide] | Literal["none"] = (1024, 1024)
    dwell_ns: Count = 1000
    mask: tuple[Mask, ...] = ("vacuum", "holes", "contamination")


class SitesTable(Table):
    """Where sub-scans may be taken: a lattice over the field, or `list` of centres (y, x) nm from its top left.

    border: unset, 1 ring of a lattice, whose scans are the most distorted; 0 in a replay, where none is
    window_px, step_px: of a replay's windows; unset, 64 and a quarter of a window
    """

    shape: Shape = (25, 25)
    list: Points | None = None
    side_nm: Positive = 8.0
    pixel_nm: Positive | None = None
    window_px: Count | None = None
    step_px: Count | None = None
    border: Annotated[int, Field(ge=0)] | None = None
    exclude: Indices = ()
    overlap: bool = False
    revisit: Literal["never"] = "never"
    retries: Annotated[int, Field(ge=0)] = 1


class ScanTable(Table):
    """discard_lines: unset, 2 for raster and serpentine; 0 for the other paths, which have no lines"""

    path: Literal["raster", "serpentine", "spiral", "fermat", "hilbert", "lissajous", "jittered"] = "raster"
    dwell_ns: Count = 4000
    channels: Annotated[tuple[str, ...], Field(min_length=1)] = ("HAADF",)
    discard_lines: Annotated[int, Field(ge=0, le=100)] | None = None


class MeasureTable(Table):
    """What is measured at a site. `scalarize` names a callable that is given in Python, never loaded from a file.

    kind: "spectrum" measures one at each pixel of a site, `scan.dwell_ns` being its exposure; the survey stays a frame
    energy_eV: of "spectrum", a window; the value of a site is its share of all counts, unless a callable is given
    """

    kind: Literal["frame", "point", "spectrum"] = "frame"
    scalarize: str | None = None
    energy_eV: tuple[Finite, Finite] | None = None


class DescriptorTable(Table):
    """How a frame becomes values.

    workflow: "linear" (window spectra, unmixed), "dcnn" (networks find atoms and objects) or "rvae" (an encoder reads
    patches about atoms, or windows)
    models: of a workflow with networks, names of shipped ones or FILE.onnx; unset, the shipped ones of "dcnn". Several
    that find atoms are an ensemble. "rvae" without any reads windows; its decoder may be among them
    of: of "rvae", classes of atoms that patches are cut about; unset, all but vacancies
    window_px: of "linear"; unset, 2.56 nm, at most the frame
    step_px: of "linear", and of the windows of "rvae" in pixels of its encoder; unset, half a window
    on_unfamiliar: when ten frames running are unlike those that the networks were made for: "ask" (the beam is safe
    meanwhile; where nobody can answer, the run ends and can be resumed) or "notice"
    """

    workflow: Literal["linear", "dcnn", "rvae"] = "linear"
    models: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    of: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    method: Literal["nmf", "pca", "svd", "nfindr"] = "nmf"
    window_px: Count | None = None
    step_px: Count | None = None
    components: Annotated[int, Field(ge=2, le=64)] = 4
    refit_every: Count = 20
    on_unfamiliar: Literal["ask", "notice"] = "ask"


class ComponentTable(Table):
    """Which column of values is followed.

    by: a rule ("rare", "max-variance"), a component's index, "ask", "index" (then `index`), a template (FILE.npy), a
    value of the workflow's own (of "linear": "residual", "intensity", "spacing_nm", "spacing_1_nm", "spacing_2_nm"; of
    the others the name of a column), or "callback" for one given in Python
    sense: what is high: "maximise" or "minimise" the column, "deviation" from its median, or "auto", by which the
    rare sites are high
    """

    by: Annotated[int, Field(ge=0)] | str = "rare"
    index: Annotated[int, Field(ge=0)] | None = None
    sense: Literal["auto", "maximise", "minimise", "deviation"] = "auto"


class SurrogateTable(Table):
    """fit_delay: frames between the moment a refit is asked for and the one it is taken; it runs meanwhile. 0: at once.

    refine: unset, 2 where a frame gives many values with positions of their own, 1 where it gives one
    """

    kernel: Literal[KERNELS] = "matern52"  # type: ignore[valid-type]
    lengthscale: Positive = 2.0
    noise: Positive = 1e-2
    fit_every: Count = 10
    fit_delay: Annotated[int, Field(ge=0, le=100)] = 2
    precision: Literal["float64", "float32", "float16"] = "float64"
    refine: Annotated[int, Field(ge=1, le=16)] | None = None


class AcquisitionTable(Table):
    """pipelined: a site is chosen while the one before it is still being scanned, whose value is taken as expected."""

    objective: Literal["cover", "discover", "reconstruct"] = "cover"
    policy: Literal[BASELINES + ACQUISITIONS] | None = None  # type: ignore[valid-type]
    beta: NonNegative | None = None
    xi: NonNegative | None = None
    threshold: Finite | None = None
    batch: Count = 1
    cost_weight: NonNegative = 0.0
    pipelined: bool = False


class StartTable(Table):
    """sites: unset, 5 for each component and at least 20; 12 where networks say what there is; 4 in the replay of a
    told map, which has no components; more where the objective begins with a share of all sites
    """

    sites: Annotated[int, Field(ge=1)] | None = None
    design: Literal[DESIGNS] = "halton"  # type: ignore[valid-type]


class BudgetTable(Table):
    """Ends of a run. Any of them given switches the objective's own stop rule off; its notice stays."""

    steps: Annotated[int, Field(ge=0)] | None = None
    seconds: Positive | None = None
    max_e_per_A2: Positive | None = None
    electrons: Positive | None = None

    default_steps: ClassVar[int] = 60

    @property
    def given(self) -> bool:
        return any(value is not None for value in (self.steps, self.seconds, self.max_e_per_A2, self.electrons))

    @property
    def limit_of_steps(self) -> int | None:
        """Steps allowed: those given, or the default when no budget at all was given."""
        return self.default_steps if not self.given else self.steps


class RunTable(Table):
    """device: "cuda" or "cuda:N" runs networks and surrogate on a CUDA device, and is refused where one of them cannot;
    "auto" runs networks on one where there is one, and the surrogate on the CPU
    """

    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")] = "auto"
    out: str | None = None
    replay: bool = False


class DriftTable(Table):
    """Whether sites follow the specimen. A visit of the patch costs dose and time, so that it is asked for.

    correct: "reference" visits a patch that the survey and two scans show to be unique; where it cannot be told any
    more, the field is surveyed again, and where that does not tell either, the run ends and can be resumed
    every_steps: unset, 10, or only by `every_seconds` of the instrument's clock where that is set
    max_nm: a visit that finds the specimen farther from where it was expected is not believed without a new survey
    side_nm, pixels, dwell_ns: of the patch. Its pixel has to be half of the finest spacing that the probe resolves:
    a lattice on fewer pixels beats with them, and its fringes move otherwise than it does
    """

    correct: Literal["off", "reference"] = "off"
    every_steps: Count | None = None
    every_seconds: Positive | None = None
    max_nm: Positive = 4.0
    side_nm: Positive = 16.0
    pixels: Annotated[int, Field(ge=84, le=1024)] = 256
    dwell_ns: Count = 4000


class Configuration(Table):
    """All tables of a run; the keywords of `Experiment` have the same names."""

    instrument: InstrumentTable = Field(default_factory=InstrumentTable)
    survey: SurveyTable = Field(default_factory=SurveyTable)
    sites: SitesTable = Field(default_factory=SitesTable)
    scan: ScanTable = Field(default_factory=ScanTable)
    measure: MeasureTable = Field(default_factory=MeasureTable)
    descriptor: DescriptorTable = Field(default_factory=DescriptorTable)
    component: ComponentTable = Field(default_factory=ComponentTable)
    surrogate: SurrogateTable = Field(default_factory=SurrogateTable)
    acquisition: AcquisitionTable = Field(default_factory=AcquisitionTable)
    start: StartTable = Field(default_factory=StartTable)
    budget: BudgetTable = Field(default_factory=BudgetTable)
    drift: DriftTable = Field(default_factory=DriftTable)
    run: RunTable = Field(default_factory=RunTable)

    @property
    def fov_nm(self) -> tuple[float, float] | None:
        """(y, x) sides of the survey field; None where the instrument is to say."""
        fov = self.instrument.fov_nm
        if fov is None:
            return (200.0, 200.0) if self.instrument.simulated else None
        return fov if isinstance(fov, tuple) else (fov, fov)

    @property
    def current_pA(self) -> float | None:
        """The beam current dose is booked with; 60 pA nominal on a simulated microscope only."""
        if self.run.replay:
            return None
        if self.instrument.beam_current_pA is None and self.instrument.simulated:
            return 60.0
        return self.instrument.beam_current_pA

    @property
    def pixel_nm(self) -> float | None:
        """Size of a site's pixel; None where the picture's own is to be taken."""
        if self.sites.pixel_nm is None and not self.instrument.uri.startswith("image:"):
            return 0.02
        return self.sites.pixel_nm

    @property
    def discard_lines(self) -> int:
        """Lines of a sub-scan that are scanned first and thrown away."""
        if self.scan.discard_lines is not None:
            return self.scan.discard_lines
        return 2 if self.scan.path in HAVE_LINES and self.measure.kind != "spectrum" else 0

    @property
    def border(self) -> int:
        """Rings of the lattice left out."""
        if self.sites.border is not None:
            return self.sites.border
        return 0 if self.run.replay else 1

    @property
    def replay_window_px(self) -> int:
        return self.sites.window_px or 64

    @property
    def replay_step_px(self) -> int:
        return self.sites.step_px or max(1, self.replay_window_px // 4)

    @property
    def by_windows(self) -> bool:
        """A site's value comes from the windows of a frame, by the descriptor."""
        return self.measure.kind == "frame" and self.measure.scalarize is None

    @property
    def refine(self) -> int:
        """Candidates along a site's side. Windows at their own positions tell on which side a feature goes on."""
        if self.surrogate.refine is not None:
            return self.surrogate.refine
        return 2 if self.by_windows and not self.run.replay and self.sites.list is None else 1

    @property
    def start_sites(self) -> int:
        """Sites of the start design, unless told otherwise; a told map has no components.

        A component that no start site shows cannot be followed. Of 12 sites none shows a phase that one site in eight
        holds with a probability of 0.2, of 20 sites 0.07.
        """
        if self.start.sites is not None:
            return self.start.sites
        if self.told_map:
            return FEWEST_TO_FIT
        return max(5 * self.descriptor.components, 20) if self.descriptor.workflow == "linear" else 12

    @property
    def told_map(self) -> bool:
        """A replay of values instead of pictures."""
        return self.run.replay and self.instrument.uri.lower().endswith(".npz")

    def to_toml(self) -> str:
        """As TOML, what is unset left out; `load` of it gives an equal configuration."""
        rule = f"# steps = {self.budget.default_steps}, and the stop rule of the objective"
        return toml_text.write(self.model_dump(mode="json"), {} if self.budget.given else {"budget": rule})

    def json_schema(self) -> dict[str, Any]:
        return self.model_json_schema()
