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

    @property
    def site(self) -> int:
        return self.plan.site


@dataclass
class History:
    """The steps of a run, what its survey cost, and what follows from both."""

    sites: Sites
    excluded: BoolArray
    survey_ns: int = 0
    survey_electrons: float = 0.0
    survey_fluence: float = 0.0
    lost_electrons: float = 0.0
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def states(self) -> IntArray:
        """(sites,) SiteState; the last outcome of a site counts."""
        states = np.where(self.excluded, SiteState.EXCLUDED, SiteState.FREE).astype(np.int64)
        sites = np.fromiter((step.plan.site for step in self.steps), dtype=np.int64, count=len(self.steps))
        states[sites] = np.fromiter((step.state for step in self.steps), dtype=np.int64, count=len(self.steps))
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
        return self.survey_electrons + sum(step.electrons for step in self.steps)

    @property
    def steps_ns(self) -> int:
        """Beam time of the steps, over which `elapsed_ns` runs too."""
        return sum(step.duration_ns for step in self.steps)

    @property
    def beam_ns(self) -> int:
        """Of committed frames, the survey included."""
        return self.survey_ns + self.steps_ns

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
        return self.survey_fluence + sum(step.fluence_e_per_A2 for step in self.steps if near[step.site])

    def spent_ns(self) -> FloatArray:
        """(steps + 1,) beam time after the survey and after each step."""
        return np.cumsum([self.survey_ns, *(step.duration_ns for step in self.steps)], dtype=np.float64)
