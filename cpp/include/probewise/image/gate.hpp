// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>

namespace probewise {

/// What one pass over the counts of a channel tells. Mean, variance, minimum and maximum are of the finite
/// counts alone and NaN when there is none; the variance is the population's.
struct FrameStatistics {
  std::int64_t finite = 0;
  std::int64_t saturated = 0;  // finite counts at or above the saturation level
  double mean = 0, variance = 0, minimum = 0, maximum = 0;
  std::uint64_t digest = 0;  // of the bits: equal for equal counts, the same on every SIMD level
};

/// Whether no value is NaN or infinite; true of none.
bool all_finite(std::span<const float> values);

/// Statistics of `counts` in one pass; a `saturation` of +infinity counts nothing as saturated.
FrameStatistics frame_statistics(std::span<const float> counts, float saturation);

/// Mean of the samples of each pixel into `out`, NaN where there is none; samples with pixel -1 are masked.
/// Throws std::invalid_argument, before writing, when lengths differ or a pixel is neither -1 nor in `out`.
void to_image(std::span<const std::int32_t> pixel, std::span<const float> values, std::span<float> out);

}  // namespace probewise
