// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/dense.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "probewise/errors.hpp"
#include "surrogate/level.hpp"

namespace probewise {

namespace {

constexpr std::size_t block = column_padding;

/// One diagonal block in place; `ld` is the row stride.
void factor_block(double* a, std::size_t ld, std::size_t first) {
  for (std::size_t i = 0; i < block; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i * ld + j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i * ld + k] * a[j * ld + k];
      if (j < i) {
        a[i * ld + j] = sum / a[j * ld + j];
      } else if (sum > 0.0 && std::isfinite(sum)) {
        a[i * ld + i] = std::sqrt(sum);
      } else {
        throw NotPositiveDefinite("covariance matrix is not positive definite at row " + std::to_string(first + i));
      }
    }
  }
}

/// out (block, block) = inverse of the lower triangular block at `l`.
void invert_block(const double* l, std::size_t ld, double* out) {
  std::fill_n(out, block * block, 0.0);
  for (std::size_t j = 0; j < block; ++j) {
    out[j * block + j] = 1.0 / l[j * ld + j];
    for (std::size_t i = j + 1; i < block; ++i) {
      double sum = 0.0;
      for (std::size_t k = j; k < i; ++k) sum -= l[i * ld + k] * out[k * block + j];
      out[i * block + j] = sum / l[i * ld + i];
    }
  }
}

}  // namespace

std::size_t padded_order(std::size_t order) noexcept { return padded_columns(order); }

void cholesky(std::span<double> matrix, std::size_t order) {
  const auto multiply = surrogate_loops().multiply_f64;
  std::vector<double> inverse(block * block), transposed(block * block), panel(block * order), solved(block * order);
  double* a = matrix.data();
  for (std::size_t j = 0; j < order; j += block) {
    factor_block(a + j * order + j, order, j);
    const std::size_t below = order - j - block;
    if (below == 0) break;
    invert_block(a + j * order + j, order, inverse.data());
    for (std::size_t r = 0; r < block; ++r) {
      for (std::size_t c = 0; c < block; ++c) transposed[c * block + r] = inverse[r * block + c];
    }
    // Panel below the block times L11^-T, then once more as its transpose, the right-hand side of the update.
    double* first = a + (j + block) * order + j;
    multiply(below, block, block, first, order, transposed.data(), block, solved.data(), block, Store::set);
    for (std::size_t r = 0; r < below; ++r) {
      std::copy_n(solved.data() + r * block, block, first + r * order);
      for (std::size_t c = 0; c < block; ++c) panel[c * below + r] = solved[r * block + c];
    }
    for (std::size_t r = 0; r < below; r += block) {
      multiply(block, r + block, block, solved.data() + r * block, block, panel.data(), below,
               a + (j + block + r) * order + j + block, order, Store::subtract);
    }
  }
}

void invert_lower(std::span<const double> lower, std::size_t order, std::span<double> inverse) {
  const auto multiply = surrogate_loops().multiply_f64;
  std::vector<double> diagonal(block * block), sum(block * order);
  std::fill(inverse.begin(), inverse.end(), 0.0);
  for (std::size_t i = 0; i < order; i += block) {
    invert_block(lower.data() + i * order + i, order, diagonal.data());
    double* row = inverse.data() + i * order;
    for (std::size_t r = 0; r < block; ++r) std::copy_n(diagonal.data() + r * block, block, row + r * order + i);
    if (i == 0) continue;
    multiply(block, i, i, lower.data() + i * order, order, inverse.data(), order, sum.data(), order, Store::set);
    for (double& value : diagonal) value = -value;
    multiply(block, i, block, diagonal.data(), block, sum.data(), order, row, order, Store::set);
  }
}

void gram_of_lower(std::span<const double> lower, std::size_t order, std::span<double> transposed,
                   std::span<double> product) {
  const auto multiply = surrogate_loops().multiply_f64;
  for (std::size_t i = 0; i < order; ++i) {
    for (std::size_t j = 0; j < order; ++j) transposed[j * order + i] = lower[i * order + j];
  }
  for (std::size_t i = 0; i < order; i += block) {  // rows of X above i do not reach column i
    multiply(block, i + block, order - i, transposed.data() + i * order + i, order, lower.data() + i * order, order,
             product.data() + i * order, order, Store::set);
  }
  for (std::size_t i = 0; i < order; ++i) {
    for (std::size_t j = 0; j < i; ++j) product[j * order + i] = product[i * order + j];
  }
}

}  // namespace probewise
