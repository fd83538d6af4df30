// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>

#include "surrogate/half.hpp"

namespace probewise {

/// Columns of every matrix handed to `multiply` are padded to a multiple of this (two AVX-512 lanes of float32).
inline constexpr size_t column_padding = 32;

constexpr size_t padded_columns(size_t cols) { return (cols + column_padding - 1) / column_padding * column_padding; }

/// Columns of V that are stored together, see row_store.hpp; a line of them is a multiple of every register.
inline constexpr size_t column_tile = 128;

/// What `multiply` does with what is already in C.
enum class Store { set, subtract };

/// The hot loops of the surrogate, compiled once per SIMD level.
struct SurrogateLoops {
  double (*dot)(size_t n, const double* a, const double* b);
  void (*axpy)(size_t n, double factor, const double* x, double* y);

  /// C (rows, cols) = A (rows, depth) B (depth, cols), or C -= A B; row-major, cols a multiple of column_padding.
  void (*multiply_f64)(size_t rows, size_t cols, size_t depth, const double* a, size_t lda, const double* b, size_t ldb,
                       double* c, size_t ldc, Store store);
  void (*multiply_f32)(size_t rows, size_t cols, size_t depth, const float* a, size_t lda, const float* b, size_t ldb,
                       float* c, size_t ldc, Store store);

  /// out[j] -= sum over i < count of weight[i] * rows[i * column_tile + j], j < column_tile.
  void (*subtract_rows_f64)(size_t count, const double* weight, const double* rows, double* out);
  void (*subtract_rows_f32)(size_t count, const float* weight, const float* rows, float* out);
  void (*subtract_rows_f16)(size_t count, const float* weight, const Half* rows, float* out);

  /// out[j] = the nearest to in[j], ties to even, j < n; n is a multiple of 16.
  void (*to_half)(size_t n, const float* in, Half* out);

  /// v[j] *= scale; variance[j] -= v[j]^2; mean[j] += shift * v[j].
  void (*absorb_f64)(size_t n, double scale, double shift, double* v, double* variance, double* mean);
  void (*absorb_f32)(size_t n, float scale, float shift, float* v, float* variance, float* mean);

  /// v[j] = (factor * kernel[j] - explained[j]) * scale, absorbed as above without being stored.
  void (*absorb_product_f64)(size_t n, double factor, const double* kernel, const double* explained, double scale,
                             double shift, double* variance, double* mean);
  void (*absorb_product_f32)(size_t n, float factor, const float* kernel, const float* explained, float scale,
                             float shift, float* variance, float* mean);

  /// deviation[j] = amplitude * sqrt(max(variance[j], 0)).
  void (*deviation_f64)(size_t n, double amplitude, const double* variance, double* deviation);
  void (*deviation_f32)(size_t n, float amplitude, const float* variance, float* deviation);

  /// out[j] = k(x, x_j) of unit variance for coordinates divided by the lengthscale, axis by axis in `u` (d, stride).
  /// `slope` (may be null), radial kernels only: d k / d log lengthscale_k = slope[j] * (u_k[j] - x_k)^2.
  void (*kernel_row)(int kernel, double alpha, size_t d, size_t n, const double* u, size_t stride, const double* x,
                     double* out, double* slope);

  /// Sum over j of weight[j] * d k_j / d log lengthscale of the axis whose scaled coordinates are u.
  double (*lengthscale_gradient)(int kernel, size_t n, const double* weight, const double* k, const double* slope,
                                 const double* u, double x);
};

/// The loops of the active SIMD level.
const SurrogateLoops& surrogate_loops();

}  // namespace probewise
