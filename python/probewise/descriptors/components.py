# SPDX-License-Identifier: BSD-3-Clause
"""Which component is worth following."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from probewise.types import BoolArray, FloatArray

Rule: TypeAlias = "str | int | Callable[[FloatArray], int] | np.ndarray[Any, Any]"


def select_component(values: FloatArray, by: Rule = "rare") -> int:
    """Index of the component of `values` (n, k) that a rule picks.

    by      "rare": the largest variance x |skewness|, the sign being the one with positive skewness, so that a few
            high values stand over many low ones; "max-variance": the study's rule, which picks the majority phase on
            real samples; an integer; a callable that is given `values` and returns an integer; a template (n,), for
            which the component with the largest absolute correlation is taken
    returns int; its sign is the caller's, see `orientation`
    raises  ValueError when the rule names no component, or every component is constant; constant ones are never
            picked by a rule that ranks
    """
    table: np.ndarray[Any, Any] = np.asarray(values)
    if (
        table.ndim != 2
        or 0 in table.shape
        or not np.issubdtype(table.dtype, np.floating)
        or not np.isfinite(table).all()
    ):
        raise ValueError(f"values is {table.dtype} of shape {table.shape}, expected finite floats (n, components)")
    components = table.shape[1]
    if isinstance(by, bool):
        raise ValueError(f"by is {by}, expected a rule, an index, a callable or a template")
    if isinstance(by, (int, np.integer)) or callable(by):
        index: object = int(by) if isinstance(by, (int, np.integer)) else by(table)
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < components:
            raise ValueError(f"by gives component {index!r}, expected an integer from 0 to {components - 1}")
        return int(index)
    alive = ~constant_components(table)
    if not alive.any():
        raise ValueError(f"all {components} components are constant over {len(table)} values, nothing to choose")
    score = _score(table, by)
    return int(np.argmax(np.where(alive, score, -np.inf)))


def constant_components(values: FloatArray) -> BoolArray:
    """(k,) bool: the column does not vary beyond rounding."""
    spread = np.ptp(values, axis=0)
    return np.asarray(spread <= 1e-12 * np.abs(values).max(axis=0))


def orientation(values: FloatArray) -> float:
    """+1.0 or -1.0: the sign that gives `values` (n,) a skewness that is not negative, rounding aside."""
    return -1.0 if _third_moment(values[:, None])[0] < -1e-9 * values.std() ** 3 else 1.0


def _score(values: FloatArray, by: Rule) -> FloatArray:
    variance = values.var(axis=0)
    if isinstance(by, np.ndarray):
        if by.shape != (len(values),) or by.dtype.kind != "f" or not np.isfinite(by).all():
            raise ValueError(f"by is a template of shape {by.shape}, expected finite floats ({len(values)},)")
        centred = by - by.mean()
        covariance = np.abs((values - values.mean(axis=0)).T @ centred)
        return np.asarray(covariance / np.sqrt(np.where(variance > 0, variance, np.inf)))
    if by == "rare":
        # variance x skewness = third moment / standard deviation
        return np.asarray(np.abs(_third_moment(values)) / np.sqrt(np.where(variance > 0, variance, np.inf)))
    if by == "max-variance":
        return np.asarray(variance)
    raise ValueError(f"by is {by!r}, expected 'rare', 'max-variance', an integer, a callable or a template")


def _third_moment(values: FloatArray) -> FloatArray:
    centred = values - values.mean(axis=0)
    return np.asarray((centred**3).mean(axis=0))
