# SPDX-License-Identifier: BSD-3-Clause
"""What has happened in a run so far, as plain numbers: the same from a living experiment and from its journal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from probewise.experiment.sites import Sites
from probewise.experiment.states import Plan, SiteState
from probewise.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class StepRecord:
    """One committed step without its arrays.

    duration_ns  beam-on time of its frame
    elapsed_ns   wall time of the run up to its commit, all segments together
    off_nm       (y, x) from the site to where its scan really was; None where nobody knows
    idle_ns      time the beam rested on the specimen before it (0 when blanked)
    value        of the site when it was measured, None without a basis or frame
    """

    step: int
    plan: Plan
    state: SiteState
    value: float | None
    duration_ns: int
    electrons: float
    fluence_e_per_A2: float
    elapsed_ns: int
    idle_ns: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)
    off_nm: tuple[float, float] | None = None

    @property
    def site(self) -> int:
        return self.plan.site


@dataclass(frozen=True)
class VisitRecord:
    """One look at where the specimen is, all its scans together.

    step         number of the step that it came before
    kind         "reference", "patch" or "survey"
    clock_ns     of the middle of its last scan, on the instrument's clock
    anchor_nm    (y, x) that the specimen had moved since the reference; None where it could not be told
    jumped       whether that is not where the visits before had led to expect it
    centre_nm    (y, x) of the patch when the reference was taken, side_nm its side; of a survey the field
    duration_ns, electrons, fluence_e_per_A2  of its scans, summed
    checkpoint   of the instrument after it
    """

    step: int
    kind: str
    clock_ns: int
    anchor_nm: tuple[float, float] | None
    jumped: bool
    error_nm: float | None
    doubts: tuple[str, ...]
    centre_nm: tuple[float, float]
    side_nm: float
    duration_ns: int
    electrons: float
    fluence_e_per_A2: float
    scans: int
    checkpoint: dict[str, int]


@dataclass
class History:
    """The steps of a run, what its survey and its visits of a reference patch cost, and what follows from them.

    outside  (sites,) bool: sites that drift has taken out of the field for now
    """

    sites: Sites
    excluded: BoolArray
    survey_ns: int = 0
    survey_electrons: float = 0.0
    survey_fluence: float = 0.0
    lost_electrons: float = 0.0
    steps: list[StepRecord] = field(default_factory=list)
    visits: list[VisitRecord] = field(default_factory=list)
    outside: BoolArray | None = None

    @property
    def states(self) -> IntArray:
        """(sites,) SiteState; the last outcome of a site counts."""
        states = np.where(self.excluded, SiteState.EXCLUDED, SiteState.FREE).astype(np.int64)
        sites = np.fromiter((step.plan.site for step in self.steps), dtype=np.int64, count=len(self.steps))
        states[sites] = np.fromiter((step.state for step in self.steps), dtype=np.int64, count=len(self.steps))
        if self.outside is not None:
            states[self.outside & (states == SiteState.FREE)] = SiteState.UNREACHABLE
        return states

    @property
    def measured(self) -> IntArray:
        """(n,) measured sites in order."""
        return np.array([step.plan.site for step in self.steps if step.state is SiteState.MEASURED], dtype=np.int64)

    @property
    def exposed(self) -> list[StepRecord]:
        """Steps whose beam moved."""
        return [step for step in self.steps if step.duration_ns > 0]

    @property
    def electrons(self) -> float:
        """Of committed frames, the survey included."""
        scanned = sum(step.electrons for step in self.steps) + sum(visit.electrons for visit in self.visits)
        return self.survey_electrons + scanned

    @property
    def steps_ns(self) -> int:
        """Beam time of the steps, over which `elapsed_ns` runs too."""
        return sum(step.duration_ns for step in self.steps)

    @property
    def beam_ns(self) -> int:
        """Of committed frames, the survey and visits of a reference patch included."""
        return self.survey_ns + self.steps_ns + sum(visit.duration_ns for visit in self.visits)

    @property
    def elapsed_ns(self) -> int:
        return self.steps[-1].elapsed_ns if self.steps else 0

    @property
    def bad_running(self) -> int:
        """Rejected frames since the last good one."""
        count = 0
        for step in reversed(self.steps):
            if step.state is SiteState.MEASURED:
                break
            count += step.state is SiteState.REJECTED
        return count

    def fluence_at(self, site: int) -> float:
        """e/A^2 that the most exposed point of a site has had."""
        half_open = self.sites.side_nm * (1 - 1e-9)
        near = np.abs(self.sites.centres_nm - self.sites.centres_nm[site]).max(axis=1) < half_open
        there = sum(step.fluence_e_per_A2 for step in self.steps if near[step.site])
        return self.survey_fluence + there + self._visited_fluence(self.sites.centres_nm[site], self.sites.side_nm)

    @property
    def patch_fluence(self) -> float:
        """e/A^2 that the most exposed point of a reference patch has had, sites that overlap it included."""
        largest = 0.0
        for visit in self.visits:
            if visit.kind != "survey":
                reach = (self.sites.side_nm + visit.side_nm) / 2
                near = np.abs(self.sites.centres_nm - visit.centre_nm).max(axis=1) < reach
                there = [self.fluence_at(site) for site in {step.site for step in self.steps} if near[site]]
                alone = self.survey_fluence + self._visited_fluence(np.array(visit.centre_nm), 0.0)
                largest = max(largest, alone, *there)
        return largest

    def _visited_fluence(self, centre_nm: FloatArray, side_nm: float) -> float:
        """Of the visits whose square may reach a square, drift aside."""
        return sum(
            visit.fluence_e_per_A2
            for visit in self.visits
            if np.abs(centre_nm - visit.centre_nm).max() < (side_nm + visit.side_nm) / 2
        )

    def spent_ns(self) -> FloatArray:
        """(steps + 1,) beam time after the survey and after each step."""
        spent = np.array([self.survey_ns, *(step.duration_ns for step in self.steps)], dtype=np.float64)
        for visit in self.visits:
            spent[min(visit.step + 1, len(self.steps))] += visit.duration_ns
        return np.cumsum(spent)
