// SPDX-License-Identifier: BSD-3-Clause
// Compiled once per SIMD level: no std:: template, nothing that emits a weak symbol.
#include <math.h>
#include <stddef.h>

#include "probewise/portable.hpp"
#include "simd/lanes.hpp"
#include "surrogate/half_lanes.hpp"
#include "surrogate/kernel_body.hpp"
#include "surrogate/level.hpp"

namespace probewise::PROBEWISE_LEVEL {
namespace {

constexpr size_t tile_rows = lane_bytes == 64 ? 8 : 4;

double dot(size_t n, const double* a, const double* b) {
  constexpr size_t width = lane_bytes / sizeof(double);
  LaneF64 sum0 = {}, sum1 = {};
  size_t j = 0;
  for (; j + 2 * width <= n; j += 2 * width) {
    sum0 += load<LaneF64>(a + j) * load<LaneF64>(b + j);
    sum1 += load<LaneF64>(a + j + width) * load<LaneF64>(b + j + width);
  }
  sum0 += sum1;
  double total = 0.0;
  for (size_t k = 0; k < width; ++k) total += sum0[k];
  for (; j < n; ++j) total += a[j] * b[j];
  return total;
}

void axpy(size_t n, double factor, const double* __restrict x, double* __restrict y) {
  for (size_t j = 0; j < n; ++j) y[j] += factor * x[j];
}

/// ROWS rows by two lanes of C, held in registers over the whole depth.
template <size_t ROWS, class Lane, class T>
PROBEWISE_HD void tile(size_t depth, const T* a, size_t lda, const T* b, size_t ldb, T* c, size_t ldc, Store how) {
  constexpr size_t width = lane_bytes / sizeof(T);
  Lane sum[ROWS][2] = {};
  for (size_t k = 0; k < depth; ++k) {
    const Lane b0 = load<Lane>(b + k * ldb), b1 = load<Lane>(b + k * ldb + width);
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; ++r) {
      const T factor = a[r * lda + k];
      sum[r][0] += factor * b0;
      sum[r][1] += factor * b1;
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < ROWS; ++r) {
    T* row = c + r * ldc;
    if (how == Store::subtract) {
      sum[r][0] = load<Lane>(row) - sum[r][0];
      sum[r][1] = load<Lane>(row + width) - sum[r][1];
    }
    store(row, sum[r][0]);
    store(row + width, sum[r][1]);
  }
}

template <class Lane, class T>
PROBEWISE_HD void multiply(size_t rows, size_t cols, size_t depth, const T* a, size_t lda, const T* b, size_t ldb, T* c,
                           size_t ldc, Store how) {
  constexpr size_t width = lane_bytes / sizeof(T);
  for (size_t j = 0; j < cols; j += 2 * width) {
    size_t i = 0;
    for (; i + tile_rows <= rows; i += tile_rows) {
      tile<tile_rows, Lane>(depth, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, how);
    }
    for (; i < rows; ++i) tile<1, Lane>(depth, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, how);
  }
}

void multiply_f64(size_t rows, size_t cols, size_t depth, const double* a, size_t lda, const double* b, size_t ldb,
                  double* c, size_t ldc, Store how) {
  multiply<LaneF64>(rows, cols, depth, a, lda, b, ldb, c, ldc, how);
}

void multiply_f32(size_t rows, size_t cols, size_t depth, const float* a, size_t lda, const float* b, size_t ldb,
                  float* c, size_t ldc, Store how) {
  multiply<LaneF32>(rows, cols, depth, a, lda, b, ldb, c, ldc, how);
}

/// A run of columns of a tile stays in registers over all rows. One row after another: read by fours, V streams at half
/// the speed.
template <class Lane, class T, class Stored>
PROBEWISE_HD void subtract_rows(size_t count, const T* weight, const Stored* rows, T* out) {
  constexpr size_t width = lane_bytes / sizeof(T), whole = column_tile / width;
  constexpr size_t held = lane_bytes == 64 ? whole : whole < 8 ? whole : 8;  // of 32 or of 16 registers
  for (size_t j = 0; j < column_tile; j += held * width) {
    Lane sum[held];
#pragma GCC unroll 16
    for (size_t k = 0; k < held; ++k) sum[k] = load<Lane>(out + j + k * width);
    const Stored* row = rows + j;
    for (size_t i = 0; i < count; ++i, row += column_tile) {
#pragma GCC unroll 16
      for (size_t k = 0; k < held; ++k) sum[k] -= weight[i] * widened<Lane>(row + k * width);
    }
#pragma GCC unroll 16
    for (size_t k = 0; k < held; ++k) store(out + j + k * width, sum[k]);
  }
}

void subtract_rows_f64(size_t count, const double* weight, const double* rows, double* out) {
  subtract_rows<LaneF64>(count, weight, rows, out);
}

void subtract_rows_f32(size_t count, const float* weight, const float* rows, float* out) {
  subtract_rows<LaneF32>(count, weight, rows, out);
}

void subtract_rows_f16(size_t count, const float* weight, const Half* rows, float* out) {
  subtract_rows<LaneF32>(count, weight, rows, out);
}

void to_half(size_t n, const float* in, Half* out) {
  constexpr size_t width = lane_bytes / sizeof(float);
  for (size_t j = 0; j < n; j += width) store(out + j, narrowed(load<LaneF32>(in + j)));
}

template <class T>
PROBEWISE_HD void absorb(size_t n, T scale, T shift, T* __restrict v, T* __restrict variance, T* __restrict mean) {
  for (size_t j = 0; j < n; ++j) {
    const T value = v[j] * scale;
    v[j] = value;
    variance[j] -= value * value;
    mean[j] += shift * value;
  }
}

void absorb_f64(size_t n, double scale, double shift, double* v, double* variance, double* mean) {
  absorb(n, scale, shift, v, variance, mean);
}

void absorb_f32(size_t n, float scale, float shift, float* v, float* variance, float* mean) {
  absorb(n, scale, shift, v, variance, mean);
}

template <class T>
PROBEWISE_HD void absorb_product(size_t n, T factor, const T* __restrict kernel, const T* __restrict explained, T scale,
                                 T shift, T* __restrict variance, T* __restrict mean) {
  for (size_t j = 0; j < n; ++j) {
    const T value = (factor * kernel[j] - explained[j]) * scale;
    variance[j] -= value * value;
    mean[j] += shift * value;
  }
}

void absorb_product_f64(size_t n, double factor, const double* kernel, const double* explained, double scale,
                        double shift, double* variance, double* mean) {
  absorb_product(n, factor, kernel, explained, scale, shift, variance, mean);
}

void absorb_product_f32(size_t n, float factor, const float* kernel, const float* explained, float scale, float shift,
                        float* variance, float* mean) {
  absorb_product(n, factor, kernel, explained, scale, shift, variance, mean);
}

void deviation_f64(size_t n, double amplitude, const double* __restrict variance, double* __restrict deviation) {
  for (size_t j = 0; j < n; ++j) deviation[j] = amplitude * __builtin_sqrt(variance[j] > 0.0 ? variance[j] : 0.0);
}

void deviation_f32(size_t n, float amplitude, const float* __restrict variance, float* __restrict deviation) {
  for (size_t j = 0; j < n; ++j) deviation[j] = amplitude * __builtin_sqrtf(variance[j] > 0.0f ? variance[j] : 0.0f);
}

using namespace kernel_body;

template <int ORDER>
PROBEWISE_HD void matern_row(size_t n, double* __restrict out, double* __restrict slope) {
  if (slope == nullptr) {
    for (size_t j = 0; j < n; ++j) {
      const double r = __builtin_sqrt(out[j]);
      out[j] = matern_polynomial(ORDER, r) * exponential(-matern_rate(ORDER) * r);
    }
    return;
  }
  for (size_t j = 0; j < n; ++j) {
    const double r = __builtin_sqrt(out[j]);
    const double decay = exponential(-matern_rate(ORDER) * r);
    out[j] = matern_polynomial(ORDER, r) * decay;
    if (ORDER == 0) slope[j] = decay / (r > 1e-150 ? r : 1e-150);  // times r^2: 0 at r = 0
    if (ORDER == 1) slope[j] = 3.0 * decay;
    if (ORDER == 2) slope[j] = (5.0 / 3.0) * (1.0 + root5 * r) * decay;
  }
}

template <int ORDER>
PROBEWISE_HD void product_row(size_t d, size_t n, const double* u, size_t stride, const double* x,
                              double* __restrict out) {
  for (size_t j = 0; j < n; ++j) out[j] = 1.0;
  for (size_t k = 0; k < d; ++k) {
    const double* __restrict axis = u + k * stride;
    const double origin = x[k];
    for (size_t j = 0; j < n; ++j) {
      const double r = __builtin_fabs(axis[j] - origin);
      out[j] *= matern_polynomial(ORDER, r) * exponential(-matern_rate(ORDER) * r);
    }
  }
}

void kernel_row(int kernel, double alpha, size_t d, size_t n, const double* u, size_t stride, const double* x,
                double* out, double* slope) {
  switch (kernel) {
    case product_matern12:
      return product_row<0>(d, n, u, stride, x, out);
    case product_matern32:
      return product_row<1>(d, n, u, stride, x, out);
    case product_matern52:
      return product_row<2>(d, n, u, stride, x, out);
    default:
      break;
  }
  for (size_t j = 0; j < n; ++j) out[j] = 0.0;
  for (size_t k = 0; k < d; ++k) {
    const double* __restrict axis = u + k * stride;
    const double origin = x[k];
    for (size_t j = 0; j < n; ++j) {
      const double step = axis[j] - origin;
      out[j] += step * step;
    }
  }
  switch (kernel) {
    case matern12:
      return matern_row<0>(n, out, slope);
    case matern32:
      return matern_row<1>(n, out, slope);
    case matern52:
      return matern_row<2>(n, out, slope);
    case rq:
      for (size_t j = 0; j < n; ++j) {
        const double base = 1.0 + out[j] / (2.0 * alpha);
        out[j] = alpha == 1.0 ? 1.0 / base : exponential(-alpha * log(base));
        if (slope != nullptr) slope[j] = out[j] / base;
      }
      return;
    default:
      for (size_t j = 0; j < n; ++j) out[j] = exponential(-0.5 * out[j]);
      if (slope != nullptr) {
        for (size_t j = 0; j < n; ++j) slope[j] = out[j];
      }
  }
}

template <int ORDER>
PROBEWISE_HD double product_gradient(size_t n, const double* weight, const double* k, const double* u, double x) {
  double sum = 0.0;
  for (size_t j = 0; j < n; ++j) {
    const double r = __builtin_fabs(u[j] - x);
    const double share = ORDER == 0   ? r
                         : ORDER == 1 ? 3.0 * r * r / (1.0 + root3 * r)
                                      : (5.0 / 3.0) * r * r * (1.0 + root5 * r) / matern_polynomial(2, r);
    sum += weight[j] * k[j] * share;
  }
  return sum;
}

double lengthscale_gradient(int kernel, size_t n, const double* weight, const double* k, const double* slope,
                            const double* u, double x) {
  switch (kernel) {
    case product_matern12:
      return product_gradient<0>(n, weight, k, u, x);
    case product_matern32:
      return product_gradient<1>(n, weight, k, u, x);
    case product_matern52:
      return product_gradient<2>(n, weight, k, u, x);
    default:
      break;
  }
  double sum = 0.0;
  for (size_t j = 0; j < n; ++j) {
    const double step = u[j] - x;
    sum += weight[j] * slope[j] * step * step;
  }
  return sum;
}

constexpr SurrogateLoops loops{dot,
                               axpy,
                               multiply_f64,
                               multiply_f32,
                               subtract_rows_f64,
                               subtract_rows_f32,
                               subtract_rows_f16,
                               to_half,
                               absorb_f64,
                               absorb_f32,
                               absorb_product_f64,
                               absorb_product_f32,
                               deviation_f64,
                               deviation_f32,
                               kernel_row,
                               lengthscale_gradient};

}  // namespace

const SurrogateLoops& surrogate_loops() noexcept;
const SurrogateLoops& surrogate_loops() noexcept { return loops; }

}  // namespace probewise::PROBEWISE_LEVEL
