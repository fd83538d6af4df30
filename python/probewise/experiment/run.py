# SPDX-License-Identifier: BSD-3-Clause
"""A finished, stopped or running experiment, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from probewise.errors import StorageError
from probewise.experiment.baselines import recall_of
from probewise.experiment.belief import FitRecord
from probewise.experiment.config import Configuration
from probewise.experiment.describer import Describer, Scalarized, make_describer
from probewise.experiment.devices import device_used
from probewise.experiment.dose import dose_map
from probewise.experiment.history import History, StepRecord
from probewise.experiment.journal import Journal
from probewise.experiment.learner import Learner
from probewise.experiment.measured import Frames, Spectra
from probewise.experiment.networks import Networks
from probewise.experiment.opening import assemble_learner, replay, stored_configuration
from probewise.experiment.recorder import Recorder, SurveyRecord
from probewise.experiment.sites import Sites, is_lattice, stored_sites
from probewise.experiment.states import SiteState
from probewise.experiment.summary import Summary, latency, summarise
from probewise.experiment.truth import Target, recall_curve, similarity
from probewise.experiment.watch import Watch
from probewise.shown import Shown, axes_or_new
from probewise.types import BoolArray, FloatArray, Frame, IntArray, Spectrum, Truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def open_run(directory: str | Path) -> Run:
    """The run in `directory`; read only, beside a running experiment too.

    raises  ConfigurationError where there is no journal, StorageError where it is damaged
    """
    return Run(Path(directory))


class Run(Shown):
    """What a run has done. Arrays are computed when first asked for; a running experiment is opened again to follow it.

    directory, configuration, summary (None while it has not ended)
    sites      lattice or list;  excluded (sites,) bool;  states (sites,) int8 of SiteState
    visited    (n,) int64 measured sites in order;  values (n,) as the last basis stands
    mean, std  (c,) final maps in units of the values, c = the product of `candidates`
    frames     of the measured sites, read when asked for;  spectra  likewise, where they were measured
    survey     Frame or None;  masks  by name
    target     (sites,) known map of a replay;  foi (sites,) bool;  truth  of a simulated specimen; None if unknown
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._journal = Journal.open(directory, write=False)
        with ExitStack() as opened:
            opened.callback(self._journal.close)
            self._recorder = Recorder(self._journal)
            self.configuration: Configuration = stored_configuration(self._journal)
            source = self._recorder.source()
            survey = self._recorder.survey()
            if source is None or survey is None:
                raise StorageError(f"{directory} holds a run that ended before its survey")
            self._source: dict[str, Any] = source
            self._survey: SurveyRecord = survey
            self._steps = self._recorder.steps()
            visits = [visit for visit, _ in self._recorder.visits()]
            opened.pop_all()
        self.sites: Sites = stored_sites(source)
        self.history = History(
            self.sites, survey.excluded, survey.duration_ns, survey.electrons, survey.fluence,
            self._recorder.lost_electrons(), self._steps, visits,
        )  # fmt: skip

    def close(self) -> None:
        self._journal.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def source(self) -> str:
        return str(self._source["name"])

    @property
    def models(self) -> list[dict[str, str]]:
        """Name, sha256 and provider of the networks that looked at its frames."""
        return [dict(row) for row in self._source["models"]]

    @cached_property
    def summary(self) -> Summary | None:
        """As in summary.json; None of a run that has not ended."""
        stored = self._journal.meta("summary")
        return None if stored is None else Summary(stored)

    def summary_so_far(self) -> Summary:
        """The summary of what is there, for a run that has not ended."""
        target, ssim = self._target, None
        if target is not None and target.values is not None and self._learner.belief.told:
            ssim = similarity(self._learner.belief.mean, target.values, self.sites.shape)
        return summarise(
            self.configuration,
            self.history,
            source=self.source,
            policy=self.policy_name,
            stop_reason="not ended: probewise resume goes on",
            target=target,
            ssim=ssim,
            full_raster_ns=self.full_raster_ns,
            device=device_used(self.models, "cuda" if self.configuration.run.device.startswith("cuda") else "cpu"),
            models=self.models,
            notices=self.notices,
            wall_s=self._steps[-1].elapsed_ns * 1e-9 if self._steps else 0.0,
        )

    @property
    def excluded(self) -> BoolArray:
        return self._survey.excluded

    @property
    def visited(self) -> IntArray:
        return self.history.measured

    @property
    def states(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        return self.history.states.astype(np.int8)

    @cached_property
    def survey(self) -> Frame | None:
        return None if self._survey.frame is None else self._journal.frame(self._survey.frame)

    @property
    def masks(self) -> dict[str, Any]:
        """(sites,) bool by name, and `class_map` (rows, cols) uint8 of the survey; empty without a survey."""
        return self._survey.masks or {}

    @cached_property
    def frames(self) -> Frames:
        return Frames(self._recorder, self._steps)

    @property
    def spectra(self) -> Sequence[Spectrum]:
        return Spectra(self._recorder, self._steps)

    @property
    def steps(self) -> list[StepRecord]:
        return self._steps

    @cached_property
    def _learner(self) -> Learner:
        """The belief as the run left it: the journal told again."""
        described = self.configuration.measure.kind == "frame" and self._has_features

        def make() -> Describer:
            if not described:
                return Scalarized(_not_measured)
            return make_describer(self.configuration, None, "rare", Networks(), Watch(asks=False))

        learner = assemble_learner(self.configuration, self.sites, make(), make, survey=self.survey)
        replay(self._recorder, self._steps, learner)
        return learner

    @property
    def _has_features(self) -> bool:
        """False when values came from a callable or a told map: their descriptions hold the value itself."""
        for step in self._steps:
            if step.state is SiteState.MEASURED:
                description = self._recorder.description(step.step)
                return description is not None and "value" not in description.extra
        return True

    @property
    def values(self) -> FloatArray:
        """(n,) NaN while there is no basis."""
        known = self._learner.values
        return np.full(len(self.visited), np.nan) if known is None else known

    @property
    def candidates(self) -> tuple[int, int]:
        return self._learner.belief.candidates.shape

    @property
    def mean(self) -> FloatArray:
        return self._learner.belief.fine_mean

    @property
    def std(self) -> FloatArray:
        return self._learner.belief.fine_std

    @property
    def policy_name(self) -> str:
        if self.configuration.acquisition.policy is not None:
            return str(self.configuration.acquisition.policy)
        from probewise.acquisition import objective

        return str(objective(self.configuration.acquisition.objective).policy)

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Why each step's site was chosen."""
        return [step.plan.as_dict() for step in self._steps]

    @cached_property
    def hyperparameters(self) -> list[tuple[int, FitRecord]]:
        """(step, fit) of each fit of the surrogate."""
        fits = ((step.step, self._recorder.fit(step.step)) for step in self._steps)
        return [(step, fit) for step, fit in fits if fit is not None]

    @property
    def timings(self) -> dict[str, FloatArray]:
        """(n,) ms by stage, over the steps that had it."""
        stages = latency([]).keys()
        return {
            stage: np.array([step.timings_ms[stage] for step in self._steps if stage in step.timings_ms])
            for stage in stages
        }

    @cached_property
    def notices(self) -> list[str]:
        return list(dict.fromkeys(self._recorder.notices()))

    @property
    def versions(self) -> dict[str, str]:
        """Of the program and its libraries, the SIMD level and the threads of the last process that wrote."""
        return self._recorder.machine()

    @cached_property
    def journal_hash(self) -> str:
        """sha256 of the journal file as it lies in the folder."""
        import hashlib

        with self._journal.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def _target(self) -> Target | None:
        target: Target | None = self._source["target"]
        return target

    @property
    def target(self) -> FloatArray | None:
        return None if self._target is None else self._target.values

    @property
    def foi(self) -> BoolArray | None:
        return None if self._target is None else self._target.interesting

    @property
    def truth(self) -> Truth | None:
        return None if self._target is None else self._target.truth

    @property
    def full_raster_ns(self) -> float | None:
        """Beam time of one full raster of the field; None in a replay."""
        return self._source["full_raster_ns"]  # type: ignore[no-any-return]

    @property
    def recall_curve(self) -> FloatArray | None:
        """(m, 3) site_fraction, raster_equivalents (NaN in a replay), recall; None where no truth is known."""
        return None if self.foi is None else recall_curve(self.history, self.foi, self.full_raster_ns)

    def baseline(self, policy: str, *, seed: int | None = None) -> FloatArray | None:
        """(m, 3) like `recall_curve`, of a baseline that takes as many steps at the same cost; see `recall_of`."""
        if self.foi is None:
            return None
        cost = [step.duration_ns for step in self._steps if step.duration_ns]
        return recall_of(
            policy,
            self.foi,
            self.sites,
            excluded=self.excluded,
            seed=self.configuration.run.seed if seed is None else seed,
            steps=len(self._steps),
            survey_ns=self.history.survey_ns,
            site_ns=float(np.median(cost)) if cost else 0.0,
            full_raster_ns=self.full_raster_ns,
            survey_means=self._survey.site_means,
        )

    def dose_map(self) -> FloatArray | None:
        """(rows, cols) e/A^2 over the survey field, mean of each cell; None without a current."""
        if self.configuration.current_pA is None:
            return None
        frames = self.history.exposed
        return dose_map(
            self.sites.centres_nm[[step.site for step in frames]],
            self.sites.side_nm,
            [step.electrons for step in frames],
            self.history.survey_electrons,
            self.sites.fov_nm,
        )

    def plot(self, which: Literal["mean", "std"] = "mean", *, axes: Axes | None = None) -> Axes:
        """Draw a final map over the field in nm, visited sites as dots; returns the axes."""
        if which not in ("mean", "std"):
            raise ValueError(f"which is {which!r}, expected 'mean' or 'std'")
        axes = axes_or_new(axes)
        values, centres = self.mean if which == "mean" else self.std, self.sites.centres_nm
        if is_lattice(self.sites):
            (top, left), (bottom, right) = centres[0], centres[-1]
            dy, dx = self.sites.pitch_nm
            extent = (left - dx / 2, right + dx / 2, bottom + dy / 2, top - dy / 2)
            axes.imshow(values.reshape(self.candidates), extent=extent)
        else:
            axes.scatter(centres[:, 1], centres[:, 0], c=values)
            axes.set_aspect("equal")
            axes.invert_yaxis()
        visited = centres[self.visited]
        axes.plot(visited[:, 1], visited[:, 0], ".", color="black", markersize=3)
        axes.set(xlabel="x, nm", ylabel="y, nm", title=f"{self.source}: {which}")
        return axes

    def _facts(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "source": self.source,
            "policy": self.policy_name,
            "seed": self.configuration.run.seed,
            "sites": self.sites.size,
            "steps": len(self._steps),
            "measured": len(self.visited),
            "state": "not ended" if self.summary is None else self.summary["stop_reason"],
        }


def _not_measured(frame: Frame) -> float:
    raise AssertionError("a run that is read measures nothing")
