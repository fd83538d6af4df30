// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <stdexcept>

#include "image/pixel_table.hpp"
#include "probewise/image/refine.hpp"

namespace probewise {

namespace {

constexpr std::ptrdiff_t noise_rows = 128;  // enough for two numbers

}  // namespace

NoiseModel estimate_noise(Image2d<const float> image) {
  if (image.rows < 3 || image.cols < 3) throw std::invalid_argument("image is smaller than 3 x 3 pixels");
  const PixelTable& table = pixel_table();
  const PixelRange range = table.range(image.data, static_cast<std::size_t>(image.rows * image.cols));
  if (!range.finite) throw std::invalid_argument("image holds values that are not finite, expected none");
  const auto cols = static_cast<std::size_t>(image.cols - 2);
  const float shift = image(0, 0);  // keeps the sums of squares small beside a large offset
  double count = 0;
  std::array<double, 4> sums{};
  const std::ptrdiff_t every = std::max<std::ptrdiff_t>(1, image.rows / noise_rows);
  for (std::ptrdiff_t row = 1; row + 1 < image.rows; row += every) {
    table.noise(&image(row - 1, 0), &image(row, 0), &image(row + 1, 0), cols, shift, sums.data());
    count += static_cast<double>(cols);
  }
  const auto [levels, squares, level_level, level_square] = sums;
  const double level = levels / count, square = squares / count;
  const double spread = level_level / count - level * level;
  const double slope = spread > 0 ? (level_square / count - level * square) / spread : 0;
  if (!(slope > 0)) return {square > 0 ? square : 1.0, 0};
  return {square - slope * (level + static_cast<double>(shift)), slope};
}

}  // namespace probewise
