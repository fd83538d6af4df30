// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace probewise {

/// Orders of probe positions that a formula gives, sample by sample.
enum class PatternKind { serpentine, hilbert, jittered, archimedean, constant_velocity, fermat, vogel, lissajous };

/// One pattern over a (rows, cols) image: sample i is a pure function of these numbers and i, so that codes, positions
/// and pixels are computed apart, in blocks, without the others.
///
/// serpentine         a = discarded lines (they retrace the first line and come before it)
/// hilbert            rows = cols = a power of two
/// jittered           a = width of the jitter in pixels, seed
/// archimedean        a = turns, constant angular velocity
/// constant_velocity  a = turns, b = cap of the angular velocity in turns per pattern (at least a, may be infinite)
/// fermat             a = turns, constant angular velocity, equal area per sample
/// vogel              golden-angle steps, equal area per sample
/// lissajous          a, b = cycles along y and x
struct Pattern {
  PatternKind kind;
  std::int32_t rows, cols;
  std::size_t points;
  double a = 0.0, b = 0.0;
  std::uint64_t seed = 0;
};

/// Throws std::invalid_argument unless the numbers of `pattern` describe one.
void check_pattern(const Pattern& pattern);

/// Fractions (y, x) of all samples; `yx` holds 2 * points values.
void pattern_points(const Pattern& pattern, std::span<double> yx);

/// Flat pixel of each sample, -1 on discarded ones.
void pattern_pixels(const Pattern& pattern, std::span<std::int32_t> pixel);

/// DAC codes of all samples, equal to dac_codes of pattern_points but without storing those.
void pattern_codes(const Pattern& pattern, int bits, std::span<std::uint16_t> out);

/// round(value * (2^bits - 1)), halves to even. Throws std::invalid_argument for bits outside 1..16 and for a value
/// outside 0..1 (also NaN), whose index the message names; `out` is then unspecified.
void dac_codes(std::span<const double> values, int bits, std::span<std::uint16_t> out);

/// Flat pixel of (rows, cols) in which each of the (y, x) falls; the far edge belongs to the last pixel.
void pixels_of(std::span<const double> yx, std::int32_t rows, std::int32_t cols, std::span<std::int32_t> pixel);

/// Largest first and second differences of neighbouring samples, Euclidean.
struct Extremes {
  double step = 0.0, bend = 0.0;
};
Extremes extremes_of(std::span<const double> yx);
Extremes pattern_extremes(const Pattern& pattern);

/// One line by line scan as an ordered list: per line `cols` samples and, with flyback, one masked sample at the start
/// of the next line. Discarded lines come first, above the first line where the frame has room for all of them and
/// along it otherwise.
struct RasterLines {
  std::int32_t rows, cols, discard_lines;
  std::int64_t dwell_ns, flyback_ns;
  double centre_y, centre_x, size_y, size_x;
  std::size_t samples() const {
    return static_cast<std::size_t>(rows + discard_lines) * (static_cast<std::size_t>(cols) + (flyback_ns > 0 ? 1 : 0));
  }
};
void raster_lines(const RasterLines& lines, std::span<double> yx, std::span<std::int64_t> dwell_ns,
                  std::span<bool> active, std::span<std::int32_t> pixel);

}  // namespace probewise
