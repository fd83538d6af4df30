// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>

namespace probewise::descriptors {

/// What is compiled once per SIMD level.
struct SpectraLoops {
  /// out[i] = sqrt(re[i]^2 + im[i]^2).
  void (*magnitude)(const float* re, const float* im, size_t count, float* out);
  /// out (rows, width) = a (rows, depth) times table (depth, width); width is a multiple of 16.
  void (*multiply)(size_t rows, size_t width, size_t depth, const float* a, const float* table, float* out);
  /// out[j] = (row[j] + offset * ones[j]) * weight
  void (*load_line)(const float* row, const float* ones, float offset, float weight, size_t count, float* out);
  /// One pass of a Stockham transform, see WindowTransform in spectra.cpp.
  void (*butterflies)(size_t radix, size_t groups, size_t stride, size_t lanes, const float* in, float* out,
                      const float* twiddle, const float* roots);
  /// out[j] = (row[j] * scale - offset) * weights[j] * row_weight
  void (*taper)(const float* row, const float* weights, float row_weight, float scale, float offset, size_t count,
                float* out);
  /// out[i * tables + t] = sum over j of rows[i * side + j] * table[t * side + j]
  void (*row_products)(const float* rows, size_t side, const float* table, size_t tables, float* out);
  /// out[r] = sum over i of a[i] * b[r * count + i], products and sums in double.
  void (*dots)(const float* a, const double* b, size_t rows, size_t count, double* out);
  /// Sum of a[i]^2, in double.
  double (*square)(const float* a, size_t count);
};

const SpectraLoops& spectra_loops();

}  // namespace probewise::descriptors
