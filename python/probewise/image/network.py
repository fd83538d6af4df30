# SPDX-License-Identifier: BSD-3-Clause
"""What a network is shown: a frame on the pixel grid and the intensity range that it was trained for."""

from __future__ import annotations

import numpy as np

from probewise._core import image as _image
from probewise.image.intensity import IntensityScale
from probewise.types import Float32Array


def network_input(image: Float32Array, out: Float32Array | None = None) -> tuple[Float32Array, IntensityScale]:
    """Robust range to about 0..1 that does not turn the noise of an empty frame into atoms; not clipped.

    offset = percentile 0.5; scale = the larger of the distance to percentile 99.5 and eight deviations of the noise,
    the latter by the kernel of Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300, as median(|.|)/0.6745; scale 1
    where both are 0.

    image    (rows, cols) float32, C-contiguous, finite
    out      of the same shape and type; may be `image` itself
    returns  (image - offset) / scale, and the scale
    raises   TypeError, ValueError for a wrong array or values that are not finite
    """
    if out is None:
        out = np.empty_like(image)
    offset, scale = _image.network_input(image, out)
    return out, IntensityScale(offset, scale)


def resample(image: Float32Array, shape: tuple[int, int], out: Float32Array | None = None) -> Float32Array:
    """The image on another grid over the same area, edge to edge.

    Along each axis the exact mean over a new pixel where it shrinks, linear interpolation between pixel centres
    (clamped at the edges) where it grows: old coordinate = (new + 0.5) * old length / new length - 0.5.

    image    (rows, cols) float32, C-contiguous
    shape    (rows, cols) of the result, each at least 1
    out      of that shape, float32
    raises   TypeError, ValueError for a wrong array or shape, or `out` overlapping
    """
    if min(shape) < 1:
        raise ValueError(f"shape is {shape}, expected (rows, cols) of at least 1")
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.shape != tuple(shape):
        raise ValueError(f"out has shape {out.shape}, expected {tuple(shape)}")
    elif np.may_share_memory(out, image):
        raise ValueError("out overlaps image, expected memory of its own")
    _image.resample(image, out)
    return out
