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

/// |F| of `count` real-input spectra (count, side, side/2 + 1), interleaved complex: rows of frequency -keep..keep-1
/// and columns of frequency 0..keep, to `out` (count, 2*keep, keep + 1).
void magnitudes(std::span<const float> spectra, std::size_t side, std::size_t keep, std::span<float> out);

/// Moves each of `peaks` (windows, peaks per window, 2) as (y, x) in cycles per pixel to the nearest maximum of the
/// power of the tapered window's discrete-time Fourier transform (windows as made by taper_windows), by Newton steps
/// of at most half a bin. `power` receives |S|^2 at the end, `phase_step` by how much the phase of S over a quarter of
/// the window differs from that over the whole, at most (radians); a peak that is not a maximum or moved by more than
/// `reach` bins becomes NaN with power 0.
void refine_peaks(std::span<const float> windows, std::size_t side, double reach, std::span<double> peaks,
                  std::span<double> power, std::span<double> phase_step);

}  // namespace probewise::descriptors
