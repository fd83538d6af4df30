// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise {

/// The hot loops of the choice, compiled once per SIMD level.
struct AcquisitionLoops {
  /// out[j] = mean[j] + beta * deviation[j]
  void (*bound_f64)(size_t n, double beta, const double* mean, const double* deviation, double* out);
  void (*bound_f32)(size_t n, double beta, const float* mean, const float* deviation, double* out);

  /// out[j] = beta * deviation[j] - |mean[j] - threshold|
  void (*straddle_f64)(size_t n, double beta, double threshold, const double* mean, const double* deviation,
                       double* out);
  void (*straddle_f32)(size_t n, double beta, double threshold, const float* mean, const float* deviation, double* out);

  /// The least and largest mean and the largest deviation where blocked[j] == 0; (inf, -inf, 0) when there is none.
  void (*limits_f64)(size_t n, const double* mean, const double* deviation, const uint8_t* blocked, double* low,
                     double* high, double* widest);
  void (*limits_f32)(size_t n, const float* mean, const float* deviation, const uint8_t* blocked, double* low,
                     double* high, double* widest);

  /// Largest score where blocked[j] == 0, -infinity when there is none.
  double (*largest)(size_t n, const double* scores, const uint8_t* blocked);
};

/// The loops of the active SIMD level.
const AcquisitionLoops& acquisition_loops();

}  // namespace probewise
