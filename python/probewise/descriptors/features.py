# SPDX-License-Identifier: BSD-3-Clause
"""What the linear workflow takes from a frame before any basis exists."""

from __future__ import annotations

from typing import Any

import numpy as np

from probewise.descriptors.gaps import coverage, filled
from probewise.descriptors.peaks import SPACING_RANGE_NM, expected_peaks, peaks_at
from probewise.descriptors.spectra import (
    Convention,
    above_noise,
    spectra_at,
    spectrum_frequencies,
    spread_corners,
    window_and_step,
)
from probewise.types import BoolArray, Description, Float32Array, FloatArray, Frame, IntArray, RasterROI

# Longer periods than any lattice: thickness, contamination and brightness live there.
_LONGEST_PERIOD_NM = 1.0
_CROP = 2


class FrameSpectra:
    """Turns frames of one shape and pixel size into descriptions.

    Contrast: the frame is divided by its mean, so that beam current and gain drop out, and each window loses its
    mean, which leaks into low frequencies. Differences of brightness within a frame stay; the brightness of a window
    itself is the value "intensity".
    Noise: from every magnitude two medians of its spectrum are taken off and what is below is zero (`above_noise`).
    Periods over 1 nm are left out, where pixels are fine enough to show shorter ones.
    Length: each spectrum is brought to unit length, so that fringes that fade with defocus, tilt or contamination do
    not pass for another phase; a window of noise alone stays at a quarter of it.
    Values of their own: "intensity" (mean counts), "spacing_nm" (1/sqrt|g1 x g2| of the two strongest peaks),
    "spacing_1_nm" and "spacing_2_nm" (1/|g| of each, see `spectrum_peaks`); NaN where a window has no such peak or two
    lattices meet in it (`SpectrumPeaks.undisturbed`).
    """

    def __init__(self, window_px: int | None, step_px: int | None, convention: Convention) -> None:
        self._asked = (window_px, step_px)
        self._convention: Convention = convention
        self._shape: tuple[int, int] = (0, 0)
        self._pixel_nm: tuple[float, float] = (0.0, 0.0)
        self._window = 0
        self._step = 0

    def describe(self, frame: Frame) -> Description:
        if not self._window:
            self._settle(frame.shape, frame.pixel_nm)
        elif frame.shape != self._shape or not np.allclose(frame.pixel_nm, self._pixel_nm, rtol=1e-9):
            raise ValueError(
                f"frame has {frame.shape} pixels of {frame.pixel_nm} nm, expected {self._shape} of {self._pixel_nm} nm"
            )
        image, mean, corners, shares, notices = self._known(frame)
        if not np.isfinite(mean):
            raise ValueError("frame holds a non-finite pixel, expected finite counts")
        if mean > 0:
            spectra, means = spectra_at(image, corners, self._window, crop=_CROP, scale=1 / mean, subtract_mean=True)
        else:  # nothing but read noise about zero: no contrast to speak of
            spectra, means = spectra_at(image, corners, self._window, crop=_CROP)
            spectra[:] = 0
        expected = expected_peaks(spectra, self._window, self._pixel_nm, crop=_CROP)
        peaks = peaks_at(image, corners, self._window, self._pixel_nm, expected)
        undisturbed = peaks.undisturbed()
        spacings = np.full((len(corners), 2), np.nan)
        spacings[:, : len(expected)] = np.where(undisturbed, peaks.spacings_nm(), np.nan)
        centres = (corners + self._window / 2) / np.array(self._shape, dtype=np.float64)
        extra = {
            "intensity": (means - (1 - shares) * mean) / shares,
            "spacing_nm": np.where(undisturbed.all(axis=1), peaks.mean_spacing_nm(), np.nan),
            "spacing_1_nm": spacings[:, 0].copy(),
            "spacing_2_nm": spacings[:, 1].copy(),
        }
        return Description(self._features(spectra), np.asarray(centres), extra, notices)

    def _known(self, frame: Frame) -> tuple[Float32Array, float, IntArray, FloatArray | float, tuple[str, ...]]:
        """Image without gaps, mean of what is known, windows to look at, known share of each, and what was filled."""
        image = frame.image(0)
        corners = spread_corners(self._shape, self._window, self._step)
        if isinstance(frame.scan, RasterROI):
            return image, float(image.mean(dtype=np.float64)), corners, 1.0, ()
        cover = coverage(frame.scan, corners, self._window)
        notice = cover.notice()
        image, mean = filled(image, cover)
        return image, mean, cover.corners, cover.shares, () if notice is None else (notice,)

    def template(self, template: np.ndarray[Any, Any]) -> FloatArray:
        """Features (f,) float64 of a template: a spectrum of that length, or a picture of one window."""
        features = int(self._kept.sum())
        if template.shape == (features,):
            return np.asarray(template, dtype=np.float64)
        if template.shape != (self._window, self._window) or template.dtype != np.float32:
            raise ValueError(
                f"component is a template {template.dtype} of shape {template.shape}, expected ({features},) or "
                f"float32 ({self._window}, {self._window})"
            )
        mean = float(template.mean(dtype=np.float64))
        corner = np.zeros((1, 2), dtype=np.int64)
        if not mean > 0:
            raise ValueError(f"component is a template with mean {mean}, expected positive counts")
        spectrum, _ = spectra_at(
            np.ascontiguousarray(template), corner, self._window, crop=_CROP, scale=1 / mean, subtract_mean=True
        )
        return np.asarray(self._features(spectrum)[0], dtype=np.float64)

    def as_pictures(self, rows: FloatArray) -> FloatArray:
        """(n, f) features laid out as half spectra (n, rows, cols), the frequencies left out as 0."""
        keep = self._window // (2 * _CROP)
        pictures = np.zeros((len(rows), 2 * keep * (keep + 1)))
        pictures[:, self._kept] = rows
        return pictures.reshape(len(rows), 2 * keep, keep + 1)

    @property
    def window_px(self) -> int:
        return self._window

    @property
    def step_px(self) -> int:
        return self._step

    def state(self) -> dict[str, str | float | int]:
        return {
            "rows": self._shape[0],
            "cols": self._shape[1],
            "pixel_y_nm": self._pixel_nm[0],
            "pixel_x_nm": self._pixel_nm[1],
            "convention": self._convention,
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["convention"] != self._convention:
            raise ValueError(f"state has convention {state['convention']!r}, expected {self._convention!r}")
        self._settle((int(state["rows"]), int(state["cols"])), (float(state["pixel_y_nm"]), float(state["pixel_x_nm"])))

    def _settle(self, shape: tuple[int, int], pixel_nm: tuple[float, float]) -> None:
        side, self._step = window_and_step(*self._asked, min(pixel_nm), shape)
        spread_corners(shape, side, self._step)
        self._shape, self._pixel_nm = shape, pixel_nm
        frequencies = spectrum_frequencies(side, _CROP) / np.array(pixel_nm)
        radii = np.hypot(frequencies[:, 0], frequencies[:, 1])
        # Pixels too coarse for a lattice, or not calibrated: there is no such limit to go by.
        slowest = 1 / _LONGEST_PERIOD_NM if radii.max() > 1 / _LONGEST_PERIOD_NM else 0.0
        # The taper spreads what lies at zero frequency over three bins.
        lowest = max(slowest, 3 / (side * min(pixel_nm)))
        if lowest >= 1 / SPACING_RANGE_NM[0]:
            raise ValueError(f"window_px is {side} with pixels of {pixel_nm} nm, too few to hold lattice periods")
        self._kept: BoolArray = np.asarray(radii >= lowest)
        self._window = side

    def _features(self, spectra: Float32Array) -> Float32Array:
        return above_noise(np.ascontiguousarray(spectra[:, self._kept]), self._convention)
