# SPDX-License-Identifier: BSD-3-Clause
"""Whether the few atoms of a bare film stand out of it."""

from __future__ import annotations

import math

import numpy as np

from probewise.types import BoolArray, Float32Array, FloatArray

COLUMN_NM = 0.06  # standard deviation of a column in the image
_SPARSE = 0.1  # of the frame under the atoms at most: a median and its deviation are then those of the film
_LEAST_DEVIATIONS = 6.0


def stand_out(image: Float32Array, yx: FloatArray, pixel_nm: tuple[float, float]) -> BoolArray:
    """Where atoms are brighter than the film's own grain; all of them where they are too many to tell.

    The image less its surroundings (Gaussians of one and of two column widths) at an atom must exceed the median of the
    frame by 6 robust deviations (median distance to the median / 0.6745). Asked where discs of two column widths about
    the atoms cover less than a tenth of the frame.

    image     (rows, cols) counts, finite
    yx        (n, 2) atoms in its pixels
    pixel_nm  (y, x)
    returns   (n,)
    """
    width = [COLUMN_NM / size for size in pixel_nm]
    cover = len(yx) * math.pi * 4 * width[0] * width[1]
    if not 0 < cover < _SPARSE * image.size:
        return np.ones(len(yx), dtype=bool)
    from scipy.ndimage import gaussian_filter

    response = gaussian_filter(image, width) - gaussian_filter(image, [2 * one for one in width])
    middle = np.median(response)
    deviation = np.median(np.abs(response - middle)) / 0.6745
    row, col = np.clip(np.rint(yx).astype(np.int64), 0, np.array(image.shape) - 1).T
    return np.asarray(response[row, col] - middle > _LEAST_DEVIATIONS * deviation, dtype=bool)
