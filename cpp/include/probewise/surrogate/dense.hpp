// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace probewise {

/// Rows and columns of a dense matrix handed to the functions below are padded to a multiple of 32; the padding
/// holds the identity, which leaves determinant, factor and inverse of the rest untouched.
std::size_t padded_order(std::size_t order) noexcept;

/// Length of a row in memory: one cache line more than the order, since at a power of two the rows of a column would
/// share a few cache sets. All matrices below are (order, row_stride(order)).
constexpr std::size_t row_stride(std::size_t order) noexcept { return order + 8; }

/// In place, row-major, lower triangle: A = L L^T, blocked; what lies above the diagonal is undefined afterwards.
/// Throws NotPositiveDefinite. `order` is padded.
void cholesky(std::span<double> matrix, std::size_t order);

/// inverse = L^-1, zero above the diagonal. `order` is padded.
void invert_lower(std::span<const double> lower, std::size_t order, std::span<double> inverse);

/// product = X^T X for a lower triangular X, both triangles. `transposed` is scratch of the same size.
void gram_of_lower(std::span<const double> lower, std::size_t order, std::span<double> transposed,
                   std::span<double> product);

}  // namespace probewise
