// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>

namespace probewise::descriptors {

/// What is compiled once per SIMD level.
struct SpectraLoops {
  /// out[i] = |complex_values[i]|, interleaved complex.
  void (*magnitude)(const float* complex_values, size_t count, float* out);
  /// out[j] = (row[j] * scale - offset) * weights[j] * row_weight
  void (*taper)(const float* row, const float* weights, float row_weight, float scale, float offset, size_t count,
                float* out);
  /// out[i * tables + t] = sum over j of rows[i * side + j] * table[t * side + j]
  void (*row_products)(const float* rows, size_t side, const float* table, size_t tables, float* out);
  /// Sum of a[i] * b[i], products and sum in double.
  double (*dot)(const float* a, const double* b, size_t count);
};

const SpectraLoops& spectra_loops();

}  // namespace probewise::descriptors
