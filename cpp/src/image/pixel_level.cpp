// SPDX-License-Identifier: BSD-3-Clause
#include "image/pixel_body.hpp"
#include "image/pixel_table.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

PixelRange range(const float* values, size_t count) {
  int32_t low = ordered(values[0]), high = low;
  for (size_t i = 0; i < count; ++i) {
    const int32_t order = ordered(values[i]);
    low = order < low ? order : low;
    high = order > high ? order : high;
  }
  return {from_ordered(low), from_ordered(high), high < ordered_infinity && low > ~ordered_infinity};
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
  for (size_t i = 0; i < count; ++i) out[i] = affine_pixel(values[i], offset, factor);
}

void roughness(const float* above, const float* here, const float* below, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = roughness_pixel(above, here, below, i);
}

bool above(const float* values, size_t count, float threshold, float slack, uint8_t* out) {
  uint32_t outside = 0;
  for (size_t i = 0; i < count; ++i) {
    outside |= static_cast<uint32_t>(!is_probability(values[i], slack));
    out[i] = values[i] > threshold;
  }
  return outside == 0;
}

void add(const float* values, size_t count, float weight, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] += weight * values[i];
}

void blend(const float* upper, const float* lower, size_t count, const float* weights, float* out) {
  const float a = weights[0], b = weights[1], c = weights[2], d = weights[3];
  for (size_t i = 0; i < count; ++i) out[i] = blend_pixel(upper, lower, i, a, b, c, d);
}

}  // namespace

const PixelTable& pixel_table() noexcept {
  static constexpr PixelTable table{&range, &bins, &gather, &affine, &roughness, &above, &add, &blend};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
