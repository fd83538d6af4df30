# SPDX-License-Identifier: BSD-3-Clause
"""What a user's `scalarize` may return, and how several values of one place become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Values:
    """Several values of one measurement, each at its own place; none at all where it shows nothing to value.

    values     (n,) finite; arrays or sequences of numbers, kept as float64, as the others are
    centre_yx  (n, 2) places, fractions 0 to 1 of the frame
    variance   (n,) of each value's error in squared units of the values, 0 or more, or None where it is not known
    raises     TypeError (not numbers), ValueError (shape, not finite, outside the frame) naming the field
    """

    values: FloatArray
    centre_yx: FloatArray
    variance: FloatArray | None = None

    def __post_init__(self) -> None:
        values = _numbers("values", self.values)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, expected (n,)")
        centres = _numbers("centre_yx", self.centre_yx)
        if centres.shape != (len(values), 2):
            raise ValueError(f"centre_yx has shape {centres.shape}, expected ({len(values)}, 2), one (y, x) a value")
        if not ((centres >= 0) & (centres <= 1)).all():
            raise ValueError(f"centre_yx holds {_outside(centres)}, expected fractions 0 to 1 of the frame")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "centre_yx", centres)
        if self.variance is not None:
            variance = _numbers("variance", self.variance)
            if variance.shape != values.shape:
                raise ValueError(f"variance has shape {variance.shape}, expected {values.shape}, one a value")
            if not (variance >= 0).all():
                raise ValueError(f"variance holds {variance.min():g}, expected 0 or more")
            object.__setattr__(self, "variance", variance)


def _numbers(name: str, given: Any) -> FloatArray:
    array = np.asarray(given)
    if array.size and array.dtype.kind not in "fiu":
        raise TypeError(f"{name} is {given!r}, expected numbers")
    array = np.array(array, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}, expected finite numbers")
    return array


def _outside(centres: FloatArray) -> float:
    return float(centres[(centres < 0) | (centres > 1)][0])


def returned(given: Any) -> Values:
    """What a callable returned: a number, (value, variance) or `Values`.

    raises  TypeError or ValueError that says what came and what was expected
    """
    if isinstance(given, Values):
        return given
    pair = given if isinstance(given, tuple) else (given,)
    if len(pair) > 2 or not pair or not all(_is_number(part) for part in pair):
        raise TypeError(f"{given!r}, expected a number, (value, variance) or probewise.Values")
    numbers = np.array(pair, dtype=np.float64)
    if not np.isfinite(numbers).all() or (numbers[1:] < 0).any():
        raise ValueError(f"{given!r}, expected finite numbers, the variance not negative")
    return Values(numbers[:1], np.array([[0.5, 0.5]]), numbers[1:] if len(pair) == 2 else None)


def _is_number(given: Any) -> bool:
    array = np.asarray(given)
    return array.ndim == 0 and array.dtype.kind in "fiu"


def combine(
    values: FloatArray, variance: FloatArray | None, place: IntArray, places: int
) -> tuple[FloatArray, FloatArray | None]:
    """(places,) mean of the values at each place, every place with one or more, and its variance.

    With a variance the mean is weighted by 1 / variance, the best for independent errors; exact values (variance 0)
    leave the others no weight.
    """
    if variance is None:
        return np.bincount(place, weights=values, minlength=places) / np.bincount(place, minlength=places), None
    least = np.full(places, np.inf)
    np.minimum.at(least, place, variance)
    weights = np.divide(least[place], variance, out=np.ones_like(variance), where=variance > 0)
    total = np.bincount(place, weights=weights, minlength=places)
    return np.bincount(place, weights=weights * values, minlength=places) / total, least / total
