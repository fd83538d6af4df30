# SPDX-License-Identifier: BSD-3-Clause
"""Where the Bragg peaks of each window lie, to a fraction of a bin: local strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probewise._core import descriptors as _core
from probewise.descriptors.spectra import check_image, spectra_at, spectrum_frequencies, window_corners
from probewise.types import BoolArray, Float32Array, FloatArray, IntArray

# Spacings between which the strongest lattice fringes of inorganic crystals lie, nm.
SPACING_RANGE_NM = (0.1, 0.6)
# A peak counts as one when its power is this far over the power of noise (the median of a frame's mean spectrum, the
# mean over all bins of one window's): one bin of noise exceeds 8 times its mean with probability exp(-8).
_LEAST_POWER_RATIO = 8.0
# How far a window's peak may lie from the frame's, bins: farther away it belongs to another lattice.
_REACH_BINS = 1.0


@dataclass(frozen=True, eq=False)
class SpectrumPeaks:
    """Peaks of every window.

    per_nm       (windows, peaks, 2) float64, (y, x) frequency in 1/nm; NaN where a window has no such peak
    power        (windows, peaks) float64, squared magnitude at the peak, 0 where there is none
    phase_step   (windows, peaks) float64, how far the phase at the peak differs between a quarter of the window and the
                 whole, at most, radians; NaN where there is none
    expected     (peaks, 2) float64, the frame's peaks near which they were sought
    """

    per_nm: FloatArray
    power: FloatArray
    phase_step: FloatArray
    expected: FloatArray

    def spacings_nm(self) -> FloatArray:
        """Lattice spacings 1/|g|, (windows, peaks)."""
        return np.asarray(1 / np.hypot(self.per_nm[..., 0], self.per_nm[..., 1]))

    def undisturbed(self, share: float = 0.75, phase_step: float = 0.15) -> BoolArray:
        """(windows, peaks) bool: the peak has at least `share` of the power of the frame's best window, and its phase
        differs between quarters of the window by less than `phase_step` from the whole.

        Where two lattices meet in a window their waves are out of step: the peak loses power, its phase jumps, and its
        position is no longer a spacing. In the middle of a window the default `share` tells jumps of 1.5 rad and more,
        the default `phase_step` those over 0.9 rad, which shift a spacing by 3 % in a window of 10 periods; what is
        left shifts it by less. Of all windows of the simulated `strained` 95 % stay below 0.2 rad.
        """
        if not self.power.size:
            return np.zeros(self.power.shape, dtype=bool)
        strong = (self.power > 0) & (self.power >= share * self.power.max(axis=0))
        return np.asarray(strong & (self.phase_step < phase_step))

    def mean_spacing_nm(self) -> FloatArray:
        """1/sqrt(|g1 x g2|) of the first two peaks, (windows,): one number for a change of the periodicity that does
        not depend on rotation; NaN with fewer than two."""
        if self.per_nm.shape[1] < 2:
            return np.full(len(self.per_nm), np.nan)
        first, second = self.per_nm[:, 0], self.per_nm[:, 1]
        return np.asarray(1 / np.sqrt(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])))


def spectrum_peaks(
    image: Float32Array,
    window: int,
    step: int,
    *,
    pixel_nm: tuple[float, float],
    count: int = 2,
    spacing_nm: tuple[float, float] = SPACING_RANGE_NM,
    expected_per_nm: FloatArray | None = None,
) -> SpectrumPeaks:
    """Positions of the strongest Bragg peaks in every window.

    image            (rows, cols) float32, C-contiguous, finite
    window, step     pixels, as in `sliding_spectra`
    pixel_nm         (y, x) size of a pixel
    count            peaks sought, no two within 20 degrees of the same line; fewer when the frame has no more
    spacing_nm       lattice spacings (smallest, largest) between which they are sought
    expected_per_nm  (peaks, 2) where to look instead, 1/nm
    returns          SpectrumPeaks; of each pair g, -g the one with x >= 0; peaks ordered by their angle from the rows'
                     axis, so that "first" means the same in neighbouring frames

    The position is the maximum of the windowed discrete-time Fourier transform, found by Newton steps on its power:
    for one sinusoid in white noise that is the maximum-likelihood estimate (Rife and Boorstyn, Bell Syst. Tech. J. 55
    (1976) 1389); the Hann taper gives up part of the information so that other peaks do not pull it.
    """
    shape = check_image(image)
    corners = window_corners(shape, window, step)
    if expected_per_nm is None:
        spectra, _ = spectra_at(image, corners, window, subtract_mean=True, crop=1)
        expected_per_nm = expected_peaks(spectra, window, pixel_nm, crop=1, count=count, spacing_nm=spacing_nm)
    return peaks_at(image, corners, window, pixel_nm, expected_per_nm)


def expected_peaks(
    spectra: Float32Array,
    window: int,
    pixel_nm: tuple[float, float],
    *,
    crop: int = 2,
    count: int = 2,
    spacing_nm: tuple[float, float] = SPACING_RANGE_NM,
) -> FloatArray:
    """The strongest peaks of the mean power of a frame's spectra, to a tenth of a bin, (at most `count`, 2) in 1/nm."""
    frequencies = spectrum_frequencies(window, crop) / np.array(pixel_nm)
    power = np.mean(np.square(spectra, dtype=np.float64), axis=0)
    keep = window // (2 * crop)
    grid = power.reshape(2 * keep, keep + 1)
    # The column of frequency 0 is its own mirror image; beyond the edges nothing is known.
    padded = np.pad(grid, 1)
    padded[1:-1, 0] = padded[1 + (-np.arange(2 * keep)) % (2 * keep), 2]
    neighbours = np.stack([np.roll(padded, (dy, dx), (0, 1))[1:-1, 1:-1] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    is_peak = (grid >= neighbours.max(axis=0)).ravel()
    length = np.hypot(frequencies[:, 0], frequencies[:, 1])
    # The taper spreads a peak over two bins: nearer to the origin it would mix with its own mirror image.
    lowest = max(1 / spacing_nm[1], 2.5 / (window * min(pixel_nm)))
    half = (frequencies[:, 1] > 0) | (frequencies[:, 0] > 0)
    eligible = is_peak & half & (length >= lowest) & (length <= 1 / spacing_nm[0])
    eligible &= power > _LEAST_POWER_RATIO * np.median(power)
    # Between two bins a peak shows half of its power only: ranked by bins, a strain would change which peaks lead.
    candidates = []
    for index in np.flatnonzero(eligible):
        row, col = divmod(int(index), keep + 1)
        offset, height = _vertex(padded[row : row + 3, col : col + 3])
        candidates.append((height, frequencies[index] + offset / window / np.array(pixel_nm)))
    found: list[FloatArray] = []
    for _, here in sorted(candidates, key=lambda candidate: -candidate[0]):
        if len(found) == count:
            break
        if all(_angle(here, other) > np.deg2rad(20) for other in found):
            found.append(here)
    if not found:
        return np.empty((0, 2))
    peaks = np.array(found)
    return peaks[np.argsort(np.abs(np.arctan2(peaks[:, 1], peaks[:, 0])) % np.pi, kind="stable")]


def peaks_at(
    image: Float32Array, corners: IntArray, window: int, pixel_nm: tuple[float, float], expected_per_nm: FloatArray
) -> SpectrumPeaks:
    """Peaks of the windows at `corners` near `expected_per_nm` (peaks, 2)."""
    expected = np.ascontiguousarray(expected_per_nm, dtype=np.float64)
    if expected.ndim != 2 or expected.shape[1] != 2 or not np.isfinite(expected).all():
        raise ValueError(f"expected_per_nm has shape {expected.shape}, expected finite frequencies (peaks, 2)")
    pixel = np.array(pixel_nm, dtype=np.float64)
    windows = np.empty((len(corners), window, window), dtype=np.float32)
    means = np.empty(len(corners))
    taper = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    _core.taper_windows(image, corners, taper.astype(np.float32), 1.0, True, windows, means)
    positions = np.ascontiguousarray(np.tile(expected * pixel, (len(corners), 1, 1)))
    power, phase_step = np.empty(positions.shape[:2]), np.empty(positions.shape[:2])
    _core.refine_peaks(windows, _REACH_BINS, positions, power, phase_step)
    # By Parseval the sum of squares is the mean power over all bins.
    floor = _LEAST_POWER_RATIO * np.einsum("wij,wij->w", windows, windows, dtype=np.float64)
    lost = power < floor[:, None]
    positions[lost], power[lost], phase_step[lost] = np.nan, 0.0, np.nan
    return SpectrumPeaks(positions / pixel, power, phase_step, expected)


def _vertex(power: FloatArray) -> tuple[FloatArray, float]:
    """Offset (y, x) in bins and logarithm of the height of the parabolas through the logarithm of a 3 x 3 peak."""
    logarithm = np.log(np.maximum(power, 1e-3 * power[1, 1]))
    offset, height = [], float(logarithm[1, 1])
    for left, centre, right in (logarithm[:, 1], logarithm[1, :]):
        curvature = min(left - 2 * centre + right, -1e-9)
        offset.append(float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)))
        height += 0.25 * (right - left) * offset[-1]
    return np.array(offset), height


def _angle(first: FloatArray, second: FloatArray) -> float:
    """Angle between two lines through the origin, radians."""
    cosine = abs(float(first @ second)) / float(np.hypot(*first) * np.hypot(*second))
    return float(np.arccos(min(1.0, cosine)))
