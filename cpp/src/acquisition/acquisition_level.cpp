// SPDX-License-Identifier: BSD-3-Clause
// Compiled once per SIMD level: no std:: template, nothing that emits a weak symbol.
#include <stddef.h>
#include <stdint.h>

#include "acquisition/level.hpp"
#include "probewise/portable.hpp"

namespace probewise::PROBEWISE_LEVEL {
namespace {

template <class T>
PROBEWISE_HD void bound(size_t n, double beta, const T* __restrict mean, const T* __restrict deviation,
                        double* __restrict out) {
  for (size_t j = 0; j < n; ++j) out[j] = static_cast<double>(mean[j]) + beta * static_cast<double>(deviation[j]);
}

void bound_f64(size_t n, double beta, const double* mean, const double* deviation, double* out) {
  bound(n, beta, mean, deviation, out);
}

void bound_f32(size_t n, double beta, const float* mean, const float* deviation, double* out) {
  bound(n, beta, mean, deviation, out);
}

template <class T>
PROBEWISE_HD void straddle(size_t n, double beta, double threshold, const T* __restrict mean,
                           const T* __restrict deviation, double* __restrict out) {
  for (size_t j = 0; j < n; ++j) {
    out[j] = beta * static_cast<double>(deviation[j]) - __builtin_fabs(static_cast<double>(mean[j]) - threshold);
  }
}

void straddle_f64(size_t n, double beta, double threshold, const double* mean, const double* deviation, double* out) {
  straddle(n, beta, threshold, mean, deviation, out);
}

void straddle_f32(size_t n, double beta, double threshold, const float* mean, const float* deviation, double* out) {
  straddle(n, beta, threshold, mean, deviation, out);
}

/// Eight running maxima, so that the comparisons do not wait for each other and fit in vectors.
double largest(size_t n, const double* __restrict scores, const uint8_t* __restrict blocked) {
  constexpr size_t ways = 8;
  const double none = -__builtin_inf();
  double best[ways] = {none, none, none, none, none, none, none, none};
  size_t j = 0;
  for (; j + ways <= n; j += ways) {
    for (size_t k = 0; k < ways; ++k) {
      const double score = blocked[j + k] != 0 ? none : scores[j + k];
      best[k] = score > best[k] ? score : best[k];
    }
  }
  for (; j < n; ++j) {
    if (blocked[j] == 0 && scores[j] > best[0]) best[0] = scores[j];
  }
  for (size_t k = 1; k < ways; ++k) best[0] = best[k] > best[0] ? best[k] : best[0];
  return best[0];
}

template <class T>
PROBEWISE_HD void limits(size_t n, const T* __restrict mean, const T* __restrict deviation,
                         const uint8_t* __restrict blocked, double* low, double* high, double* widest) {
  constexpr size_t ways = 16;
  const T infinity = static_cast<T>(__builtin_inf());
  T least[ways], largest_mean[ways], largest_deviation[ways];
  for (size_t k = 0; k < ways; ++k) {
    least[k] = infinity;
    largest_mean[k] = -infinity;
    largest_deviation[k] = 0;
  }
  size_t j = 0;
  for (; j + ways <= n; j += ways) {
    for (size_t k = 0; k < ways; ++k) {
      const bool out = blocked[j + k] != 0;
      const T under = out ? infinity : mean[j + k], over = out ? -infinity : mean[j + k];
      const T wide = out ? T{0} : deviation[j + k];
      least[k] = under < least[k] ? under : least[k];
      largest_mean[k] = over > largest_mean[k] ? over : largest_mean[k];
      largest_deviation[k] = wide > largest_deviation[k] ? wide : largest_deviation[k];
    }
  }
  for (; j < n; ++j) {
    if (blocked[j] != 0) continue;
    least[0] = mean[j] < least[0] ? mean[j] : least[0];
    largest_mean[0] = mean[j] > largest_mean[0] ? mean[j] : largest_mean[0];
    largest_deviation[0] = deviation[j] > largest_deviation[0] ? deviation[j] : largest_deviation[0];
  }
  for (size_t k = 1; k < ways; ++k) {
    least[0] = least[k] < least[0] ? least[k] : least[0];
    largest_mean[0] = largest_mean[k] > largest_mean[0] ? largest_mean[k] : largest_mean[0];
    largest_deviation[0] = largest_deviation[k] > largest_deviation[0] ? largest_deviation[k] : largest_deviation[0];
  }
  *low = static_cast<double>(least[0]);
  *high = static_cast<double>(largest_mean[0]);
  *widest = static_cast<double>(largest_deviation[0]);
}

void limits_f64(size_t n, const double* mean, const double* deviation, const uint8_t* blocked, double* low,
                double* high, double* widest) {
  limits(n, mean, deviation, blocked, low, high, widest);
}

void limits_f32(size_t n, const float* mean, const float* deviation, const uint8_t* blocked, double* low, double* high,
                double* widest) {
  limits(n, mean, deviation, blocked, low, high, widest);
}

constexpr AcquisitionLoops loops{bound_f64, bound_f32, straddle_f64, straddle_f32, limits_f64, limits_f32, largest};

}  // namespace

const AcquisitionLoops& acquisition_loops() noexcept;
const AcquisitionLoops& acquisition_loops() noexcept { return loops; }

}  // namespace probewise::PROBEWISE_LEVEL
