// SPDX-License-Identifier: BSD-3-Clause
#include <stddef.h>

#include "descriptors/spectra_loops.hpp"

namespace probewise::descriptors::PROBEWISE_LEVEL {

namespace {

void magnitude(const float* complex_values, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float re = complex_values[2 * i], im = complex_values[2 * i + 1];
    out[i] = __builtin_sqrtf(re * re + im * im);
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

double dot(const float* a, const double* b, size_t count) {
  const size_t whole = count - count % lanes;
  double sum[lanes] = {};
  for (size_t j = 0; j < whole; j += lanes) {
    for (size_t l = 0; l < lanes; ++l) sum[l] += static_cast<double>(a[j + l]) * b[j + l];
  }
  for (size_t j = whole; j < count; ++j) sum[j - whole] += static_cast<double>(a[j]) * b[j];
  for (size_t half = lanes / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) sum[l] += sum[l + half];
  }
  return sum[0];
}

}  // namespace

const SpectraLoops& spectra_loops() noexcept {
  static constexpr SpectraLoops loops{magnitude, taper, row_products, dot};
  return loops;
}

}  // namespace probewise::descriptors::PROBEWISE_LEVEL
