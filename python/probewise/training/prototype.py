# SPDX-License-Identifier: BSD-3-Clause
"""Stand-ins for the image room's network_input and extract_patches."""

import numpy as np
from scipy.ndimage import convolve


def network_input(image):
    low, high = np.percentile(image, (0.5, 99.5))
    k = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    sigma = np.median(np.abs(convolve(image.astype(np.float64), k, mode="reflect")[1:-1, 1:-1])) / 0.6745
    scale = max(high - low, 8 * sigma) or 1.0
    return ((image - low) / scale).astype(np.float32)


def extract_patches(image, centres, side, *, subpixel=False):
    c = np.floor(centres + 0.5).astype(int)
    start = c - side // 2
    kept = np.flatnonzero(((start >= 1) & (start + side + 1 <= image.shape)).all(axis=1))
    if not subpixel:
        view = np.lib.stride_tricks.sliding_window_view(image, (side, side))
        return np.ascontiguousarray(view[start[kept, 0], start[kept, 1]]), kept
    view = np.lib.stride_tricks.sliding_window_view(image, (side + 1, side + 1))
    first = centres[kept] - (side - 1) / 2
    whole = np.floor(first).astype(int)
    f = (first - whole)[:, :, None, None].astype(np.float32)
    w = view[whole[:, 0], whole[:, 1]]
    rows = w[:, :-1] * (1 - f[:, 0]) + w[:, 1:] * f[:, 0]
    return np.ascontiguousarray(rows[:, :, :-1] * (1 - f[:, 1]) + rows[:, :, 1:] * f[:, 1]), kept
