// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include "probewise/image/network_input.hpp"
#include "probewise/portable.hpp"

namespace probewise {

constexpr double low_share = 0.005, high_share = 0.995;  // of the percentiles that span the range
constexpr double median_of_normal = 0.6744897501960817;  // median of |x| of a standard normal x
constexpr double noise_deviations = 8;                   // the least range, in deviations of the noise

/// The range between two percentiles, unless the noise's is larger.
PROBEWISE_HD IntensityRange intensity_range(double low, double high, float noise_deviation) {
  const double noise = noise_deviations * static_cast<double>(noise_deviation);
  const double scale = high - low > noise ? high - low : noise;
  return {static_cast<float>(low), scale > 0 ? static_cast<float>(scale) : 1.0f};
}

}  // namespace probewise
