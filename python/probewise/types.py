# SPDX-License-Identifier: BSD-3-Clause
"""The values that pass between rooms: frozen, calibrated, with units in their names.

Axes are (row, col), points (y, x). A fraction refers to the outer edges of a context's frame: pixel (r, c) of a
(rows, cols) frame has its centre at ((r + 0.5)/rows, (c + 0.5)/cols). Times are integer nanoseconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from probewise.shown import Shown, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray: TypeAlias = npt.NDArray[np.float64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

ELEMENTARY_CHARGE_C = 1.602176634e-19


@dataclass(frozen=True, slots=True)
class Lattice:
    """Candidates on a rectangular lattice: point (r, c) lies at (r * dy, c * dx), flat index r * cols + c.

    shape    (rows, cols), each at least 1
    spacing  (dy, dx), positive, in the unit of the lengthscale
    """

    shape: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        rows, cols = self.shape
        if rows < 1 or cols < 1:
            raise ValueError(f"shape is {self.shape}, expected at least one row and one column")
        if not all(math.isfinite(step) and step > 0 for step in self.spacing):
            raise ValueError(f"spacing is {self.spacing}, expected two positive finite numbers")

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def points(self) -> FloatArray:
        """Coordinates of all candidates, (c, 2) as (y, x)."""
        rows, cols = np.indices(self.shape, dtype=np.float64)
        return np.stack([rows.ravel() * self.spacing[0], cols.ravel() * self.spacing[1]], axis=1)


@dataclass(frozen=True, slots=True)
class SiteLattice:
    """Where a sub-scan can be taken: (rows, cols) squares of `side_nm` spread over the survey field.

    Site (r, c) has its centre at ((r + 0.5)/rows, (c + 0.5)/cols) of the field; flat index r * cols + c.
    """

    shape: tuple[int, int]
    side_nm: float
    fov_nm: tuple[float, float]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def pitch_nm(self) -> tuple[float, float]:
        return (self.fov_nm[0] / self.shape[0], self.fov_nm[1] / self.shape[1])

    @property
    def centres_nm(self) -> FloatArray:
        """(sites, 2) float64 (y, x) from the field's top left corner."""
        lattice = Lattice(self.shape, self.pitch_nm)
        return lattice.points() + np.array(self.pitch_nm) / 2


@dataclass(frozen=True, slots=True)
class Context:
    """The field that is armed: what a frame of fractions 0..1 means on the sample.

    fov_nm        (y, x) sides of the field
    shift_nm      (y, x) of the field's centre from the centre of the survey field
    rotation_rad  of the scan, counter-clockwise
    """

    fov_nm: tuple[float, float]
    shift_nm: tuple[float, float] = (0.0, 0.0)
    rotation_rad: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(side) and side > 0 for side in self.fov_nm):
            raise ValueError(f"fov_nm is {self.fov_nm}, expected two positive finite lengths (y, x)")
        if not all(math.isfinite(value) for value in (*self.shift_nm, self.rotation_rad)):
            raise ValueError(f"shift_nm is {self.shift_nm}, rotation_rad {self.rotation_rad}, expected finite numbers")


@dataclass(frozen=True, eq=False)
class ScanPath:
    """An ordered list of probe positions, as planned or as executed.

    yx        (n, 2) float64 fractions of the context's frame
    dwell_ns  (n,) int64
    active    (n,) bool; settling, flyback and discarded samples are kept here and are False
    pixel     (n,) int32 flat pixel of `shape` that a sample belongs to, -1 on masked samples
    shape     (rows, cols) of the image that `pixel` indexes
    """

    yx: FloatArray
    dwell_ns: IntArray
    active: BoolArray
    pixel: npt.NDArray[np.int32]
    shape: tuple[int, int]

    @property
    def duration_ns(self) -> int:
        return int(self.dwell_ns.sum())

    def codes(self, bits: int, out: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """DAC codes (n, 2) uint16 = round(fraction * (2**bits - 1)), into `out` when given."""
        from probewise._core import scan

        if out is None:
            out = np.empty(self.yx.shape, dtype=np.uint16)
        scan.codes(self.yx, bits, out)
        return out


@dataclass(frozen=True)
class RasterROI:
    """A rectangle scanned line by line in one direction: the special case that every instrument knows.

    yx, active, pixel and codes are those of `path`, the same scan as a list; dwell_ns is one number for all pixels.

    shape          (rows, cols) pixels
    dwell_ns       per pixel
    centre_yx      of the rectangle, fractions of the context's frame
    size_yx        of the rectangle, fractions of the context's frame
    discard_lines  lines scanned above the first one and thrown away (distorted by settling); along the first line
                   where the frame has no room above it
    flyback_ns     per line, beam on
    """

    shape: tuple[int, int]
    dwell_ns: int
    centre_yx: tuple[float, float] = (0.5, 0.5)
    size_yx: tuple[float, float] = (1.0, 1.0)
    discard_lines: int = 0
    flyback_ns: int = 0

    def __post_init__(self) -> None:
        if self.shape[0] < 1 or self.shape[1] < 1:
            raise ValueError(f"shape is {self.shape}, expected at least one row and one column")
        if self.dwell_ns < 1:
            raise ValueError(f"dwell_ns is {self.dwell_ns}, expected at least 1")
        if self.discard_lines < 0 or self.flyback_ns < 0:
            raise ValueError(
                f"discard_lines is {self.discard_lines}, flyback_ns {self.flyback_ns}, expected neither negative"
            )
        for centre, size in zip(self.centre_yx, self.size_yx, strict=True):
            inside = size > 0 and centre - size / 2 >= -1e-9 and centre + size / 2 <= 1 + 1e-9
            if not inside:  # also refuses NaN
                raise ValueError(
                    f"centre_yx {self.centre_yx} with size_yx {self.size_yx} leaves the frame, expected within 0..1"
                )

    @property
    def duration_ns(self) -> int:
        rows, cols = self.shape
        return (rows + self.discard_lines) * (cols * self.dwell_ns + self.flyback_ns)

    @property
    def yx(self) -> FloatArray:
        return self.path.yx

    @property
    def active(self) -> BoolArray:
        return self.path.active

    @property
    def pixel(self) -> npt.NDArray[np.int32]:
        return self.path.pixel

    def codes(self, bits: int, out: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """As `ScanPath.codes`."""
        return self.path.codes(bits, out)

    @cached_property
    def path(self) -> ScanPath:
        """The same scan as an ordered list, flyback and discarded lines masked."""
        from probewise._core import scan

        yx, dwell_ns, active, pixel = scan.raster(
            self.shape, self.dwell_ns, self.centre_yx, self.size_yx, self.discard_lines, self.flyback_ns
        )
        return ScanPath(yx=yx, dwell_ns=dwell_ns, active=active, pixel=pixel, shape=self.shape)


Scan: TypeAlias = ScanPath | RasterROI


class Capability(enum.Flag):
    """What a backend can do."""

    NONE = 0
    ROTATED_ROI = enum.auto()
    VECTOR = enum.auto()
    POINT_DWELL = enum.auto()
    PARTIAL_READ = enum.auto()
    BLANK = enum.auto()
    BLANK_INLINE = enum.auto()
    ABORT = enum.auto()
    SHIFT = enum.auto()
    SIMULTANEOUS = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the coils, the DAC and the detector allow. Velocities in fields per second."""

    channels: tuple[str, ...] = ("HAADF",)
    dwell_min_ns: int = 100
    dwell_max_ns: int = 1_000_000_000
    dwell_step_ns: int = 1
    dac_bits: int = 16
    max_points: int = 1 << 26
    flyback_ns: int = 0
    settle_ns: int = 0
    max_velocity_per_s: float = math.inf
    max_acceleration_per_s2: float = math.inf
    max_fov_nm: float = math.inf


@dataclass(frozen=True, slots=True)
class Armed:
    """A validated, quantised scan that waits for `start`. `sequence` ties the frame to it."""

    sequence: int
    scan: Scan
    context: Context
    channels: tuple[str, ...]
    duration_ns: int


@dataclass(frozen=True, eq=False, repr=False)
class Frame(Shown):
    """What one scan gave.

    counts       (channels, rows, cols) float32 for a RasterROI, (channels, n) for a ScanPath (masked samples too)
    scan         the executed geometry
    sequence     of the Armed it answers
    started_ns   on the instrument's clock
    duration_ns  beam-on time, flyback and discarded lines included
    valid        samples that were really acquired (all of them unless cut short)
    notices      what was done to the data on the way (a cast, a resampling)
    """

    counts: Float32Array
    channels: tuple[str, ...]
    context: Context
    scan: Scan
    sequence: int
    started_ns: int
    duration_ns: int
    valid: int
    notices: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.scan.shape

    @property
    def pixel_nm(self) -> tuple[float, float]:
        """(y, x) size of a pixel."""
        size = self.scan.size_yx if isinstance(self.scan, RasterROI) else (1.0, 1.0)
        rows, cols = self.scan.shape
        return (self.context.fov_nm[0] * size[0] / rows, self.context.fov_nm[1] * size[1] / cols)

    def image(self, channel: int = 0) -> Float32Array:
        """One channel as (rows, cols); a vector path is binned to its pixels, NaN where no sample fell."""
        if isinstance(self.scan, RasterROI):
            picture: Float32Array = self.counts[channel]
            return picture
        from probewise._core import image

        out = np.empty(self.scan.shape, dtype=np.float32)
        image.to_image(self.scan.pixel, np.ascontiguousarray(self.counts[channel]), out)
        return out

    def plot(self, channel: int = 0, *, axes: Axes | None = None) -> Axes:
        """Draw one channel in nm from the top left corner; returns the axes."""
        size = self.scan.size_yx if isinstance(self.scan, RasterROI) else (1.0, 1.0)
        height, width = (side * share for side, share in zip(self.context.fov_nm, size, strict=True))
        axes = axes_or_new(axes)
        axes.imshow(self.image(channel), extent=(0.0, width, height, 0.0), cmap="gray")
        axes.set(xlabel="x, nm", ylabel="y, nm", title=self.channels[channel])
        return axes

    def _facts(self) -> dict[str, str]:
        rows, cols = self.shape
        return {
            "shape": f"{rows} x {cols}",
            "channels": ", ".join(self.channels),
            "pixel_nm": f"{self.pixel_nm[0]:.4g} x {self.pixel_nm[1]:.4g}",
            "centre_nm": f"{self.context.shift_nm[0]:.4g}, {self.context.shift_nm[1]:.4g}",
            "duration_s": f"{self.duration_ns * 1e-9:.4g}",
            "notices": str(len(self.notices)),
        }


@runtime_checkable
class Instrument(Protocol):
    """The eight verbs. `abort` may be called from any thread; all others from the owner thread."""

    def describe(self) -> tuple[Capability, Limits]:
        """Static flags and limits."""
        ...

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Validate, quantise and upload; the beam does not move. ValueError names what is out of limits."""
        ...

    def start(self, armed: Armed) -> None:
        """Begin the scan; returns at once."""
        ...

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """Fill `out` (channels, samples) and return the frame that views it; ScanError after making the beam safe."""
        ...

    def abort(self) -> None:
        """Stop whatever runs and end in the safe state. Idempotent, bounded, from any thread."""
        ...

    def park(self, yx: tuple[float, float] | None) -> None:
        """Rest the beam at fractions (y, x) of the survey field; None leaves the parked state."""
        ...

    def blank(self, on: bool) -> None:
        """Blank or unblank the beam."""
        ...

    def close(self) -> None:
        """Make the beam safe, then release the hardware. Idempotent."""
        ...


@runtime_checkable
class Checkpointed(Protocol):
    """An instrument whose own state (simulated clock, frame counter) can be journalled and put back."""

    def checkpoint(self) -> dict[str, int]: ...

    def restore(self, state: dict[str, int]) -> None: ...


@dataclass(frozen=True, eq=False)
class TruthObject:
    """One thing worth finding.

    samples_nm  (m, 2) float64 points (y, x) in the survey field, evenly over the object (one for a point defect)
    measure     of one sample, in `unit` (area, length or count it stands for)
    """

    kind: str
    samples_nm: FloatArray
    measure: float
    unit: Literal["nm^2", "nm", "count"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulated specimen really holds, from its construction and never from a descriptor.

    objects      all objects of interest in the survey field
    site_holds   a square of the field is of interest when the measures of the samples inside it add up to
                 at least this (in the objects' unit)
    fov_nm       (y, x) of the survey field
    labels       (rows, cols) int16 class map of the field at `label_nm` per pixel; names in `label_names`
    mask_names   names of those labels that are not specimen (vacuum, hole, contamination)
    notes        what the specimen states about itself (zone axis, statistics, correlation length)
    columns_in   enumerates the atom columns of a box, see `atoms`; None in a truth read from a journal
    """

    specimen: str
    seed: int
    fov_nm: tuple[float, float]
    objects: tuple[TruthObject, ...]
    site_holds: float
    labels: npt.NDArray[np.int16]
    label_nm: float
    label_names: tuple[str, ...]
    mask_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    columns_in: Callable[[tuple[float, float, float, float]], tuple[FloatArray, IntArray]] | None = None

    def atoms(self, box_nm: tuple[float, float, float, float]) -> tuple[FloatArray, IntArray]:
        """The atom columns inside a box of the survey field, enumerated on demand.

        box_nm   (y0, x0, y1, x1) from the field's top left corner
        returns  yx_nm (n, 2) and Z (n,): the heaviest element of each column
        raises   ValueError for a box that is not finite or empty, and where the truth comes from a journal
        """
        if self.columns_in is None:
            raise ValueError("this truth was read from a journal, which keeps no atoms, expected one of `truth`")
        return self.columns_in(box_nm)

    @property
    def walls(self) -> tuple[TruthObject, ...]:
        """The objects that are lines, domain walls and pieces of a grain boundary: `samples_nm` run along each."""
        return tuple(thing for thing in self.objects if thing.kind.endswith(("wall", "boundary segment")))

    @property
    def masks(self) -> dict[str, BoolArray]:
        """(rows, cols) bool of each label by its name, at `label_nm` per pixel; disjoint, together the whole field."""
        return {name: self.labels == number for number, name in enumerate(self.label_names)}

    def interesting(self, centres_nm: FloatArray, side_nm: float) -> BoolArray:
        """(c,) bool: does the square sub-scan of `side_nm` at each centre (c, 2) hold the feature?"""
        held = np.zeros(len(centres_nm))
        for thing in self.objects:
            held += thing.measure * _inside(thing.samples_nm, centres_nm, side_nm).sum(axis=1)
        return held >= self.site_holds

    def found(self, centres_nm: FloatArray, side_nm: float, share: float = 0.3) -> BoolArray:
        """(objects,) bool: do the sub-scans at `centres_nm` together hold at least `share` of each object?"""
        return np.array(
            [
                _inside(thing.samples_nm, centres_nm, side_nm).any(axis=0).mean() >= share if len(centres_nm) else False
                for thing in self.objects
            ],
            dtype=bool,
        )


def _inside(samples_nm: FloatArray, centres_nm: FloatArray, side_nm: float) -> BoolArray:
    """(c, m) bool: sample j lies in the square around centre i."""
    offset = np.abs(centres_nm[:, None, :] - samples_nm[None, :, :])
    return np.asarray((offset <= side_nm / 2).all(axis=2))


@dataclass(frozen=True, eq=False)
class Description:
    """What a frame is turned into before any basis is fitted.

    features   (windows, f) float32
    centre_yx  (windows, 2) float64 centres of the windows, fractions of the frame
    extra      values of their own by name, each (windows,) float64 (peak position, sharpness, ...)
    notices    what was done to the frame on the way (pixels filled, windows left out)
    """

    features: Float32Array
    centre_yx: FloatArray
    extra: dict[str, FloatArray] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Familiarity:
    """How a frame compares with those that a network was made for.

    distance  1 at the limit, more is farther off
    rate      share of home frames beyond the limit
    reason    the statistic that is farthest off
    """

    distance: float
    rate: float
    reason: str

    @property
    def unfamiliar(self) -> bool:
        return self.distance > 1


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atom columns found in one image.

    yx       (n, 2) float64 (row, col) in pixels of that image, pixel centres at integers
    label    (n,) int64 index into `classes`
    score    (n,) float64, mean probability of the atom's pixels, 0 to 1
    classes  names of the labels; empty where the maps had no names
    familiarity  of the frame; None where the network has no reference statistics, the frame is too small, or of a kind
                 with too few of them
    relabelled   (n,) bool, where the amplitudes in the frame changed the network's label; None: they were not asked
    dropped      how many more the network had found that do not stand out of a bare film's grain
    """

    yx: FloatArray
    label: IntArray
    score: FloatArray
    classes: tuple[str, ...] = ()
    familiarity: Familiarity | None = None
    relabelled: BoolArray | None = None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.yx)


@dataclass(frozen=True, eq=False)
class Segments:
    """What a frame shows, area by area, on a coarser grid over the same area, edge to edge.

    probability  (k, rows, cols) float32, adds up to 1 over the k classes
    classes      their names
    pixel_nm     (y, x) size of a pixel of `probability`
    """

    probability: Float32Array
    classes: tuple[str, ...]
    pixel_nm: tuple[float, float]

    @property
    def label(self) -> IntArray:
        """(rows, cols) int64: the likeliest class."""
        return np.asarray(self.probability.argmax(axis=0))


@dataclass(frozen=True, eq=False)
class Latents:
    """What an encoder says of n patches: means of the latent variables, and the spread of each.

    angle    (n,) rad; zeros where the encoder has no rotation
    shift    (n, 2) fractions of half a patch (y, x); zeros where it has no translation
    z        (n, k) content
    log_std  (n, 3 + k) natural logarithm of the standard deviations, in the order angle, shift, content
    """

    angle: Float32Array
    shift: Float32Array
    z: Float32Array
    log_std: Float32Array

    def __len__(self) -> int:
        return len(self.z)


@runtime_checkable
class Posterior(Protocol):
    """All that acquisition knows of a surrogate."""

    @property
    def mean(self) -> FloatArray: ...

    @property
    def std(self) -> FloatArray: ...

    def sample(self, key: tuple[int, int]) -> FloatArray:
        """One joint draw of the latent function at all candidates, (c,)."""
        ...

    def believe(self, index: int) -> Posterior:
        """A copy in which `index` was told its own posterior mean (Kriging believer)."""
        ...

    def bound(self, tile: slice) -> tuple[float, float]:
        """Upper bounds of (mean, std) over a run of candidates."""
        ...
