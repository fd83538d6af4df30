// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/descriptors/spectra.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "descriptors/spectra_loops.hpp"
#include "runtime/pool.hpp"
#include "simd/dispatch.hpp"

namespace probewise::descriptors {

PROBEWISE_DISPATCH(SpectraLoops, spectra_loops)

namespace {

void check_corners(Image2d<const float> image, std::span<const std::int64_t> corners, std::size_t side) {
  const auto extent = static_cast<std::ptrdiff_t>(side);
  for (std::size_t n = 0; n < corners.size() / 2; ++n) {
    const std::ptrdiff_t row = corners[2 * n], col = corners[2 * n + 1];
    if (row < 0 || col < 0 || row + extent > image.rows || col + extent > image.cols) {
      throw std::invalid_argument("a window of side " + std::to_string(side) + " at (" + std::to_string(row) + ", " +
                                  std::to_string(col) + ") leaves the image of " + std::to_string(image.rows) + " x " +
                                  std::to_string(image.cols) + " pixels");
    }
  }
}

void check_finite(double mean, std::ptrdiff_t row, std::ptrdiff_t col) {
  if (!std::isfinite(mean)) {
    throw std::invalid_argument("image holds a non-finite pixel in the window at (" + std::to_string(row) + ", " +
                                std::to_string(col) + "), expected finite counts");
  }
}

}  // namespace

void taper_windows(Image2d<const float> image, std::span<const std::int64_t> corners, std::span<const float> taper,
                   float scale, bool subtract_mean, std::span<float> out, std::span<double> means) {
  const SpectraLoops& loops = spectra_loops();
  const std::size_t side = taper.size(), count = corners.size() / 2;
  double taper_sum = 0;
  for (const float weight : taper) taper_sum += static_cast<double>(weight);
  check_corners(image, corners, side);
  for (std::size_t n = 0; n < count; ++n) {
    const std::ptrdiff_t row = corners[2 * n], col = corners[2 * n + 1];
    const float* first = image.data + row * image.row_stride + col;
    const auto fill = [&](float offset) {
      double sum = 0;
      for (std::size_t i = 0; i < side; ++i) {
        float* line = out.data() + (n * side + i) * side;
        loops.taper(first + static_cast<std::ptrdiff_t>(i) * image.row_stride, taper.data(), taper[i], scale, offset,
                    side, line);
        double line_sum = 0;
        for (std::size_t j = 0; j < side; ++j) line_sum += static_cast<double>(line[j]);
        sum += line_sum;
      }
      return sum / (taper_sum * taper_sum);
    };
    const double mean = fill(0.0f);
    check_finite(mean, row, col);
    means[n] = mean / static_cast<double>(scale);
    if (subtract_mean) fill(static_cast<float>(mean));
  }
}

namespace {

constexpr std::size_t lane_multiple = 16;  // floats of the widest register

std::size_t padded(std::size_t count) { return (count + lane_multiple - 1) / lane_multiple * lane_multiple; }

/// Largest side whose prime factors all have a butterfly.
constexpr std::size_t largest_radix = 128;

/// The transform of tapered windows in two halves. Rows: a matrix product with the tapered waves of the kept columns,
/// shared by all windows at the same column of the image. Columns: Stockham passes of radix 4, 2 and the odd primes,
/// whose elements are whole lines of kept columns of two windows, so that every register is full.
class WindowTransform {
 public:
  WindowTransform(std::span<const float> taper, std::size_t keep)
      : side_(taper.size()),
        keep_(keep),
        columns_(keep + 1),
        width_(padded(2 * columns_)),
        lanes_(padded(together * columns_)),
        taper_(taper),
        waves_(side_ * width_, 0.0f),
        ones_(width_, 0.0f) {
    for (std::size_t j = 0; j < side_; ++j) {
      for (std::size_t k = 0; k < columns_; ++k) {
        const auto [c, s] = root(j * k % side_, side_);
        waves_[j * width_ + k] = static_cast<float>(c * static_cast<double>(taper[j]));
        waves_[j * width_ + columns_ + k] = static_cast<float>(s * static_cast<double>(taper[j]));
      }
      for (std::size_t k = 0; k < width_; ++k) ones_[k] += waves_[j * width_ + k];
      taper_sum_ += static_cast<double>(taper[j]);
    }
    std::size_t length = side_, stride = 1;
    while (length > 1) {
      const std::size_t radix = next_radix(length);
      passes_.push_back(make_pass(radix, length / radix, stride));
      length /= radix;
      stride *= radix;
    }
  }

  static constexpr std::size_t together = 2;

  /// What one column of windows is worked on in.
  struct Scratch {
    std::vector<float> block, lines, first, second;
    std::ptrdiff_t first_row = 0;
  };

  Scratch make_scratch() const {
    const std::size_t size = 2 * lanes_ * side_;
    return {
        std::vector<float>(rows_at_once * side_), {}, std::vector<float>(size, 0.0f), std::vector<float>(size, 0.0f)};
  }

  /// Transforms of all rows from `first` to `last` of the image at column `col`, of values times scale. Each row is
  /// transformed about its own mean, so that it keeps its digits for the fringes.
  void rows(Image2d<const float> image, std::ptrdiff_t first, std::ptrdiff_t last, std::ptrdiff_t col, float scale,
            Scratch& scratch) const {
    const SpectraLoops& loops = spectra_loops();
    scratch.first_row = first;
    scratch.lines.resize(static_cast<std::size_t>(last - first) * width_);
    for (std::ptrdiff_t row = first; row < last; row += rows_at_once) {
      const auto count = static_cast<std::size_t>(std::min<std::ptrdiff_t>(rows_at_once, last - row));
      std::array<float, rows_at_once> level{};
      for (std::size_t i = 0; i < count; ++i) {
        const float* pixel = image.data + (row + static_cast<std::ptrdiff_t>(i)) * image.row_stride + col;
        float sum = 0.0f;
        for (std::size_t j = 0; j < side_; ++j) sum += pixel[j];
        level[i] = scale * sum / static_cast<float>(side_);
        for (std::size_t j = 0; j < side_; ++j) scratch.block[i * side_ + j] = pixel[j] * scale - level[i];
      }
      loops.multiply(count, width_, side_, scratch.block.data(), waves_.data(), line(row, scratch));
      for (std::size_t i = 0; i < count; ++i) {
        float* target = line(row + static_cast<std::ptrdiff_t>(i), scratch);
        loops.load_line(target, ones_.data(), level[i], 1.0f, width_, target);
      }
    }
  }

  /// Tapered mean of the window at `row`, of what `rows` was given.
  double mean(std::ptrdiff_t row, Scratch& scratch) const {
    double sum = 0;
    for (std::size_t i = 0; i < side_; ++i) {
      sum += static_cast<double>(taper_[i]) * static_cast<double>(*line(row + static_cast<std::ptrdiff_t>(i), scratch));
    }
    return sum / (taper_sum_ * taper_sum_);
  }

  /// Magnitudes of up to `together` windows with `offset` added to each of their pixels.
  void columns(std::span<const std::ptrdiff_t> rows, std::span<const float> offset, std::span<float* const> out,
               Scratch& scratch) const {
    const SpectraLoops& loops = spectra_loops();
    for (std::size_t i = 0; i < side_; ++i) {
      float* re = scratch.first.data() + 2 * lanes_ * i;
      for (std::size_t b = 0; b < rows.size(); ++b) {
        const float* from = line(rows[b] + static_cast<std::ptrdiff_t>(i), scratch);
        loops.load_line(from, ones_.data(), offset[b], taper_[i], columns_, re + b * columns_);
        loops.load_line(from + columns_, ones_.data() + columns_, offset[b], taper_[i], columns_,
                        re + lanes_ + b * columns_);
      }
    }
    float *in = scratch.first.data(), *target = scratch.second.data();
    for (const Pass& pass : passes_) {
      loops.butterflies(pass.radix, pass.groups, pass.stride, lanes_, in, target, pass.twiddle.data(),
                        pass.roots.data());
      std::swap(in, target);
    }
    for (std::size_t i = 0; i < 2 * keep_; ++i) {
      const float* re = in + 2 * lanes_ * (i < keep_ ? side_ - keep_ + i : i - keep_);
      for (std::size_t b = 0; b < rows.size(); ++b) {
        loops.magnitude(re + b * columns_, re + lanes_ + b * columns_, columns_, out[b] + i * columns_);
      }
    }
  }

 private:
  static constexpr std::ptrdiff_t rows_at_once = 8;

  struct Pass {
    std::size_t radix, groups, stride;
    std::vector<float> twiddle, roots;
  };

  /// exp(-2 pi i part / whole)
  static std::array<double, 2> root(std::size_t part, std::size_t whole) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(part) / static_cast<double>(whole);
    return {std::cos(angle), std::sin(angle)};
  }

  static std::size_t next_radix(std::size_t length) {
    if (length % 4 == 0) return 4;
    std::size_t radix = 2;
    while (length % radix != 0) ++radix;
    return radix;
  }

  static Pass make_pass(std::size_t radix, std::size_t groups, std::size_t stride) {
    Pass pass{radix, groups, stride, {}, {}};
    for (std::size_t j = 0; j < groups; ++j) {
      for (std::size_t k = 0; k < radix; ++k) {
        for (const double part : root(j * k, radix * groups)) pass.twiddle.push_back(static_cast<float>(part));
      }
    }
    for (std::size_t k = 0; k < radix; ++k) {
      for (const double part : root(k, radix)) pass.roots.push_back(static_cast<float>(part));
    }
    return pass;
  }

  float* line(std::ptrdiff_t row, Scratch& scratch) const {
    return scratch.lines.data() + static_cast<std::size_t>(row - scratch.first_row) * width_;
  }

  std::size_t side_, keep_, columns_, width_, lanes_;
  std::span<const float> taper_;
  double taper_sum_ = 0;
  std::vector<float> waves_, ones_;
  std::vector<Pass> passes_;
};

}  // namespace

void window_spectra(Image2d<const float> image, std::span<const std::int64_t> corners, std::span<const float> taper,
                    std::size_t keep, float scale, bool subtract_mean, std::span<float> out, std::span<double> means) {
  const std::size_t side = taper.size(), count = corners.size() / 2, features = 2 * keep * (keep + 1);
  check_corners(image, corners, side);
  for (std::size_t left = side, factor = 2; left > 1; ++factor) {
    for (; left % factor == 0; left /= factor) {
      if (factor > largest_radix) {
        throw std::invalid_argument("window is " + std::to_string(side) +
                                    ", expected one without a prime factor over " + std::to_string(largest_radix));
      }
    }
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return corners[2 * a + 1] != corners[2 * b + 1] ? corners[2 * a + 1] < corners[2 * b + 1] : a < b;
  });
  std::vector<std::size_t> starts;  // of the windows at one column of the image
  for (std::size_t i = 0; i < count; ++i) {
    if (i == 0 || corners[2 * order[i] + 1] != corners[2 * order[i - 1] + 1]) starts.push_back(i);
  }
  starts.push_back(count);
  const WindowTransform transform(taper, keep);
  // A pixel of a window takes 2.5 ns (bench/window_spectra.py).
  for_pieces(starts.size() - 1, static_cast<double>(count * side * side) / 400.0, [&](std::size_t piece) {
    WindowTransform::Scratch scratch = transform.make_scratch();
    const std::size_t start = starts[piece], end = starts[piece + 1];
    const std::ptrdiff_t col = corners[2 * order[start] + 1];
    std::ptrdiff_t first = corners[2 * order[start]], last = first;
    for (std::size_t at = start; at < end; ++at) {
      first = std::min<std::ptrdiff_t>(first, corners[2 * order[at]]);
      last = std::max<std::ptrdiff_t>(last, corners[2 * order[at]]);
    }
    transform.rows(image, first, last + static_cast<std::ptrdiff_t>(side), col, scale, scratch);
    for (std::size_t at = start; at < end; at += WindowTransform::together) {
      const std::size_t several = std::min(WindowTransform::together, end - at);
      std::array<std::ptrdiff_t, WindowTransform::together> rows{};
      std::array<float, WindowTransform::together> offset{};
      std::array<float*, WindowTransform::together> target{};
      for (std::size_t b = 0; b < several; ++b) {
        const std::size_t n = order[at + b];
        rows[b] = corners[2 * n];
        const double mean = transform.mean(rows[b], scratch);
        check_finite(mean, rows[b], col);
        means[n] = mean / static_cast<double>(scale);
        offset[b] = subtract_mean ? static_cast<float>(-mean) : 0.0f;
        target[b] = out.data() + n * features;
      }
      transform.columns({rows.data(), several}, {offset.data(), several}, {target.data(), several}, scratch);
    }
  });
}

}  // namespace probewise::descriptors
