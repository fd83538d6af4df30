// SPDX-License-Identifier: BSD-3-Clause
#include <stdexcept>
#include <vector>

#include "image/pixel_table.hpp"
#include "probewise/image/refine.hpp"

namespace probewise {

NoiseModel estimate_noise(Image2d<const float> image) {
  if (image.rows < 3 || image.cols < 3) throw std::invalid_argument("image is smaller than 3 x 3 pixels");
  const PixelTable& table = pixel_table();
  const PixelRange range = table.range(image.data, static_cast<std::size_t>(image.rows * image.cols));
  if (!range.finite) throw std::invalid_argument("image holds values that are not finite, expected none");
  const auto cols = static_cast<std::size_t>(image.cols - 2);
  std::vector<float> rough(cols), mean(cols);
  const double shift = static_cast<double>(image(0, 0));  // keeps the sums of squares small beside a large offset
  double n = 0, sm = 0, se = 0, smm = 0, sme = 0;
  for (std::ptrdiff_t row = 1; row + 1 < image.rows; ++row) {
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
    n += static_cast<double>(cols);
    sm += static_cast<double>(m);
    se += static_cast<double>(e);
    smm += static_cast<double>(mm);
    sme += static_cast<double>(me);
  }
  const double level = sm / n, square = se / n;
  const double spread = smm / n - level * level, slope = spread > 0 ? (sme / n - level * square) / spread : 0;
  if (!(slope > 0)) return {square > 0 ? square : 1.0, 0};
  return {square - slope * (level + shift), slope};
}

}  // namespace probewise
