// SPDX-License-Identifier: BSD-3-Clause
#include <stddef.h>

#include "descriptors/spectra_loops.hpp"
#include "simd/lanes.hpp"

namespace probewise::descriptors::PROBEWISE_LEVEL {

namespace {

using namespace probewise::PROBEWISE_LEVEL;  // the lanes of this level

void magnitude(const float* re, const float* im, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = __builtin_sqrtf(re[i] * re[i] + im[i] * im[i]);
}

using Lane = LaneF32;
constexpr size_t lane_width = lane_bytes / sizeof(float);

template <size_t ROWS>
void product_tile(size_t width, size_t depth, const float* a, const float* table, float* out) {
  for (size_t k = 0; k < width; k += lane_width) {
    Lane sum[ROWS] = {};
    for (size_t j = 0; j < depth; ++j) {
      const Lane entry = load<Lane>(table + j * width + k);
#pragma GCC unroll 8
      for (size_t r = 0; r < ROWS; ++r) sum[r] += a[r * depth + j] * entry;
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; ++r) store(out + r * width + k, sum[r]);
  }
}

void multiply(size_t rows, size_t width, size_t depth, const float* a, const float* table, float* out) {
  size_t i = 0;
  for (; i + 8 <= rows; i += 8) product_tile<8>(width, depth, a + i * depth, table, out + i * width);
  for (; i < rows; ++i) product_tile<1>(width, depth, a + i * depth, table, out + i * width);
}

void load_line(const float* row, const float* ones, float offset, float weight, size_t count, float* out) {
  for (size_t j = 0; j < count; ++j) out[j] = (row[j] + offset * ones[j]) * weight;
}

/// Real and imaginary parts of one lane group of an element.
struct Pair {
  Lane re, im;
};

Pair load_pair(const float* element, size_t lanes, size_t at) {
  return {load<Lane>(element + at), load<Lane>(element + lanes + at)};
}

void store_turned(float* element, size_t lanes, size_t at, Pair value, float c, float s) {
  store(element + at, value.re * c - value.im * s);
  store(element + lanes + at, value.re * s + value.im * c);
}

void butterfly2(size_t lanes, const float* const* in, float* const* out, const float* twiddle) {
  for (size_t l = 0; l < lanes; l += lane_width) {
    const Pair a = load_pair(in[0], lanes, l), b = load_pair(in[1], lanes, l);
    store(out[0] + l, a.re + b.re);
    store(out[0] + lanes + l, a.im + b.im);
    store_turned(out[1], lanes, l, {a.re - b.re, a.im - b.im}, twiddle[2], twiddle[3]);
  }
}

void butterfly4(size_t lanes, const float* const* in, float* const* out, const float* twiddle) {
  for (size_t l = 0; l < lanes; l += lane_width) {
    const Pair a = load_pair(in[0], lanes, l), b = load_pair(in[1], lanes, l);
    const Pair c = load_pair(in[2], lanes, l), d = load_pair(in[3], lanes, l);
    const Pair even = {a.re + c.re, a.im + c.im}, odd = {b.re + d.re, b.im + d.im};
    const Pair rest = {a.re - c.re, a.im - c.im}, turn = {b.im - d.im, d.re - b.re};  // -i (b - d)
    store(out[0] + l, even.re + odd.re);
    store(out[0] + lanes + l, even.im + odd.im);
    store_turned(out[1], lanes, l, {rest.re + turn.re, rest.im + turn.im}, twiddle[2], twiddle[3]);
    store_turned(out[2], lanes, l, {even.re - odd.re, even.im - odd.im}, twiddle[4], twiddle[5]);
    store_turned(out[3], lanes, l, {rest.re - turn.re, rest.im - turn.im}, twiddle[6], twiddle[7]);
  }
}

/// Any radix, by its definition.
void butterfly(size_t radix, size_t lanes, const float* const* in, float* const* out, const float* twiddle,
               const float* roots) {
  for (size_t k = 0; k < radix; ++k) {
    for (size_t l = 0; l < lanes; l += lane_width) {
      Pair sum = load_pair(in[0], lanes, l);
      for (size_t r = 1; r < radix; ++r) {
        const Pair a = load_pair(in[r], lanes, l);
        const float c = roots[2 * (r * k % radix)], s = roots[2 * (r * k % radix) + 1];
        sum.re += a.re * c - a.im * s;
        sum.im += a.re * s + a.im * c;
      }
      store_turned(out[k], lanes, l, sum, twiddle[2 * k], twiddle[2 * k + 1]);
    }
  }
}

constexpr size_t largest_radix = 128;

void butterflies(size_t radix, size_t groups, size_t stride, size_t lanes, const float* in, float* out,
                 const float* twiddle, const float* roots) {
  const float* from[largest_radix];
  float* to[largest_radix];
  for (size_t j = 0; j < groups; ++j) {
    const float* turns = twiddle + 2 * radix * j;
    for (size_t t = 0; t < stride; ++t) {
      for (size_t r = 0; r < radix; ++r) {
        from[r] = in + 2 * lanes * (stride * (j + groups * r) + t);
        to[r] = out + 2 * lanes * (stride * (radix * j + r) + t);
      }
      if (radix == 4) {
        butterfly4(lanes, from, to, turns);
      } else if (radix == 2) {
        butterfly2(lanes, from, to, turns);
      } else {
        butterfly(radix, lanes, from, to, turns, roots);
      }
    }
  }
}

void taper(const float* row, const float* weights, float row_weight, float scale, float offset, size_t count,
           float* out) {
  for (size_t j = 0; j < count; ++j) out[j] = (row[j] * scale - offset) * (weights[j] * row_weight);
}

// Independent lanes: the compiler may not reorder a float sum by itself.
constexpr size_t lanes = 16;

void row_products(const float* rows, size_t side, const float* table, size_t tables, float* out) {
  const size_t whole = side - side % lanes;
  for (size_t i = 0; i < side; ++i) {
    const float* row = rows + i * side;
    for (size_t t = 0; t < tables; ++t) {
      const float* weights = table + t * side;
      float sum[lanes] = {};
      for (size_t j = 0; j < whole; j += lanes) {
        for (size_t l = 0; l < lanes; ++l) sum[l] += row[j + l] * weights[j + l];
      }
      for (size_t j = whole; j < side; ++j) sum[j - whole] += row[j] * weights[j];
      for (size_t half = lanes / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; ++l) sum[l] += sum[l + half];
      }
      out[i * tables + t] = sum[0];
    }
  }
}

constexpr size_t wide_width = lane_bytes / sizeof(double);
constexpr size_t parts = lanes / wide_width;

typedef double Wide __attribute__((vector_size(lane_bytes)));
typedef float Narrow __attribute__((vector_size(lane_bytes / 2)));

template <size_t ROWS>
void dots_of(const float* a, const double* b, size_t count, double* out) {
  const size_t whole = count - count % lanes;
  Wide sum[ROWS][parts] = {};
  for (size_t j = 0; j < whole; j += lanes) {
#pragma GCC unroll 8
    for (size_t p = 0; p < parts; ++p) {
      Narrow narrow;
      __builtin_memcpy(&narrow, a + j + p * wide_width, sizeof narrow);
      const Wide value = __builtin_convertvector(narrow, Wide);
#pragma GCC unroll 4
      for (size_t r = 0; r < ROWS; ++r) {
        Wide weight;
        __builtin_memcpy(&weight, b + r * count + j + p * wide_width, sizeof weight);
        sum[r][p] += value * weight;
      }
    }
  }
  for (size_t r = 0; r < ROWS; ++r) {
    double single[lanes];
    __builtin_memcpy(single, sum[r], sizeof single);
    for (size_t j = whole; j < count; ++j) single[j - whole] += static_cast<double>(a[j]) * b[r * count + j];
    for (size_t half = lanes / 2; half > 0; half /= 2) {
      for (size_t l = 0; l < half; ++l) single[l] += single[l + half];
    }
    out[r] = single[0];
  }
}

void dots(const float* a, const double* b, size_t rows, size_t count, double* out) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) dots_of<4>(a, b + r * count, count, out + r);
  for (; r < rows; ++r) dots_of<1>(a, b + r * count, count, out + r);
}

double square(const float* a, size_t count) {
  const size_t whole = count - count % lanes;
  double sum[lanes] = {};
  for (size_t j = 0; j < whole; j += lanes) {
    for (size_t l = 0; l < lanes; ++l) sum[l] += static_cast<double>(a[j + l]) * static_cast<double>(a[j + l]);
  }
  for (size_t j = whole; j < count; ++j) sum[j - whole] += static_cast<double>(a[j]) * static_cast<double>(a[j]);
  for (size_t half = lanes / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) sum[l] += sum[l + half];
  }
  return sum[0];
}

}  // namespace

const SpectraLoops& spectra_loops() noexcept {
  static constexpr SpectraLoops loops{magnitude, multiply, load_line, butterflies, taper, row_products, dots, square};
  return loops;
}

}  // namespace probewise::descriptors::PROBEWISE_LEVEL
