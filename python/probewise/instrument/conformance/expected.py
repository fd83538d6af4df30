# SPDX-License-Identifier: BSD-3-Clause
"""Where the samples of a scan lie when it is executed as asked, and where they lie after each of the usual mistakes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probewise.instrument.sampling import bilinear
from probewise.types import BoolArray, Context, Float32Array, FloatArray, RasterROI

AS_ASKED = "as asked"


@dataclass(frozen=True, eq=False)
class Taken:
    """How a raster may have been taken. u, v (rows, cols): fractions of the rectangle at which each sample lies."""

    u: FloatArray
    v: FloatArray
    centre: tuple[float, float]
    size: tuple[float, float]
    fov_nm: tuple[float, float]
    shift_nm: tuple[float, float] = (0.0, 0.0)
    rotation_rad: float = 0.0

    def yx_nm(self) -> FloatArray:
        """(rows, cols, 2) from the centre of the survey field."""
        y = (self.centre[0] + (self.u - 0.5) * self.size[0] - 0.5) * self.fov_nm[0]
        x = (self.centre[1] + (self.v - 0.5) * self.size[1] - 0.5) * self.fov_nm[1]
        return np.asarray(turned(np.stack([y, x], axis=-1), self.rotation_rad) + np.array(self.shift_nm))


def turned(yx: FloatArray, angle: float) -> FloatArray:
    """Vectors (..., 2) turned by `angle`, as Context.rotation_rad turns a field."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.stack([cosine * yx[..., 0] - sine * yx[..., 1], sine * yx[..., 0] + cosine * yx[..., 1]], axis=-1)


def ways(scan: RasterROI, context: Context, survey_nm: tuple[float, float]) -> dict[str, FloatArray]:
    """Positions (rows, cols, 2) nm by name: AS_ASKED first, then the mistakes that would give others."""
    rows, cols = scan.shape
    row, col = np.indices(scan.shape, dtype=np.float64)
    asked = Taken(
        (row + 0.5) / rows,
        (col + 0.5) / cols,
        scan.centre_yx,
        scan.size_yx,
        context.fov_nm,
        context.shift_nm,
        context.rotation_rad,
    )
    (y, x), (height, width) = scan.centre_yx, scan.size_yx
    number = np.arange(rows * cols)
    down = ((number % rows + 0.5) / rows).reshape(scan.shape)
    along = ((number // rows + 0.5) / cols).reshape(scan.shape)
    by_column = replace(asked, u=down, v=along)
    found = {
        AS_ASKED: asked,
        "with y and x of centre and size swapped": replace(asked, centre=(x, y), size=(width, height)),
        "filled column by column": by_column,
        "with rows and columns swapped throughout": replace(by_column, centre=(x, y), size=(width, height)),
        "with rows from the bottom up": replace(asked, u=1 - asked.u),
        "with columns from right to left": replace(asked, v=1 - asked.v),
        "turned by half a turn": replace(asked, u=1 - asked.u, v=1 - asked.v),
        "with centre y counted from the bottom": replace(asked, centre=(1 - y, x)),
        "with centre x counted from the right": replace(asked, centre=(y, 1 - x)),
        "with the centre taken as the top left corner": replace(asked, centre=(y + height / 2, x + width / 2)),
        "with the top left corner taken as the centre": replace(asked, centre=(y - height / 2, x - width / 2)),
        "with fractions from pixel centres instead of outer edges": replace(
            asked, u=row / max(rows - 1, 1), v=col / max(cols - 1, 1)
        ),
        "half a pixel to the top left": replace(asked, u=row / rows, v=col / cols),
        "as the whole frame instead of its rectangle": replace(asked, centre=(0.5, 0.5), size=(1.0, 1.0)),
    }
    if context.fov_nm != survey_nm:
        field = context.fov_nm
        found |= {
            "over the survey field instead of its own": replace(asked, fov_nm=survey_nm, shift_nm=(0.0, 0.0)),
            "with a field of twice the side": replace(asked, fov_nm=(2 * field[0], 2 * field[1])),
            "with a field of half the side": replace(asked, fov_nm=(field[0] / 2, field[1] / 2)),
            "with a field of a tenth of the side": replace(asked, fov_nm=(field[0] / 10, field[1] / 10)),
            "with y and x of fov_nm swapped": replace(asked, fov_nm=field[::-1]),
        }
    if any(context.shift_nm):
        dy, dx = context.shift_nm
        found |= {
            "without its shift": replace(asked, shift_nm=(0.0, 0.0)),
            "with y and x of shift_nm swapped": replace(asked, shift_nm=(dx, dy)),
            "with the opposite shift": replace(asked, shift_nm=(-dy, -dx)),
            "with the opposite shift in y": replace(asked, shift_nm=(-dy, dx)),
            "with the opposite shift in x": replace(asked, shift_nm=(dy, -dx)),
        }
    if context.rotation_rad:
        angle = context.rotation_rad
        found |= {
            "without its rotation": replace(asked, rotation_rad=0.0),
            "with the opposite rotation": replace(asked, rotation_rad=-angle),
        }
        if any(context.shift_nm):
            moved = turned(np.array(context.shift_nm), angle)
            found["with its shift rotated as well"] = replace(asked, shift_nm=(float(moved[0]), float(moved[1])))
    return {name: way.yx_nm() for name, way in found.items()}


@dataclass(frozen=True, eq=False)
class Reference:
    """A frame of the survey field, read between its pixels."""

    picture: Float32Array
    fov_nm: tuple[float, float]

    def at(self, yx_nm: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Values at positions (..., 2) nm from the centre of the field, and whether each is inside."""
        fraction = yx_nm / np.array(self.fov_nm) + 0.5
        inside = ((fraction >= -1e-9) & (fraction <= 1 + 1e-9)).all(axis=-1)
        pixel = fraction * np.array(self.picture.shape)
        return bilinear(self.picture, pixel[..., 0], pixel[..., 1]), np.asarray(inside, dtype=bool)


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson's, 0 where one of them is constant."""
    a, b = first.ravel() - first.mean(), second.ravel() - second.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def explained(picture: FloatArray, known: np.ndarray[Any, Any], block: int) -> float:
    """Multiple correlation of means over blocks of the picture with those of `known`, or of each of its classes."""
    classes = known.dtype.kind in "iub"
    layers = [known == label for label in np.unique(known)] if classes else [np.ones_like(known), known]
    columns = np.stack([_means(layer.astype(np.float64), block) for layer in layers], axis=1)
    values = _means(picture, block)
    weights = np.linalg.lstsq(columns, values, rcond=None)[0]
    return correlation(values, columns @ weights)


def _means(picture: FloatArray, block: int) -> FloatArray:
    rows, cols = (side // block for side in picture.shape)
    cut = picture[: rows * block, : cols * block].reshape(rows, block, cols, block)
    return np.asarray(cut.mean(axis=(1, 3)).ravel())
