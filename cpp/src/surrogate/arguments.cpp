// SPDX-License-Identifier: BSD-3-Clause
#include "surrogate/arguments.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace probewise {

void check_prior(double mean_constant, double alpha) {
  if (!std::isfinite(mean_constant)) {
    throw std::invalid_argument("mean is " + std::to_string(mean_constant) + ", expected a finite number");
  }
  if (!(alpha >= 1e-3 && alpha <= 1e3)) {
    throw std::invalid_argument("alpha is " + std::to_string(alpha) + ", expected 0.001 to 1000");
  }
}

void check_indices(std::span<const std::int64_t> indices, std::size_t candidates) {
  for (const std::int64_t index : indices) {
    if (index >= 0 && static_cast<std::size_t>(index) < candidates) continue;
    throw std::invalid_argument("index is " + std::to_string(index) + ", expected 0 to " +
                                std::to_string(candidates - 1));
  }
}

void check_values(std::span<const double> values, Precision precision) {
  const double limit = precision == Precision::float64 ? 1e150 : 1e30;
  for (const double value : values) {
    if (std::fabs(value) <= limit) continue;
    throw std::invalid_argument("value is " + std::to_string(value) + ", expected a finite number of at most " +
                                (precision == Precision::float64 ? "1e150" : "1e30 (float32)"));
  }
}

}  // namespace probewise
