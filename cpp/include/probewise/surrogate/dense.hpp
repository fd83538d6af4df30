// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace probewise {

/// Rows and columns of a dense matrix handed to the functions below are padded to a multiple of 32; the padding
/// holds the identity, which leaves determinant, factor and inverse of the rest untouched.
std::size_t padded_order(std::size_t order) noexcept;

/// In place, row-major, lower triangle: A = L L^T, blocked; what lies above the diagonal is undefined afterwards.
/// Throws NotPositiveDefinite. `order` is padded.
void cholesky(std::span<double> matrix, std::size_t order);

/// inverse (order, order) = L^-1, zero above the diagonal. `order` is padded.
void invert_lower(std::span<const double> lower, std::size_t order, std::span<double> inverse);

/// product (order, order) = X^T X for a lower triangular X, both triangles. `transposed` is scratch of the same size.
void gram_of_lower(std::span<const double> lower, std::size_t order, std::span<double> transposed,
                   std::span<double> product);

}  // namespace probewise
