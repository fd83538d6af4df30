// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cmath>
#include <cstdint>
#include <string>

#include "probewise/errors.hpp"

namespace probewise {

// In units of the variance. Rounding leaves 1e-13 or so in a squared pivot that is zero in exact arithmetic.
inline constexpr double smallest_pivot = 1e-11;

/// The diagonal of a new row of the factor, and the jitter that it needed, in units of the variance.
struct Pivot {
  double diagonal, jitter;
};

/// From the squared pivot that the row leaves over. Throws NotPositiveDefinite when no jitter of the ladder helps.
inline Pivot pivot_of(double squared, std::size_t row, std::int64_t index) {
  for (const double jitter : {0.0, 1e-10, 1e-8, 1e-6}) {
    if (squared + jitter > smallest_pivot) return {std::sqrt(squared + jitter), jitter};
  }
  throw NotPositiveDefinite("covariance of the told values is not positive definite at value " + std::to_string(row) +
                            " (candidate " + std::to_string(index) + "), a jitter of 1e-6 of the variance included");
}

}  // namespace probewise
