// SPDX-License-Identifier: BSD-3-Clause
#include "image/pixel_table.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

/// Integers in the order of the floats, and back: minima of integers need no care for NaN and fill a register.
int32_t ordered(float value) {
  const int32_t bits = __builtin_bit_cast(int32_t, value);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

float as_float(int32_t order) { return __builtin_bit_cast(float, order ^ ((order >> 31) & 0x7fffffff)); }

PixelRange range(const float* values, size_t count) {
  int32_t low = ordered(values[0]), high = low;
  for (size_t i = 0; i < count; ++i) {
    const int32_t order = ordered(values[i]);
    low = order < low ? order : low;
    high = order > high ? order : high;
  }
  constexpr int32_t infinity = 0x7f800000;  // all NaN lie beyond it, those of negative sign below minus infinity
  return {as_float(low), as_float(high), high < infinity && low > ~infinity};
}

void bins(const float* values, size_t count, float low, float per_unit, int32_t last, uint16_t* index) {
  const float top = static_cast<float>(last);
  for (size_t i = 0; i < count; ++i) {
    const float place = (values[i] - low) * per_unit;
    index[i] = static_cast<uint16_t>(static_cast<int32_t>(place < top ? place : top));
  }
}

size_t gather(const float* values, const uint16_t* index, size_t count, uint16_t first, uint16_t width, float* out) {
  constexpr size_t block = 32;  // one register of indices: most blocks hold nothing and cost one comparison
  size_t kept = 0;
  for (size_t start = 0; start < count; start += block) {
    const size_t stop = start + block < count ? start + block : count;
    if (stop == start + block) {
      uint16_t any = 0;
      for (size_t i = 0; i < block; ++i) {
        any |= static_cast<uint16_t>(static_cast<uint16_t>(index[start + i] - first) <= width);
      }
      if (any == 0) continue;
    }
    for (size_t i = start; i < stop; ++i) {
      out[kept] = values[i];
      kept += static_cast<uint16_t>(index[i] - first) <= width;
    }
  }
  return kept;
}

void affine(const float* values, size_t count, float offset, float factor, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = (values[i] - offset) * factor;
}

void roughness(const float* above, const float* here, const float* below, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    // Column sums first: (1, -2, 1) down, then (1, -2, 1) across.
    const float left = above[i] - 2 * here[i] + below[i];
    const float middle = above[i + 1] - 2 * here[i + 1] + below[i + 1];
    const float right = above[i + 2] - 2 * here[i + 2] + below[i + 2];
    const float value = left - 2 * middle + right;
    out[i] = (value < 0 ? -value : value) * (1.0f / 6);
  }
}

bool above(const float* values, size_t count, float threshold, float slack, uint8_t* out) {
  uint32_t outside = 0;
  for (size_t i = 0; i < count; ++i) {
    outside |= static_cast<uint32_t>(!(values[i] >= -slack && values[i] <= 1 + slack));
    out[i] = values[i] > threshold;
  }
  return outside == 0;
}

void add(const float* values, size_t count, float weight, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] += weight * values[i];
}

void blend(const float* upper, const float* lower, size_t count, const float* weights, float* out) {
  const float a = weights[0], b = weights[1], c = weights[2], d = weights[3];
  for (size_t i = 0; i < count; ++i) out[i] = a * upper[i] + b * upper[i + 1] + c * lower[i] + d * lower[i + 1];
}

}  // namespace

const PixelTable& pixel_table() noexcept {
  static constexpr PixelTable table{&range, &bins, &gather, &affine, &roughness, &above, &add, &blend};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
