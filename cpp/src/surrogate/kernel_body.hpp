// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <math.h>
#include <stddef.h>

#include "probewise/portable.hpp"
#include "surrogate/exponential.hpp"

namespace probewise::kernel_body {

// Order of the enumerators of Kernel, which a level file cannot see.
enum { rbf, matern12, matern32, matern52, rq, product_matern12, product_matern32, product_matern52 };

constexpr double root3 = 1.7320508075688772, root5 = 2.23606797749979;

/// One-dimensional Matern of order 0 (1/2), 1 (3/2) or 2 (5/2) at distance r, without its exponential.
PROBEWISE_HD double matern_polynomial(int order, double r) {
  return order == 0 ? 1.0 : order == 1 ? 1.0 + root3 * r : 1.0 + root5 * r + (5.0 / 3.0) * r * r;
}

PROBEWISE_HD double matern_rate(int order) { return order == 0 ? 1.0 : order == 1 ? root3 : root5; }

PROBEWISE_HD double matern(int order, double r) {
  return matern_polynomial(order, r) * exponential(-matern_rate(order) * r);
}

PROBEWISE_HD double rational_quadratic(double alpha, double squared) {
  const double base = 1.0 + squared / (2.0 * alpha);
  return alpha == 1.0 ? 1.0 / base : exponential(-alpha * log(base));
}

PROBEWISE_HD bool is_product(int kernel) { return kernel >= product_matern12; }

/// What one axis adds to the squared distance of a radial kernel, or multiplies a product kernel by.
PROBEWISE_HD double along_axis(int kernel, double step) {
  return is_product(kernel) ? matern(kernel - product_matern12, fabs(step)) : step * step;
}

/// Covariance of unit variance from the squared distance, or from the product over the axes.
PROBEWISE_HD double covariance(int kernel, double alpha, double found) {
  if (is_product(kernel)) return found;
  if (kernel == rbf) return exponential(-0.5 * found);
  return kernel == rq ? rational_quadratic(alpha, found) : matern(kernel - matern12, sqrt(found));
}

}  // namespace probewise::kernel_body
