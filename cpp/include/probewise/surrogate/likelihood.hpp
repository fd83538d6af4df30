// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "probewise/surrogate/kernels.hpp"

namespace probewise {

/// Log marginal likelihood of values at points and its gradient in the logarithms of all hyperparameters.
/// One kernel pass and three blocked O(n^3) products an evaluation; holds its own workspace.
class Likelihood {
 public:
  /// `points` (n, axes) row-major; `residuals` (n,) = values minus the prior mean; `noise` (n,), or empty, the
  /// variance of each beyond that of the hyperparameters.
  Likelihood(std::span<const double> points, std::size_t axes, std::span<const double> residuals, Kernel kernel,
             double alpha, std::span<const double> noise = {});

  /// Returns the log marginal likelihood; `gradient` has axes + 2 entries: d / d log lengthscale of each axis, of the
  /// variance, of the noise variance. Throws NotPositiveDefinite.
  double evaluate(const Hyperparameters& hyperparameters, std::span<double> gradient);

  std::size_t axes() const noexcept { return axes_; }

 private:
  std::size_t axes_, size_, order_, stride_;
  Kernel kernel_;
  double alpha_;
  std::vector<double> points_, residuals_, noise_;  // points axis by axis
  std::vector<double> scaled_, covariance_, slope_, factor_, inverse_, scratch_, solution_, of_row_;
};

}  // namespace probewise
