# SPDX-License-Identifier: BSD-3-Clause
"""What a generator may be given; each refusal names the argument, what came and what was expected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MOST_PIXELS = (1 << 31) - 1  # a pixel's index is an int32
MOST_POINTS = 1 << 31
MOST_NS = (1 << 63) - 1


def check_shape(shape: Any) -> tuple[int, int]:
    """`shape` as (rows, cols)."""
    try:
        rows, cols = shape
    except (TypeError, ValueError):
        raise TypeError(f"shape is {shape!r}, expected (rows, cols)") from None
    if not (_is_integer(rows) and _is_integer(cols)):
        raise TypeError(f"shape is {shape!r}, expected two integers (rows, cols)")
    if rows < 1 or cols < 1:
        raise ValueError(f"shape is {shape!r}, expected at least one row and one column")
    if int(rows) * int(cols) > MOST_PIXELS:
        raise ValueError(f"shape is {shape!r}, expected at most 2^31 - 1 pixels")
    return int(rows), int(cols)


def check_integer(name: str, value: Any, least: int, most: int) -> int:
    if not _is_integer(value):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    number = int(value)
    if number < least:
        raise ValueError(f"{name} is {number}, expected at least {least}")
    if number > most:
        raise ValueError(f"{name} is {number}, expected at most {most}")
    return number


def check_points(points: Any, shape: tuple[int, int]) -> int:
    """Samples of a path, as many as pixels where None was given."""
    return shape[0] * shape[1] if points is None else check_integer("points", points, 1, MOST_POINTS)


def check_turns(turns: Any, shape: tuple[int, int]) -> float:
    """Turns of a spiral, half the shorter side where None was given."""
    if turns is None:
        return max(1.0, min(shape) / 2)
    number = check_number("turns", turns)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"turns is {turns!r}, expected a positive finite number")
    return number


def check_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}, expected a number")
    return float(value)


def check_pair(name: str, value: Any) -> tuple[float, float]:
    try:
        y, x = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, expected two numbers (y, x)") from None
    pair = check_number(name, y), check_number(name, x)
    if not (math.isfinite(pair[0]) and math.isfinite(pair[1])):
        raise ValueError(f"{name} is {value!r}, expected two finite numbers (y, x)")
    return pair


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
