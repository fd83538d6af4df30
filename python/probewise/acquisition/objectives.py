# SPDX-License-Identifier: BSD-3-Clause
"""What a run is for, as a policy, a share of space filling before it, and a rule that says when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from probewise.acquisition.threshold import otsu_threshold
from probewise.types import BoolArray, FloatArray, Posterior

CONFIDENCE = 3.0  # deviations: a normal value passes them in 1 of 740 places


@dataclass(frozen=True)
class StopRule:
    """When nothing worth a measurement is left.

    kind       gain: at every free candidate mean + 3 deviations lies under Otsu's threshold of the told values, so
               that a place never looked at keeps the run going;
               ambiguity: no free site's interval holds the threshold (straddle below 0);
               deviation: the largest deviation is under `tolerance` of the deviation of the told values
    tolerance  of `deviation`
    patience   choices running for which a score has to be low: ambiguity and deviation
    """

    kind: Literal["gain", "ambiguity", "deviation"]
    tolerance: float = 0.05
    patience: int = 3

    def check(
        self, posterior: Posterior, score: float, history: Sequence[float] = (), *, free: BoolArray
    ) -> str | None:
        """The reason to stop, or None to go on.

        score    of the site just chosen, by the objective's own policy
        history  scores of the sites chosen before it, oldest first
        free     (c,) bool, candidates that can still be measured
        """
        told = np.asarray(getattr(posterior, "values", ()), dtype=np.float64)
        if told.size < 2 or not free.any():
            return None
        if self.kind == "gain":
            threshold = otsu_threshold(told)
            bound = float((posterior.mean + CONFIDENCE * posterior.std)[free].max())
            if bound < threshold:
                return f"gain: mean + {CONFIDENCE:g} deviations is under {threshold:.3g} at every free site"
            return None
        recent = [*history, score][-self.patience :]
        if len(recent) < self.patience:
            return None
        if self.kind == "ambiguity":
            if max(recent) < 0.0:
                return f"ambiguity: every free site lies clear of the threshold for {self.patience} choices"
        elif max(recent) < self.tolerance * float(np.std(told)):
            return f"deviation: under {self.tolerance:g} of that of the told values for {self.patience} choices"
        return None


@dataclass(frozen=True)
class Objective:
    """What serves an objective.

    policy, parameters   of `choose`
    stop                 when it is served
    space_filling_first  share of all sites measured in Halton order before the policy
    offset               what is subtracted from the values before they are told, and so the prior mean of places not
                         measured: their "level" (GaussianProcess.level), or their "lowest", where the feature is
                         the high minority and the rest is held to be background until measured
    """

    policy: str
    stop: StopRule
    parameters: dict[str, float] = field(default_factory=dict)
    space_filling_first: float = 0.0
    offset: Literal["level", "lowest"] = "level"


_OBJECTIVES = {
    "cover": Objective("ucb", StopRule("gain"), {"beta": 1.0}, space_filling_first=0.01, offset="lowest"),
    "discover": Objective("straddle", StopRule("ambiguity"), {"beta": 1.96}),
    "reconstruct": Objective("max-std", StopRule("deviation"), space_filling_first=0.1),
}


def objective(name: str) -> Objective:
    """cover (measure all of the feature), discover (find every separate object) or reconstruct (map the values)."""
    if name not in _OBJECTIVES:
        raise ValueError(f"objective is {name!r}, expected one of {', '.join(_OBJECTIVES)}")
    return _OBJECTIVES[name]


def is_flat(values: FloatArray, scale: float) -> bool:
    """Do the scores (c,) of the free candidates differ by less than 1e-9 of `scale`, so that their order means nothing?

    Scores of -inf count as no score; scores that are all -inf are flat.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return finite.size == 0 or bool(finite.max() - finite.min() <= 1e-9 * abs(scale))
