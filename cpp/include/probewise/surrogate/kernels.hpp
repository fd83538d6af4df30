// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace probewise {

/// Stationary kernels of unit variance. The radial ones see r^2 = sum of ((x_k - x'_k)/lengthscale_k)^2; the
/// product ones multiply one-dimensional Matern kernels, which makes them separable on a lattice, as RBF is.
enum class Kernel { rbf, matern12, matern32, matern52, rq, product_matern12, product_matern32, product_matern52 };

/// Throws std::invalid_argument when `name` is not a kernel.
Kernel parse_kernel(std::string_view name);

/// True when the kernel factorises over the axes.
bool is_separable(Kernel kernel) noexcept;

/// What a Gaussian process is told about the function; variances in squared units of the values.
struct Hyperparameters {
  std::vector<double> lengthscale;  ///< one per axis, in the unit of the coordinates
  double variance = 1.0;
  double noise = 1e-2;
};

/// Throws std::invalid_argument naming the first parameter that is not usable.
void check_hyperparameters(const Hyperparameters& hyperparameters, std::size_t axes);

/// Throws std::invalid_argument unless `noise` can be a variance.
void check_noise(double noise);

}  // namespace probewise
