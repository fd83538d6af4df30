// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/descriptors/spectra.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "descriptors/spectra_loops.hpp"
#include "simd/dispatch.hpp"

namespace probewise::descriptors {

PROBEWISE_DISPATCH(SpectraLoops, spectra_loops)

void taper_windows(Image2d<const float> image, std::span<const std::int64_t> corners, std::span<const float> taper,
                   float scale, bool subtract_mean, std::span<float> out, std::span<double> means) {
  const SpectraLoops& loops = spectra_loops();
  const std::size_t side = taper.size(), count = corners.size() / 2;
  double taper_sum = 0;
  for (const float weight : taper) taper_sum += static_cast<double>(weight);
  for (std::size_t n = 0; n < count; ++n) {
    const std::ptrdiff_t row = corners[2 * n], col = corners[2 * n + 1];
    const auto extent = static_cast<std::ptrdiff_t>(side);
    if (row < 0 || col < 0 || row + extent > image.rows || col + extent > image.cols) {
      throw std::invalid_argument("a window of side " + std::to_string(side) + " at (" + std::to_string(row) + ", " +
                                  std::to_string(col) + ") leaves the image of " + std::to_string(image.rows) + " x " +
                                  std::to_string(image.cols) + " pixels");
    }
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
    if (!std::isfinite(mean)) {
      throw std::invalid_argument("image holds a non-finite pixel in the window at (" + std::to_string(row) + ", " +
                                  std::to_string(col) + "), expected finite counts");
    }
    means[n] = mean / static_cast<double>(scale);
    if (subtract_mean) fill(static_cast<float>(mean));
  }
}

void magnitudes(std::span<const float> spectra, std::size_t side, std::size_t keep, std::span<float> out) {
  const SpectraLoops& loops = spectra_loops();
  const std::size_t width = side / 2 + 1, kept_cols = keep + 1, kept_rows = 2 * keep;
  const std::size_t count = spectra.size() / (2 * side * width);
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t i = 0; i < kept_rows; ++i) {
      const std::size_t source = i < keep ? side - keep + i : i - keep;
      loops.magnitude(spectra.data() + 2 * ((n * side + source) * width), kept_cols,
                      out.data() + (n * kept_rows + i) * kept_cols);
    }
  }
}

}  // namespace probewise::descriptors
