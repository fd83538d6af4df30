# SPDX-License-Identifier: BSD-3-Clause
"""A scan path that is kept as its formula until somebody asks for its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise._core import scan as _scan
from probewise.types import BoolArray, FloatArray, IntArray, ScanPath


@dataclass(frozen=True)
class Recipe:
    """A pattern of the compiled core by its numbers (cpp/include/probewise/scan/pattern.hpp)."""

    kind: str
    shape: tuple[int, int]
    points: int
    a: float = 0.0
    b: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"shape is {self.shape}, expected at least one row and one column")
        if self.points < 1:
            raise ValueError(f"points is {self.points}, expected at least 1")
        _scan.check_pattern(*self.numbers)

    @property
    def numbers(self) -> tuple[str, tuple[int, int], int, float, float, int]:
        return (self.kind, self.shape, self.points, self.a, self.b, self.seed)

    def yx(self) -> FloatArray:
        return _scan.pattern_points(*self.numbers)

    def pixel(self) -> npt.NDArray[np.int32]:
        return _scan.pattern_pixels(*self.numbers)

    def extremes(self) -> tuple[float, float]:
        """Largest first and second differences of neighbouring samples, fractions."""
        return _scan.pattern_extremes(*self.numbers)


class GeneratedPath(ScanPath):
    """A ScanPath whose arrays are computed when first read.

    An instrument that takes DAC codes gets them straight from the formula: of a million points, the positions, pixels
    and dwells that nobody reads would cost several times more than the codes.
    """

    recipe: Recipe
    uniform_dwell_ns: int

    def __new__(cls, **arrays: Any) -> Any:
        return ScanPath(**arrays)  # what dataclasses.replace makes follows the formula no longer

    def __reduce__(self) -> tuple[Any, ...]:
        return (GeneratedPath.of, (self.recipe, self.uniform_dwell_ns))

    @classmethod
    def of(cls, recipe: Recipe, dwell_ns: int) -> GeneratedPath:
        path = object.__new__(cls)
        path.__dict__.update(recipe=recipe, uniform_dwell_ns=dwell_ns, shape=recipe.shape)
        return path

    @cached_property
    def yx(self) -> FloatArray:
        return self.recipe.yx()

    @cached_property
    def dwell_ns(self) -> IntArray:
        return np.full(self.recipe.points, self.uniform_dwell_ns, dtype=np.int64)

    @cached_property
    def active(self) -> BoolArray:
        return np.asarray(self.pixel >= 0)

    @cached_property
    def pixel(self) -> npt.NDArray[np.int32]:
        return self.recipe.pixel()

    @property
    def duration_ns(self) -> int:
        return self.recipe.points * self.uniform_dwell_ns

    def codes(self, bits: int, out: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """As ScanPath.codes, without storing the positions."""
        if out is None:
            out = np.empty((self.recipe.points, 2), dtype=np.uint16)
        _scan.pattern_codes(*self.recipe.numbers, bits, out)
        return out
