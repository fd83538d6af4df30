// SPDX-License-Identifier: BSD-3-Clause
#include "image/pixel_body.hpp"
#include "image/pixel_table.hpp"
#include "probewise/portable.hpp"
#include "simd/lanes.hpp"

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

using Lanes = LaneF32;
constexpr size_t lanes = lane_bytes / sizeof(float);

PROBEWISE_HD double total(Lanes sum) {
  double all = 0;
  for (size_t lane = 0; lane < lanes; ++lane) all += static_cast<double>(sum[lane]);
  return all;
}

/// The next `lanes` values in units of one vector, 0 beyond `count` of them.
PROBEWISE_HD Lanes load_some(const float* from, size_t count) {
  if (count >= lanes) return load<Lanes>(from);
  Lanes values{};
  for (size_t lane = 0; lane < count; ++lane) values[lane] = from[lane];
  return values;
}

constexpr size_t block = 64 * lanes;  // values that are added up in single precision

void noise(const float* above, const float* here, const float* below, size_t count, float shift, double* sums) {
  Lanes m{}, e{}, mm{}, me{};
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const Lanes a0 = load<Lanes>(above + i), h0 = load<Lanes>(here + i), b0 = load<Lanes>(below + i);
    const Lanes a1 = load<Lanes>(above + i + 1), h1 = load<Lanes>(here + i + 1), b1 = load<Lanes>(below + i + 1);
    const Lanes a2 = load<Lanes>(above + i + 2), h2 = load<Lanes>(here + i + 2), b2 = load<Lanes>(below + i + 2);
    const Lanes s0 = a0 + b0, s1 = a1 + b1, s2 = a2 + b2;
    const Lanes level = ((s0 + h0) + (s1 + h1) + (s2 + h2)) * (1.0f / 9) - shift;
    const Lanes value = ((s0 - 2 * h0) - 2 * (s1 - 2 * h1) + (s2 - 2 * h2)) * (1.0f / 6), square = value * value;
    m += level;
    e += square;
    mm += level * level;
    me += level * square;
  }
  sums[0] += total(m);
  sums[1] += total(e);
  sums[2] += total(mm);
  sums[3] += total(me);
  for (; i < count; ++i) {
    const float *a = above + i, *h = here + i, *b = below + i;
    const float level = ((a[0] + h[0] + b[0]) + (a[1] + h[1] + b[1]) + (a[2] + h[2] + b[2])) * (1.0f / 9) - shift;
    const float value = roughness_pixel(a, h, b, 0), square = value * value;
    sums[0] += static_cast<double>(level);
    sums[1] += static_cast<double>(square);
    sums[2] += static_cast<double>(level * level);
    sums[3] += static_cast<double>(level * square);
  }
}

PixelMoments moments(const float* values, size_t count) {
  PixelMoments found{0, 0, 0};
  for (size_t start = 0; start < count; start += block) {
    const size_t stop = count - start < block ? count : start + block;
    Lanes plain{}, square{}, cube{};
    for (size_t i = start; i < stop; i += lanes) {
      const Lanes value = load_some(values + i, stop - i), squared = value * value;
      plain += value;
      square += squared;
      cube += squared * value;
    }
    found.plain += total(plain);
    found.square += total(square);
    found.cube += total(cube);
  }
  return found;
}

double dot(const float* a, const float* b, size_t count) {
  double found = 0;
  for (size_t start = 0; start < count; start += block) {
    const size_t stop = count - start < block ? count : start + block;
    Lanes even{}, odd{};
    size_t i = start;
    for (; i + 2 * lanes <= stop; i += 2 * lanes) {
      even += load<Lanes>(a + i) * load<Lanes>(b + i);
      odd += load<Lanes>(a + i + lanes) * load<Lanes>(b + i + lanes);
    }
    for (; i < stop; i += lanes) even += load_some(a + i, stop - i) * load_some(b + i, stop - i);
    found += total(even + odd);
  }
  return found;
}

PixelDoubt doubt(const float* values, size_t count) {
  uint32_t between = 0, above_half = 0;
  PixelDoubt found{0, 0};
  for (size_t start = 0; start < count; start += block, between = above_half = 0) {
    const size_t stop = count - start < block ? count : start + block;
    for (size_t i = start; i < stop; ++i) {
      between += static_cast<uint32_t>((values[i] > 0.1f) & (values[i] < 0.9f));
      above_half += static_cast<uint32_t>(values[i] > 0.5f);
    }
    found.between += between;
    found.above += above_half;
  }
  return found;
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

void blend(const float* upper, size_t stride, size_t down, size_t rows, size_t cols, const float* weights, float* out) {
  const float a = weights[0], b = weights[1], c = weights[2], d = weights[3];
  for (size_t row = 0; row < rows; ++row, upper += stride, out += cols) {
    const float* const lower = upper + down;
    if (cols < lanes) {
      for (size_t i = 0; i < cols; ++i) out[i] = blend_pixel(upper, lower, i, a, b, c, d);
      continue;
    }
    const auto blend_lanes = [=](size_t i) {
      store(out + i, a * load<Lanes>(upper + i) + b * load<Lanes>(upper + i + 1) + c * load<Lanes>(lower + i) +
                         d * load<Lanes>(lower + i + 1));
    };
    for (size_t i = 0; i + lanes <= cols; i += lanes) blend_lanes(i);
    if (cols % lanes != 0) blend_lanes(cols - lanes);  // some of them once more
  }
}

}  // namespace

const PixelTable& pixel_table() noexcept {
  static constexpr PixelTable table{&range,   &bins, &gather, &affine, &roughness, &noise,
                                    &moments, &dot,  &doubt,  &above,  &add,       &blend};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
