# SPDX-License-Identifier: BSD-3-Clause
"""Found atoms against true ones, and the blob detector that one starts from."""

from __future__ import annotations

import numpy as np

from probewise.training.matching import FrameEdge as FrameEdge
from probewise.training.matching import Score as Score
from probewise.training.matching import pairs as pairs
from probewise.types import Float32Array, FloatArray


def laplacian_of_gaussian(image: Float32Array, sigma: float, threshold: float) -> FloatArray:
    """(n, 2) maxima of -LoG within 2 sigma that exceed `threshold` robust deviations of the response."""
    from scipy.ndimage import gaussian_laplace, maximum_filter

    response = -gaussian_laplace(image.astype(np.float64), sigma)
    middle = float(np.median(response))
    spread = float(np.median(np.abs(response - middle))) / 0.6745
    top = maximum_filter(response, size=2 * max(1, round(2 * sigma)) + 1) == response
    return np.argwhere(top & (response > middle + threshold * spread)).astype(np.float64)
