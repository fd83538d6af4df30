// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/gate.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "image/gate_table.hpp"
#include "image/pixel_table.hpp"
#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(GateTable, gate_table)

bool all_finite(std::span<const float> values) {
  return values.empty() || pixel_table().range(values.data(), values.size()).finite;
}

FrameStatistics frame_statistics(std::span<const float> counts, float saturation) {
  // Deviations from a value of the frame itself: no cancellation where a large offset carries little variance.
  const auto first = std::find_if(counts.begin(), counts.end(), [](float value) { return std::isfinite(value); });
  const float shift = first == counts.end() ? 0.0f : *first;
  GateSums sums{};
  std::fill_n(sums.minimum, gate_lanes, std::numeric_limits<float>::infinity());
  std::fill_n(sums.maximum, gate_lanes, -std::numeric_limits<float>::infinity());
  std::fill_n(sums.digest, gate_lanes, 0x811c9dc5u);
  const std::size_t whole = counts.size() / gate_lanes * gate_lanes;
  const GateTable& table = gate_table();
  table.add(counts.data(), whole, shift, saturation, &sums);
  float rest[gate_lanes];
  std::fill_n(rest, gate_lanes, std::numeric_limits<float>::quiet_NaN());
  std::copy(counts.begin() + static_cast<std::ptrdiff_t>(whole), counts.end(), rest);
  table.add(rest, gate_lanes, shift, saturation, &sums);

  FrameStatistics result;
  double sum = 0, square = 0;
  float minimum = sums.minimum[0], maximum = sums.maximum[0];
  result.digest = counts.size();
  for (int lane = 0; lane < gate_lanes; ++lane) {
    sum += sums.sum[lane];
    square += sums.square[lane];
    minimum = std::min(minimum, sums.minimum[lane]);
    maximum = std::max(maximum, sums.maximum[lane]);
    result.finite += sums.finite[lane];
    result.saturated += sums.saturated[lane];
    result.digest = (std::rotl(result.digest, 5) ^ sums.digest[lane]) * 0x9e3779b97f4a7c15u;
  }
  const double n = static_cast<double>(result.finite);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  result.mean = result.finite ? shift + sum / n : nan;
  result.variance = result.finite ? std::max(0.0, square / n - (sum / n) * (sum / n)) : nan;
  result.minimum = result.finite ? static_cast<double>(minimum) : nan;
  result.maximum = result.finite ? static_cast<double>(maximum) : nan;
  return result;
}

void to_image(std::span<const std::int32_t> pixel, std::span<const float> values, std::span<float> out) {
  if (pixel.size() != values.size()) {
    throw std::invalid_argument("values has " + std::to_string(values.size()) + " samples, expected " +
                                std::to_string(pixel.size()) + " as in pixel");
  }
  for (const std::int32_t index : pixel) {
    if (index < -1 || (index >= 0 && static_cast<std::size_t>(index) >= out.size())) {
      throw std::invalid_argument("pixel holds " + std::to_string(index) + ", expected -1 (masked) or less than " +
                                  std::to_string(out.size()));
    }
  }
  struct Pixel {
    double sum = 0;
    std::int64_t samples = 0;
  };
  std::vector<Pixel> pixels(out.size());
  for (std::size_t i = 0; i < pixel.size(); ++i) {
    if (pixel[i] < 0) continue;
    Pixel& here = pixels[static_cast<std::size_t>(pixel[i])];
    here.sum += static_cast<double>(values[i]);
    ++here.samples;
  }
  std::transform(pixels.begin(), pixels.end(), out.begin(), [](const Pixel& here) {
    return here.samples ? static_cast<float>(here.sum / static_cast<double>(here.samples))
                        : std::numeric_limits<float>::quiet_NaN();
  });
}

}  // namespace probewise
