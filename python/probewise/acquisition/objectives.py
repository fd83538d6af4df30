# SPDX-License-Identifier: BSD-3-Clause
"""What a run is for, as a policy, a share of space filling before it, and a rule that says when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from probewise.acquisition.threshold import otsu_threshold
from probewise.types import FloatArray, Posterior


@dataclass(frozen=True)
class StopRule:
    """When nothing worth a measurement is left, several choices running.

    kind       gain: the bound of every free site lies under Otsu's threshold of the told values;
               ambiguity: no free site's interval holds the threshold (straddle below 0);
               deviation: the largest deviation is under `tolerance` of the deviation of the told values
    tolerance  of `deviation`
    patience   choices running for which it has to hold
    """

    kind: Literal["gain", "ambiguity", "deviation"]
    tolerance: float = 0.05
    patience: int = 3

    def check(
        self, posterior: Posterior, acquisition_values: float | FloatArray, history: Sequence[float] = ()
    ) -> str | None:
        """The reason to stop, or None to go on.

        acquisition_values  score of the site just chosen, or of all candidates, of the objective's own policy
        history             scores of the sites chosen before it, oldest first
        """
        top = np.asarray(acquisition_values, dtype=np.float64)
        top = top[np.isfinite(top)]
        if top.size == 0 or len(history) + 1 < self.patience:
            return None
        recent = [*history[len(history) - self.patience + 1 :], float(top.max())]
        told = np.asarray(getattr(posterior, "values", ()), dtype=np.float64)
        if told.size < 2:
            return None
        if self.kind == "gain":
            threshold = otsu_threshold(told)
            if max(recent) < threshold:
                return f"gain: the bound of every free site is under {threshold:.3g} for {self.patience} choices"
        elif self.kind == "ambiguity":
            if max(recent) < 0.0:
                return f"ambiguity: every free site lies clear of the threshold for {self.patience} choices"
        elif max(recent) < self.tolerance * float(np.std(told)):
            return f"deviation: under {self.tolerance:g} of that of the told values for {self.patience} choices"
        return None


@dataclass(frozen=True)
class Objective:
    """policy and its parameters; space_filling_first is the share of all sites measured in Halton order before it."""

    policy: str
    stop: StopRule
    parameters: dict[str, float] = field(default_factory=dict)
    space_filling_first: float = 0.0


_OBJECTIVES = {
    "cover": Objective("ucb", StopRule("gain"), {"beta": 1.0}, space_filling_first=0.01),
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
