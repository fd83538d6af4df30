// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <stdexcept>
#include <vector>

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
  std::vector<float> rough(cols);
  const double shift = static_cast<double>(image(0, 0));  // keeps the sums of squares small beside a large offset
  double count = 0, levels = 0, squares = 0, level_level = 0, level_square = 0;
  const std::ptrdiff_t every = std::max<std::ptrdiff_t>(1, image.rows / noise_rows);
  for (std::ptrdiff_t row = 1; row + 1 < image.rows; row += every) {
    const float* above = &image(row - 1, 0);
    const float* here = &image(row, 0);
    const float* below = &image(row + 1, 0);
    table.roughness(above, here, below, cols, rough.data());
    float m = 0, e = 0, mm = 0, me = 0;
    for (std::size_t c = 0; c < cols; ++c) {
      float level = 0;
      for (std::size_t k = c; k < c + 3; ++k) level += above[k] + here[k] + below[k];
      level = level * (1.0f / 9) - static_cast<float>(shift);
      const float square = rough[c] * rough[c];
      m += level;
      e += square;
      mm += level * level;
      me += level * square;
    }
    count += static_cast<double>(cols);
    levels += static_cast<double>(m);
    squares += static_cast<double>(e);
    level_level += static_cast<double>(mm);
    level_square += static_cast<double>(me);
  }
  const double level = levels / count, square = squares / count;
  const double spread = level_level / count - level * level;
  const double slope = spread > 0 ? (level_square / count - level * square) / spread : 0;
  if (!(slope > 0)) return {square > 0 ? square : 1.0, 0};
  return {square - slope * (level + shift), slope};
}

}  // namespace probewise
