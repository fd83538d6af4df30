# SPDX-License-Identifier: BSD-3-Clause
"""A raster as Nion Swift is told of it: a sub-scan of one square field, placed by fractions of that field."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from probewise.types import Context, RasterROI

FEWEST_CODES = 4  # of the DAC a pixel: below it the steps of the DAC are seen in the pixels
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class SubScan:
    """A rectangle of pixels, turned about its centre.

    shape         (rows, cols), discarded lines included
    centre_yx     fractions of the square field
    size_yx       of the sides, fractions of the square field
    rotation_rad  counter-clockwise
    """

    shape: tuple[int, int]
    centre_yx: tuple[float, float]
    size_yx: tuple[float, float]
    rotation_rad: float


@dataclass(frozen=True, slots=True)
class SurveyField:
    """The field that every scan lies in.

    fov_nm  (y, x) sides; Swift knows one number, the side of the square about them
    """

    fov_nm: tuple[float, float]

    @property
    def side_nm(self) -> float:
        return max(self.fov_nm)

    def place(self, scan: RasterROI, context: Context) -> tuple[SubScan, RasterROI]:
        """Where `scan` lies, and what is executed of it.

        Discarded lines are scanned above the rectangle, outside its own frame where that ends there; where they would
        leave the survey field none is scanned, and the executed scan says so.

        raises  ValueError for a rectangle that leaves the survey field, or whose pixels are not square: Swift knows one
                size of a pixel
        """
        placed = self._rectangle(scan, context, 0)
        self._require_square(placed)
        self._require_inside(placed, context)
        if not scan.discard_lines:
            return placed, scan
        longer = self._rectangle(scan, context, scan.discard_lines)
        if not self._outside_nm(longer) <= _SLACK * self.side_nm:
            return placed, replace(scan, discard_lines=0)
        return longer, scan

    def executed(self, asked: RasterROI, context: Context, placed: SubScan, taken: SubScan) -> RasterROI:
        """`asked`, which `placed` stands for, as it is where the microscope took `taken` instead.

        raises  ValueError where that is another grid of pixels, or turned
        """
        if taken == placed:
            return asked
        if taken.shape != placed.shape or not math.isclose(taken.rotation_rad, placed.rotation_rad, abs_tol=1e-9):
            raise ValueError(
                f"scan became {taken.shape} pixels at {taken.rotation_rad:g} rad on the microscope, expected "
                f"{placed.shape} at {placed.rotation_rad:g} rad"
            )
        turned = _turned(
            [(a - b) * self.side_nm for a, b in zip(taken.centre_yx, placed.centre_yx, strict=True)],
            -context.rotation_rad,
        )
        grown = [a / b for a, b in zip(taken.size_yx, placed.size_yx, strict=True)]
        lines = asked.discard_lines / asked.shape[0] * asked.size_yx[0] / 2  # how far the kept part lies below
        down = turned[0] / context.fov_nm[0] + lines * (grown[0] - 1.0)
        return replace(
            asked,
            centre_yx=(asked.centre_yx[0] + down, asked.centre_yx[1] + turned[1] / context.fov_nm[1]),
            size_yx=(asked.size_yx[0] * grown[0], asked.size_yx[1] * grown[1]),
        )

    def codes_a_pixel(self, placed: SubScan, bits: int) -> float:
        """Steps of a DAC of `bits` over the square field that the smaller side of a pixel spans."""
        return float(2**bits * min(size / count for size, count in zip(placed.size_yx, placed.shape, strict=True)))

    def fraction(self, yx: tuple[float, float]) -> tuple[float, float]:
        """A position as fractions of the square field, from fractions of the survey field."""
        return (
            0.5 + (yx[0] - 0.5) * self.fov_nm[0] / self.side_nm,
            0.5 + (yx[1] - 0.5) * self.fov_nm[1] / self.side_nm,
        )

    def _rectangle(self, scan: RasterROI, context: Context, lines: int) -> SubScan:
        """With `lines` more above it."""
        rows, cols = scan.shape
        height, width = scan.size_yx
        above = height * lines / rows
        offset = _turned(
            [
                (scan.centre_yx[0] - above / 2 - 0.5) * context.fov_nm[0],
                (scan.centre_yx[1] - 0.5) * context.fov_nm[1],
            ],
            context.rotation_rad,
        )
        side = self.side_nm
        return SubScan(
            (rows + lines, cols),
            (0.5 + (context.shift_nm[0] + offset[0]) / side, 0.5 + (context.shift_nm[1] + offset[1]) / side),
            ((height + above) * context.fov_nm[0] / side, width * context.fov_nm[1] / side),
            context.rotation_rad,
        )

    def _require_square(self, placed: SubScan) -> None:
        height, width = (size * self.side_nm / count for size, count in zip(placed.size_yx, placed.shape, strict=True))
        if abs(height - width) * max(placed.shape) > 0.5 * min(height, width):  # half a pixel over the frame
            raise ValueError(f"a pixel is {height:.6g} nm x {width:.6g} nm, expected it square")

    def _require_inside(self, placed: SubScan, context: Context) -> None:
        outside = self._outside_nm(placed)
        if not outside <= _SLACK * self.side_nm:  # also refuses NaN
            raise ValueError(
                f"scan with context fov_nm {context.fov_nm}, shift_nm {context.shift_nm} and rotation_rad "
                f"{context.rotation_rad:g} reaches {outside:.4g} nm beyond the survey field, expected within its "
                f"{self.fov_nm[0]:g} nm x {self.fov_nm[1]:g} nm"
            )

    def _outside_nm(self, placed: SubScan) -> float:
        """How far the farthest corner lies outside the survey field; negative inside."""
        half = [size * self.side_nm / 2 for size in placed.size_yx]
        beyond = []
        for signs in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            corner = _turned([sign * length for sign, length in zip(signs, half, strict=True)], placed.rotation_rad)
            for centre, offset, side in zip(placed.centre_yx, corner, self.fov_nm, strict=True):
                beyond.append(abs((centre - 0.5) * self.side_nm + offset) - side / 2)
        return math.nan if any(map(math.isnan, beyond)) else max(beyond)


def _turned(yx: list[float], angle_rad: float) -> tuple[float, float]:
    """(y, x) with y downwards, turned counter-clockwise."""
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    return (cosine * yx[0] - sine * yx[1], sine * yx[0] + cosine * yx[1])
