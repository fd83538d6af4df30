// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "probewise/portable.hpp"

namespace probewise {

/// Integers in the order of the floats, and back: minima of integers need no care for NaN and fill a register.
/// All NaN lie beyond infinity, those of negative sign below minus infinity.
PROBEWISE_HD int32_t ordered(float value) {
  const int32_t bits = __builtin_bit_cast(int32_t, value);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

PROBEWISE_HD float from_ordered(int32_t order) {
  return __builtin_bit_cast(float, order ^ ((order >> 31) & 0x7fffffff));
}

constexpr int32_t ordered_infinity = 0x7f800000;

PROBEWISE_HD float affine_pixel(float value, float offset, float factor) { return (value - offset) * factor; }

/// |second mixed difference| / 6 of the nine pixels whose left column is `at`: column sums first, (1, -2, 1) down,
/// then (1, -2, 1) across.
PROBEWISE_HD float roughness_pixel(const float* above, const float* here, const float* below, size_t at) {
  const float left = above[at] - 2 * here[at] + below[at];
  const float middle = above[at + 1] - 2 * here[at + 1] + below[at + 1];
  const float right = above[at + 2] - 2 * here[at + 2] + below[at + 2];
  const float value = left - 2 * middle + right;
  return (value < 0 ? -value : value) * (1.0f / 6);
}

/// Bilinear: two pixels of a row by weights a and b, two of the row below by c and d.
PROBEWISE_HD float blend_pixel(const float* upper, const float* lower, size_t at, float a, float b, float c, float d) {
  return a * upper[at] + b * upper[at + 1] + c * lower[at] + d * lower[at + 1];
}

/// A network's probability: a softmax may pass 1 by its rounding, a quantised one by a step.
PROBEWISE_HD bool is_probability(float value, float slack) { return value >= -slack && value <= 1 + slack; }

constexpr float probability_slack = 1e-3f;

}  // namespace probewise
