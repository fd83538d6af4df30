# SPDX-License-Identifier: BSD-3-Clause
"""Windows about points of an image."""

from __future__ import annotations

import numpy as np

from probewise._core import image as _image
from probewise.types import Float32Array, FloatArray, IntArray


def extract_patches(
    image: Float32Array,
    centres: FloatArray,
    side: int,
    *,
    subpixel: bool = False,
    circular: bool = False,
    out: Float32Array | None = None,
) -> tuple[Float32Array, IntArray]:
    """Square windows about points, copied as they are; those not wholly inside the image are left out.

    image     (rows, cols) float32, C-contiguous
    centres   (n, 2) float64 (y, x) in pixels, pixel centres at integers
    side      of a window in pixels. Whole pixels: centre = floor(x + 0.5), rows [centre - side // 2,
              centre - side // 2 + side). Sub-pixel: bilinear, the middle of the window exactly on the point
    circular  pixels farther than side/2 from the window's middle become 0
    out       (at least n, side, side) float32 to write into; the patches are its first rows
    returns   patches (kept, side, side) float32, and the row of `centres` of each, (kept,) int64
    raises    TypeError, ValueError for a wrong array, a centre that is not finite, or `out` too small or overlapping
    """
    if side < 1:
        raise ValueError(f"side is {side}, expected at least 1 pixel")
    count = len(centres)
    if out is None:
        out = np.empty((count, side, side), dtype=np.float32)
    elif out.shape[1:] != (side, side):
        raise ValueError(f"out has shape {out.shape}, expected (at least {count}, {side}, {side})")
    elif np.may_share_memory(out, image):
        raise ValueError("out overlaps image, expected memory of its own")
    kept = np.empty(count, dtype=np.int64)
    found = _image.extract_patches(image, centres, subpixel, circular, out, kept)
    return out[:found], kept[:found]
