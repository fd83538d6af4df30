// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/network_input.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "image/intensity_body.hpp"
#include "image/order_statistics.hpp"
#include "image/pixel_table.hpp"

namespace probewise {

float noise_deviation(Image2d<const float> image) {
  if (image.rows < 3 || image.cols < 3) return 0;
  const PixelTable& table = pixel_table();
  const auto cols = static_cast<std::size_t>(image.cols - 2);
  std::vector<float> rough(static_cast<std::size_t>(image.rows - 2) * cols);
  for (std::ptrdiff_t row = 1; row + 1 < image.rows; ++row) {
    table.roughness(&image(row - 1, 0), &image(row, 0), &image(row + 1, 0), cols,
                    rough.data() + static_cast<std::size_t>(row - 1) * cols);
  }
  const PixelRange range = table.range(rough.data(), rough.size());
  constexpr std::array at{0.5};
  std::array<double, 1> median{};
  quantiles(rough, range.low, range.high, at, median);
  return static_cast<float>(median[0] / median_of_normal);
}

IntensityRange network_input(Image2d<const float> image, std::span<float> out) {
  const PixelTable& table = pixel_table();
  const std::span values(image.data, static_cast<std::size_t>(image.rows * image.cols));
  const PixelRange range = table.range(values.data(), values.size());
  if (!range.finite) throw std::invalid_argument("image holds values that are not finite, expected none");
  constexpr std::array at{low_share, high_share};
  std::array<double, 2> ends{};
  quantiles(values, range.low, range.high, at, ends);
  const IntensityRange found = intensity_range(ends[0], ends[1], noise_deviation(image));
  table.affine(values.data(), values.size(), found.offset, 1 / found.scale, out.data());
  return found;
}

}  // namespace probewise
