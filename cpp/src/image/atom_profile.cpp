// SPDX-License-Identifier: BSD-3-Clause
#include "image/atom_profile.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "points/nearest.hpp"

namespace probewise {

namespace {

constexpr std::size_t profile_atoms = 128;  // enough for a mean; more would cost time and change nothing

}  // namespace

double median_spacing(std::span<const double> yx) {
  const std::size_t count = yx.size() / 2;
  if (count < 2) return 0;
  const NearestPoints points(yx, 1);
  std::vector<double> nearest(count);
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < count; ++i) {
    points.find(yx[2 * i], yx[2 * i + 1], static_cast<std::uint32_t>(i), std::span(&nearest[i], 1),
                std::span(&number, 1));
  }
  const auto middle = nearest.begin() + static_cast<std::ptrdiff_t>(count / 2);
  std::nth_element(nearest.begin(), middle, nearest.end());
  return std::sqrt(*middle);
}

AtomProfile atom_profile(Image2d<const float> image, std::span<const double> yx, double reach) {
  const auto half = static_cast<std::ptrdiff_t>(std::ceil(reach));
  const auto side = static_cast<std::size_t>(2 * half + 1);
  std::vector<std::uint32_t> ring(side * side);
  for (std::size_t i = 0; i < ring.size(); ++i) {
    ring[i] =
        static_cast<std::uint32_t>(std::lround(std::hypot(static_cast<double>(i / side) - static_cast<double>(half),
                                                          static_cast<double>(i % side) - static_cast<double>(half))));
  }
  std::vector<double> patch(ring.size(), 0.0);  // sum of the windows, and how many of them reach each pixel
  std::vector<std::uint32_t> reached(ring.size(), 0);
  const std::size_t count = yx.size() / 2, every = std::max<std::size_t>(1, count / profile_atoms);
  for (std::size_t i = 0; i < count; i += every) {
    const auto y = static_cast<std::ptrdiff_t>(std::lround(yx[2 * i]));
    const auto x = static_cast<std::ptrdiff_t>(std::lround(yx[2 * i + 1]));
    const std::ptrdiff_t left = std::max<std::ptrdiff_t>(0, x - half), right = std::min(image.cols - 1, x + half);
    for (std::ptrdiff_t row = std::max<std::ptrdiff_t>(0, y - half); row <= std::min(image.rows - 1, y + half); ++row) {
      const std::size_t first =
          static_cast<std::size_t>(row - y + half) * side + static_cast<std::size_t>(left - x + half);
      const float* from = &image(row, left);
      for (std::size_t k = 0; k <= static_cast<std::size_t>(right - left); ++k) {
        patch[first + k] += static_cast<double>(from[k]);
        ++reached[first + k];
      }
    }
  }
  const auto rings = static_cast<std::size_t>(half) + 1;
  std::vector<double> sum(2 * rings, 0.0), pixels(2 * rings, 0.0);  // the corners of the square lie beyond `rings`
  for (std::size_t i = 0; i < ring.size(); ++i) {
    sum[ring[i]] += patch[i];
    pixels[ring[i]] += reached[i];
  }
  for (std::size_t r = 0; r < rings; ++r) sum[r] = pixels[r] > 0 ? sum[r] / pixels[r] : sum[r == 0 ? 0 : r - 1];
  const auto lowest = std::min_element(sum.begin(), sum.begin() + static_cast<std::ptrdiff_t>(rings));
  const double peak = std::max(sum[0], rings > 1 ? sum[1] : sum[0]), level = (peak + *lowest) / 2;
  AtomProfile found{*lowest, peak - *lowest, reach / 2};
  for (std::size_t r = 1; r < rings; ++r) {
    if (sum[r] > level) continue;
    const double share = sum[r - 1] > sum[r] ? (sum[r - 1] - level) / (sum[r - 1] - sum[r]) : 0.0;
    const double half_way = static_cast<double>(r - 1) + std::clamp(share, 0.0, 1.0);
    const auto far = static_cast<double>(lowest - sum.begin());
    double tail = 0;  // at the lowest ring, of the atom's own height; its neighbours add about as much
    for (int pass = 0; pass < 4; ++pass) {
      found.width_px = half_way / std::sqrt(2 * std::log(2 / (1 + tail)));
      tail = std::min(0.6, 2 * std::exp(-0.5 * far * far / (found.width_px * found.width_px)));
    }
    found.amplitude = (peak - *lowest) / (1 - tail);
    found.background = *lowest - tail * found.amplitude;
    break;
  }
  return found;
}

}  // namespace probewise
