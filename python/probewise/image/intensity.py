# SPDX-License-Identifier: BSD-3-Clause
"""Intensities: samples into pixels, robust scaling, means over sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise._core import all_finite
from probewise._core import image as _image
from probewise.types import Float32Array, FloatArray, ScanPath, SiteLattice


@dataclass(frozen=True, slots=True)
class IntensityScale:
    """normalised = (counts - offset) / scale, and back: the absolute intensity is never lost."""

    offset: float
    scale: float


def check_image(image: object, name: str = "image") -> Float32Array:
    """The image itself when it is a finite (rows, cols) float32 array; TypeError or ValueError otherwise."""
    if not isinstance(image, np.ndarray) or image.dtype != np.float32:
        came = f"{image.dtype} array" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"{name} is a {came}, expected a float32 array of shape (rows, cols)")
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"{name} has shape {image.shape}, expected (rows, cols)")
    if not all_finite(image):
        bad = image.size - int(np.count_nonzero(np.isfinite(image)))
        raise ValueError(f"{name} holds {bad} values that are not finite, expected none")
    return image


def to_image(path: ScanPath, values: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Bin the samples of a path: the mean of the samples in each pixel, NaN where there is none.

    values   (n,) float32, one a sample of the path, masked ones too
    shape    (rows, cols) that the path's `pixel` indexes
    returns  (rows, cols) float32
    raises   TypeError, ValueError for a wrong dtype or length, or a pixel outside `shape`
    """
    rows, cols = shape
    if rows < 1 or cols < 1:
        raise ValueError(f"shape is {shape}, expected at least one row and one column")
    out = np.empty((rows, cols), dtype=np.float32)
    _image.to_image(path.pixel, values, out)
    return out


def robust_scale(image: Float32Array, *, low: float = 0.5, high: float = 99.5) -> IntensityScale:
    """Offset and scale from two percentiles, which a few bright or dead pixels do not move.

    One scale taken from a survey, and used for all frames of a run at the same dose, keeps absolute intensity:
    scaling each frame by its own extremes would turn the noise of vacuum into atoms.
    returns  offset = percentile `low`, scale = the range up to `high`; scale 1 where both are equal
    raises   TypeError, ValueError for a wrong image, or percentiles not 0 <= low < high <= 100
    """
    check_image(image)
    if not 0.0 <= low < high <= 100.0:
        raise ValueError(f"low is {low}, high {high}, expected 0 <= low < high <= 100")
    bottom, top = np.percentile(image, (low, high))
    return IntensityScale(float(bottom), float(top - bottom) if top > bottom else 1.0)


def normalise(image: Float32Array, scale: IntensityScale | None = None) -> Float32Array:
    """(image - offset) / scale, not clipped; by the image's own `robust_scale` unless one is given.

    returns  (rows, cols) float32, about 0 to 1
    """
    check_image(image)
    by = robust_scale(image) if scale is None else scale
    return ((image - np.float32(by.offset)) / np.float32(by.scale)).astype(np.float32, copy=False)


def site_means(image: npt.NDArray[Any], sites: SiteLattice) -> FloatArray:
    """Mean of the survey in each site's square, pixels weighted by the area that lies inside.

    image    (rows, cols) real, finite; covers the field `sites.fov_nm`
    returns  (sites,) float64; a square reaching over the field's edge counts its inner part only
    raises   ValueError for a wrong image, or a site side that is not positive
    """
    values = np.asarray(image, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"image has shape {values.shape}, expected finite values of shape (rows, cols)")
    if not sites.side_nm > 0:
        raise ValueError(f"sites.side_nm is {sites.side_nm}, expected a positive length")
    rows, cols = (
        _overlap(n, count, sites.side_nm / fov)
        for n, count, fov in zip(values.shape, sites.shape, sites.fov_nm, strict=True)
    )
    # A square is a product of two intervals, so the area weights are too.
    return np.asarray(rows @ values @ cols.T).reshape(-1)


def _overlap(pixels: int, sites: int, side: float) -> FloatArray:
    """(sites, pixels) share of each site's interval (side as a fraction of the field) that lies in each pixel."""
    centre = (np.arange(sites)[:, None] + 0.5) / sites
    edge = np.arange(pixels + 1)[None, :] / pixels
    inside = np.clip(edge, np.maximum(centre - side / 2, 0), np.minimum(centre + side / 2, 1))
    length = np.diff(inside, axis=1)
    return np.asarray(length / length.sum(axis=1, keepdims=True))
