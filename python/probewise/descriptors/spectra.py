# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of a window that slides over an image."""

from __future__ import annotations

from typing import Literal

import numpy as np

from probewise._core import descriptors as _core
from probewise.descriptors.arrays import check_float32
from probewise.types import Float32Array, FloatArray, IntArray

Convention = Literal["hamming", "log"]
CONVENTIONS: tuple[Convention, ...] = ("hamming", "log")


def window_corners(shape: tuple[int, int], window: int, step: int, *, inclusive: bool = True) -> IntArray:
    """Top left pixels of the windows, row by row, (n, 2) int64.

    shape      (rows, cols) of the image
    window     side, pixels
    step       pixels from one window to the next
    inclusive  keep the last window that still fits; False is the study's arange(0, side - window, step), which drops
               a window that would end exactly at the edge
    raises     ValueError when no window fits
    """
    rows, cols = shape
    if window < 4 or window % 2:
        raise ValueError(f"window is {window}, expected an even number of pixels, at least 4")
    if step < 1:
        raise ValueError(f"step is {step}, expected at least 1 pixel")
    spare = 1 if inclusive else 0
    down = np.arange(0, rows - window + spare, step, dtype=np.int64)
    across = np.arange(0, cols - window + spare, step, dtype=np.int64)
    if not (down.size and across.size):
        raise ValueError(f"window is {window} with inclusive={inclusive}, expected one that fits in {rows} x {cols}")
    return np.stack([np.repeat(down, across.size), np.tile(across, down.size)], axis=1)


def spread_corners(shape: tuple[int, int], window: int, step: int) -> IntArray:
    """Top left pixels of windows spread evenly from edge to edge at about `step`, (n, 2) int64.

    A regular step leaves a strip at two edges unseen; with a taper, what lies at an edge already counts least.
    """
    window_corners(shape, window, step)  # refuses what does not fit
    return evenly_spread(shape, window, step)


def evenly_spread(shape: tuple[int, int], window: int, step: int) -> IntArray:
    """As `spread_corners`, for windows of any side; ValueError when none fits."""
    if window > min(shape):
        raise ValueError(f"window is {window}, expected one that fits in {shape[0]} x {shape[1]}")
    down, across = (
        np.round(np.linspace(0, side - window, round((side - window) / step) + 1)).astype(np.int64) for side in shape
    )
    return np.stack([np.repeat(down, across.size), np.tile(across, down.size)], axis=1)


def window_centres(shape: tuple[int, int], window: int, step: int, inclusive: bool = True) -> FloatArray:
    """Centres of the windows as fractions (y, x) of the image, (n, 2); arguments as in `sliding_spectra`."""
    corners = window_corners(shape, window, step, inclusive=inclusive)
    return np.asarray((corners + window / 2) / np.array(shape, dtype=np.float64))


def default_window_px(pixel_nm: float, shape: tuple[int, int], *, window_nm: float = 2.56) -> int:
    """Side of a window that holds several lattice periods: 2.56 nm, 128 px at 0.02 nm, six periods of 0.4 nm.

    It is at most the frame and at least 16 px; lengths whose factors are 2, 3 and 5 keep the transform quick.
    """
    from scipy.fft import next_fast_len

    if not (np.isfinite(pixel_nm) and pixel_nm > 0):
        raise ValueError(f"pixel_nm is {pixel_nm}, expected a positive finite length")
    side = 2 * int(next_fast_len(max(8, round(window_nm / pixel_nm / 2)), real=True))
    return min(side, min(shape) // 2 * 2)


def window_and_step(
    window_px: int | None, step_px: int | None, pixel_nm: float, shape: tuple[int, int]
) -> tuple[int, int]:
    """Side and step of the windows: as asked, else `default_window_px` and half a window."""
    side = window_px if window_px is not None else default_window_px(pixel_nm, shape)
    return side, side // 2 if step_px is None else step_px


def spectrum_frequencies(window: int, crop: int = 2) -> FloatArray:
    """Frequencies (y, x) in cycles per pixel of the features of `sliding_spectra`, (features, 2)."""
    keep = _kept(window, crop)
    rows, cols = np.meshgrid(np.arange(-keep, keep), np.arange(keep + 1), indexing="ij")
    return np.stack([rows.ravel(), cols.ravel()], axis=1) / window


def sliding_spectra(
    image: Float32Array,
    window: int,
    step: int,
    *,
    convention: Convention = "hamming",
    crop: int = 2,
    inclusive: bool = True,
) -> Float32Array:
    """Magnitude spectrum of every window, (windows, features) float32, windows row by row.

    image       (rows, cols) float32, C-contiguous, finite
    window      side, pixels, even
    step        pixels from one window to the next
    convention  "hamming": |F| of the window times sqrt(h_i h_j), h the Hamming window, no logarithm (the study);
                "log": log(1 + |F|) of the same (AtomAI)
    crop        the central 1/crop of each axis is kept
    inclusive   see `window_corners`; False is the study's rule
    returns     the spectrum of a real image is symmetric, so only its half is kept: with m = window // (2 crop), rows
                of frequency -m..m-1 times columns of frequency 0..m, flattened (see `spectrum_frequencies`)
    raises      ValueError, TypeError
    source      Creange et al. 2022 and its notebook; AtomAI's SlidingFFTNMF
    """
    corners = window_corners(check_image(image), window, step, inclusive=inclusive)
    spectra, _ = spectra_at(image, corners, window, convention=convention, crop=crop)
    return spectra


def spectra_at(
    image: Float32Array,
    corners: IntArray,
    window: int,
    *,
    convention: Convention = "hamming",
    crop: int = 2,
    scale: float = 1.0,
    subtract_mean: bool = False,
) -> tuple[Float32Array, FloatArray]:
    """Spectra of the windows at `corners` as `sliding_spectra` gives them, and their tapered means (windows,).

    scale          factor on the image
    subtract_mean  take the tapered mean off each window first, so that it does not leak into its neighbours in
                   frequency
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}, expected one of {CONVENTIONS}")
    keep = _kept(window, crop)
    spectra = np.empty((len(corners), 2 * keep * (keep + 1)), dtype=np.float32)
    means = np.empty(len(corners), dtype=np.float64)
    _core.window_spectra(image, corners, _taper(window), keep, scale, subtract_mean, spectra, means)
    if convention == "log":
        np.log1p(spectra, out=spectra)
    return spectra, means


def above_noise(spectra: Float32Array, convention: Convention = "hamming") -> Float32Array:
    """Spectra (n, f) without the floor of their noise, of unit length each; shorter where noise is all there is.

    Nearly all bins hold shot noise only, whose magnitude is Rayleigh distributed: 94 % of them lie under twice the
    median, which is taken off; what is below is zero.
    """
    median = np.median(spectra, axis=1, keepdims=True)
    kept = np.maximum(spectra - 2 * median, 0)
    if convention == "log":
        np.log1p(kept, out=kept)
    # Of noise alone 0.1 median a bin is left; four times as much in quadrature keeps empty windows short.
    length = np.hypot(np.linalg.norm(kept, axis=1, keepdims=True), 0.4 * median * np.sqrt(kept.shape[1]))
    return np.asarray(np.divide(kept, length, out=np.zeros_like(kept), where=length > 0))


def spectrum_patches(image: Float32Array, corners: IntArray, window: int) -> Float32Array:
    """Magnitude spectra of windows as pictures, (n, side, side) float32 with side = window / 2 - 1.

    Frequency 0 is in the middle; the central half of each axis is kept. The image is divided by its mean and each
    window loses its own, so that neither beam current nor brightness shows; frequencies below two bins, where they
    leak to, are 0. The noise's floor is taken off (`above_noise`), and the root mean square of a picture is about 1.
    Moving the pattern within the window changes nothing; the picture has the symmetry 2.

    image    (rows, cols) float32, C-contiguous, finite
    corners  (n, 2) int64 top left pixels
    window   side, pixels, a multiple of 4
    raises   ValueError for a window that is not
    """
    if window < 16 or window % 4:
        raise ValueError(f"window is {window}, expected a multiple of 4 pixels, at least 16")
    mean = float(image.mean(dtype=np.float64))
    if mean > 0:
        half, _ = spectra_at(image, corners, window, scale=1 / mean, subtract_mean=True)
    else:  # nothing but read noise about zero: no contrast to speak of
        half = np.zeros_like(spectra_at(image, corners, window)[0])
    low = np.linalg.norm(spectrum_frequencies(window) * window, axis=1) < 2
    half[:, low] = 0
    keep = window // 4
    right = above_noise(half).reshape(len(half), 2 * keep, keep + 1)[:, 1:]
    side = 2 * keep - 1
    out = np.empty((len(half), side, side), dtype=np.float32)
    out[:, :, keep - 1 :] = right[:, :, :keep]
    out[:, :, : keep - 1] = right[:, ::-1, keep - 1 : 0 : -1]
    out *= side / np.sqrt(2)  # a half has unit length
    return out


def tapered_means(image: Float32Array, corners: IntArray, window: int) -> FloatArray:
    """Means of the windows at `corners` under the taper of their spectra, (windows,)."""
    means = np.empty(len(corners), dtype=np.float64)
    windows = np.empty((len(corners), window, window), dtype=np.float32)
    _core.taper_windows(image, corners, _taper(window), 1.0, False, windows, means)
    return means


def _taper(window: int) -> Float32Array:
    return np.sqrt(np.hamming(window)).astype(np.float32)


def _kept(window: int, crop: int) -> int:
    if crop < 1 or window // (2 * crop) < 1:
        raise ValueError(f"crop is {crop}, expected 1 to {window // 2} for a window of {window} px")
    return window // (2 * crop)


def check_image(image: Float32Array) -> tuple[int, int]:
    """Shape of a float32 image (rows, cols); TypeError or ValueError for anything else."""
    check_float32("image", image, "(rows, cols)")
    return image.shape[0], image.shape[1]
