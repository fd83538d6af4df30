# SPDX-License-Identifier: BSD-3-Clause
"""AtomAI's way from a probability map to refined positions and patches, from the published description.

Binary centroids of connected components; least squares of a rotated elliptical Gaussian with an offset in a window of
half-side d = a quarter of the mean distance to the nearest neighbour, unweighted, each atom alone, accepted when it
moves by less than 3 pixels; patches about np.around of the positions.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage, optimize, spatial


def label_and_centre(probability: np.ndarray) -> np.ndarray:
    """Centroids (n, 2) of the thresholded map, unweighted."""
    mask = probability > 0.5
    labels, count = ndimage.label(mask)
    return np.array(ndimage.center_of_mass(mask, labels, np.arange(1, count + 1))).reshape(-1, 2)


def _gaussian(grid: tuple[np.ndarray, np.ndarray], height, y, x, s1, s2, theta, offset):  # type: ignore[no-untyped-def]
    a = np.cos(theta) ** 2 / (2 * s1**2) + np.sin(theta) ** 2 / (2 * s2**2)
    b = -np.sin(2 * theta) / (4 * s1**2) + np.sin(2 * theta) / (4 * s2**2)
    c = np.sin(theta) ** 2 / (2 * s1**2) + np.cos(theta) ** 2 / (2 * s2**2)
    dy, dx = grid[0] - y, grid[1] - x
    return (offset + height * np.exp(-(a * dy**2 + 2 * b * dy * dx + c * dx**2))).ravel()


def refine(image: np.ndarray, centres: np.ndarray, half: int | None = None) -> np.ndarray:
    """Refined positions (n, 2); the start where the window crosses the edge, the fit fails or moves too far."""
    if half is None:
        half = max(1, round(float(np.mean(spatial.KDTree(centres).query(centres, k=2)[0][:, 1])) / 4))
    grid = tuple(np.indices((2 * half + 1, 2 * half + 1)).astype(float))
    refined = centres.copy()
    for number, (y, x) in enumerate(np.rint(centres).astype(int)):
        window = image[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        if window.shape != grid[0].shape:
            continue
        start = (window[half, half], half, half, 1, 1, 0, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found, _ = optimize.curve_fit(_gaussian, grid, window.ravel().astype(float), start)
            except RuntimeError:
                continue
        if np.hypot(found[1] - half, found[2] - half) < 3:
            refined[number] = y + found[1] - half, x + found[2] - half
    return refined


def patches(image: np.ndarray, centres: np.ndarray, side: int) -> np.ndarray:
    """Whole-pixel windows that lie inside, one after the other in Python."""
    kept = []
    for y, x in np.around(centres).astype(int):
        window = image[max(y - side // 2, 0) : y + side // 2, max(x - side // 2, 0) : x + side // 2]
        if window.shape == (side, side):
            kept.append(window)
    return np.array(kept)
