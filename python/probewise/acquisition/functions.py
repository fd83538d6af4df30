# SPDX-License-Identifier: BSD-3-Clause
"""Acquisition functions of posterior mean and deviation, (c,) each -> (c,) float64. All are to be maximised."""

from __future__ import annotations

import math

import numpy as np

from probewise._core import acquisition as _core
from probewise.types import FloatArray

# The parameters that each policy takes, with their defaults; None: found from the told values.
POLICY_PARAMETERS: dict[str, dict[str, float | None]] = {
    "ucb": {"beta": 1.0},
    "ei": {"best": None, "xi": 0.0},
    "log-ei": {"best": None, "xi": 0.0},
    "pi": {"best": None, "xi": 0.0},
    "thompson": {},
    "straddle": {"threshold": None, "beta": 1.96},
    "target": {"low": None, "high": math.inf},
    "max-std": {},
}
POLICIES = tuple(POLICY_PARAMETERS)


def upper_confidence_bound(mean: FloatArray, std: FloatArray, *, beta: float = 1.0) -> FloatArray:
    """mean + beta * std (not the square root of beta)."""
    return score("ucb", mean, std, beta=beta)


def expected_improvement(mean: FloatArray, std: FloatArray, *, best: float, xi: float = 0.0) -> FloatArray:
    """Mean gain over `best` + `xi`, exact in its tails down to the smallest double; max(gain, 0) where std is 0."""
    return score("ei", mean, std, best=best, xi=xi)


def log_expected_improvement(mean: FloatArray, std: FloatArray, *, best: float, xi: float = 0.0) -> FloatArray:
    """Logarithm of the expected improvement, right for every z: it ranks where that underflows. -inf for no chance.

    source  Ament et al., NeurIPS 2023
    """
    return score("log-ei", mean, std, best=best, xi=xi)


def probability_of_improvement(mean: FloatArray, std: FloatArray, *, best: float, xi: float = 0.0) -> FloatArray:
    """Probability that the latent value exceeds `best` + `xi`."""
    return score("pi", mean, std, best=best, xi=xi)


def straddle(mean: FloatArray, std: FloatArray, *, threshold: float, beta: float = 1.96) -> FloatArray:
    """beta * std - |mean - threshold|: large where it is open on which side of the threshold the value lies.

    source  Bryan et al., NIPS 2005
    """
    return score("straddle", mean, std, threshold=threshold, beta=beta)


def target_probability(mean: FloatArray, std: FloatArray, *, low: float, high: float) -> FloatArray:
    """Probability that the latent value lies between `low` and `high`; either may be infinite."""
    return score("target", mean, std, low=low, high=high)


def max_std(mean: FloatArray, std: FloatArray) -> FloatArray:
    """The deviation itself: pure exploration."""
    return score("max-std", mean, std)


def score(policy: str, mean: FloatArray, std: FloatArray, **parameters: float) -> FloatArray:
    """One policy by name (not thompson, which is a draw and not a function of the two maps).

    raises  TypeError, ValueError naming a parameter, or a map that is not finite or holds a negative deviation
    """
    mean, std = np.asarray(mean), np.asarray(std)
    if mean.ndim != 1:
        raise ValueError(f"mean is an array of shape {mean.shape}, expected shape (c,)")
    _check_map("mean", mean, -math.inf, "finite numbers")
    _check_map("std", std, 0.0, "finite numbers that are not negative")
    for name, number in parameters.items():
        check_parameter(name, number)
    if parameters.get("low", -math.inf) > parameters.get("high", math.inf):
        raise ValueError(f"low is {parameters['low']}, high {parameters['high']}, expected low not above high")
    out = np.empty(mean.shape)
    _core.score(policy, parameters, mean, std, out)
    return out


def _check_map(name: str, values: FloatArray, least: float, expected: str) -> None:
    if values.dtype.kind != "f":
        return  # refused by the core, which takes two types only
    good = np.isfinite(values) & (values >= least)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(f"{name} holds {values.flat[first]} at {first}, expected {expected}")


def check_parameter(name: str, number: object) -> float:
    """A policy's parameter as a float; TypeError or ValueError naming it."""
    if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {number!r}, expected a number")
    infinite_allowed = name in ("low", "high")
    if math.isnan(number) or (math.isinf(number) and not infinite_allowed):
        raise ValueError(f"{name} is {number}, expected a finite number")
    if name in ("beta", "xi") and number < 0:
        raise ValueError(f"{name} is {number}, expected a number that is not negative")
    return float(number)
