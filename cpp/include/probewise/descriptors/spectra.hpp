// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "probewise/image2d.hpp"

namespace probewise::descriptors {

/// Copies `count` windows of side `side`, top left corners (row, col) in `corners`, times taper[i] * taper[j] * scale,
/// to `out` (count, side, side). With `subtract_mean` the tapered mean of each window is subtracted first. `means`
/// (count) receives the tapered means, unscaled. Throws std::invalid_argument for a window outside the image or a
/// non-finite pixel.
void taper_windows(Image2d<const float> image, std::span<const std::int64_t> corners, std::span<const float> taper,
                   float scale, bool subtract_mean, std::span<float> out, std::span<double> means);

/// |F| of the same tapered windows, rows of frequency -keep..keep-1 and columns of frequency 0..keep, to `out`
/// (windows, 2*keep, keep + 1); taper and means as in taper_windows. Quick where windows share columns of the image.
/// Throws std::invalid_argument as taper_windows does, and for a side with a prime factor over 128.
void window_spectra(Image2d<const float> image, std::span<const std::int64_t> corners, std::span<const float> taper,
                    std::size_t keep, float scale, bool subtract_mean, std::span<float> out, std::span<double> means);

/// Moves each of `peaks` (windows, peaks per window, 2) as (y, x) in cycles per pixel to the nearest maximum of the
/// power of the tapered window's discrete-time Fourier transform (windows as made by taper_windows), by Newton steps
/// of at most half a bin. `power` receives |S|^2 at the end, `phase_step` by how much the phase of S over a quarter of
/// the window differs from that over the whole, at most (radians); a peak that is not a maximum or moved by more than
/// `reach` bins becomes NaN with power 0.
void refine_peaks(std::span<const float> windows, std::size_t side, double reach, std::span<double> peaks,
                  std::span<double> power, std::span<double> phase_step);

}  // namespace probewise::descriptors
