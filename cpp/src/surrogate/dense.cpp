// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/dense.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "probewise/errors.hpp"
#include "runtime/pool.hpp"
#include "surrogate/level.hpp"

namespace probewise {

namespace {

constexpr std::size_t block = column_padding;
constexpr std::size_t panel = 4 * block;    // columns whose products are taken from the rest at once
constexpr std::size_t row_run = 3 * block;  // rows of a product that share one pass over its right factor
constexpr double products_per_us = 20e3;

/// Microseconds of a product of so many rows and columns at so much depth.
double time_of(std::size_t rows, std::size_t cols, std::size_t depth) {
  return static_cast<double>(rows) * static_cast<double>(cols) * static_cast<double>(depth) / products_per_us;
}

constexpr std::size_t runs(std::size_t rows) { return (rows + row_run - 1) / row_run; }

/// One diagonal block in place; `ld` is the row stride. Columns are taken off the rows to their right one after
/// another, so that the inner loops run along rows.
void factor_block(double* a, std::size_t ld, std::size_t first) {
  double column[block];
  for (std::size_t k = 0; k < block; ++k) {
    const double pivot = a[k * ld + k];
    if (!(pivot > 0.0 && std::isfinite(pivot))) {
      throw NotPositiveDefinite("covariance matrix is not positive definite at row " + std::to_string(first + k));
    }
    const double diagonal = std::sqrt(pivot);
    a[k * ld + k] = diagonal;
    for (std::size_t i = k + 1; i < block; ++i) column[i] = a[i * ld + k] / diagonal;
    for (std::size_t i = k + 1; i < block; ++i) {
      double* row = a + i * ld;
      const double factor = column[i];
      row[k] = factor;
      for (std::size_t j = k + 1; j <= i; ++j) row[j] -= factor * column[j];
    }
  }
}

/// out (block, block) = inverse of the lower triangular block at `l`, row by row.
void invert_block(const double* l, std::size_t ld, double* out) {
  std::fill_n(out, block * block, 0.0);
  for (std::size_t i = 0; i < block; ++i) {
    double* row = out + i * block;
    row[i] = 1.0;
    for (std::size_t k = 0; k < i; ++k) {
      const double factor = l[i * ld + k];
      const double* above = out + k * block;
      for (std::size_t j = 0; j < block; ++j) row[j] -= factor * above[j];  // zero beyond k
    }
    const double scale = 1.0 / l[i * ld + i];
    for (std::size_t j = 0; j <= i; ++j) row[j] *= scale;
  }
}

}  // namespace

std::size_t padded_order(std::size_t order) noexcept { return padded_columns(order); }

void cholesky(std::span<double> matrix, std::size_t order) {
  const auto multiply = surrogate_loops().multiply_f64;
  const std::size_t ld = row_stride(order);
  std::vector<double> inverse(block * block), transposed(block * block), solved(block * order), right(panel * ld);
  double* a = matrix.data();
  const auto transpose = [&](const double* from, std::size_t stride, std::size_t rows, std::size_t cols) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) right[c * ld + r] = from[r * stride + c];
    }
  };
  for (std::size_t j = 0; j < order; j += block) {
    const std::size_t panel_end = std::min(order, (j / panel + 1) * panel), next = j + block, below = order - next;
    factor_block(a + j * ld + j, ld, j);
    if (below == 0) break;
    invert_block(a + j * ld + j, ld, inverse.data());
    for (std::size_t r = 0; r < block; ++r) {
      for (std::size_t c = 0; c < block; ++c) transposed[c * block + r] = inverse[r * block + c];
    }
    // Rows below the block times L11^-T; then what they take from the rest of the panel, and a whole panel at once
    // from what lies to its right.
    double* first = a + next * ld + j;
    multiply(below, block, block, first, ld, transposed.data(), block, solved.data(), block, Store::set);
    for (std::size_t r = 0; r < below; ++r) std::copy_n(solved.data() + r * block, block, first + r * ld);
    if (next < panel_end) {
      transpose(solved.data(), block, panel_end - next, block);
      multiply(below, panel_end - next, block, solved.data(), block, right.data(), ld, a + next * ld + next, ld,
               Store::subtract);
      continue;
    }
    const std::size_t begin = panel_end - std::min(panel, panel_end), width = panel_end - begin;
    const double* left = a + panel_end * ld + begin;
    transpose(left, ld, below, width);
    for_pieces(runs(below), time_of(below, below, width) / 2.0, [&](std::size_t piece) {
      const std::size_t r = piece * row_run, rows = std::min(row_run, below - r);
      multiply(rows, r + rows, width, left + r * ld, ld, right.data(), ld, a + (panel_end + r) * ld + panel_end, ld,
               Store::subtract);
    });
  }
}

namespace {

/// X of `count` rows and columns from `first` on: its halves, and X21 = -X22 (L21 X11) between them.
void invert_range(const double* lower, double* inverse, std::size_t ld, std::size_t first, std::size_t count,
                  std::vector<double>& scratch) {
  double* x = inverse + first * ld + first;
  const double* l = lower + first * ld + first;
  if (count == block) {
    double made[block * block];
    invert_block(l, ld, made);
    for (std::size_t r = 0; r < block; ++r) std::copy_n(made + r * block, block, x + r * ld);
    return;
  }
  const std::size_t half = count / block / 2 * block, rest = count - half;
  invert_range(lower, inverse, ld, first, half, scratch);
  invert_range(lower, inverse, ld, first + half, rest, scratch);
  const auto multiply = surrogate_loops().multiply_f64;
  const std::size_t width = row_stride(half);
  for_pieces(half / block, time_of(rest, half, half) / 2.0, [&](std::size_t piece) {
    const std::size_t c = piece * block;  // rows of X11 above c do not reach column c
    multiply(rest, block, half - c, l + half * ld + c, ld, x + c * ld + c, ld, scratch.data() + c, width, Store::set);
  });
  for_pieces(runs(rest), time_of(rest, half, rest) / 2.0, [&](std::size_t piece) {
    const std::size_t r = piece * row_run, rows = std::min(row_run, rest - r);
    multiply(rows, half, r + rows, x + (half + r) * ld + half, ld, scratch.data(), width, x + (half + r) * ld, ld,
             Store::subtract);
  });
}

}  // namespace

void invert_lower(std::span<const double> lower, std::size_t order, std::span<double> inverse) {
  std::vector<double> scratch((order / 2 + block) * row_stride(order / 2 + block));
  std::fill(inverse.begin(), inverse.end(), 0.0);
  invert_range(lower.data(), inverse.data(), row_stride(order), 0, order, scratch);
}

void gram_of_lower(std::span<const double> lower, std::size_t order, std::span<double> transposed,
                   std::span<double> product) {
  const auto multiply = surrogate_loops().multiply_f64;
  const std::size_t ld = row_stride(order);
  const double moving = static_cast<double>(order * order) / 1e3;  // a billion entries a second go over a diagonal
  for_pieces(order / block, moving, [&](std::size_t piece) {
    const std::size_t i = piece * block;
    for (std::size_t j = 0; j <= i; j += block) {  // what lies above the diagonal of X is not read below
      for (std::size_t r = i; r < i + block; ++r) {
        for (std::size_t c = j; c < j + block; ++c) transposed[c * ld + r] = lower[r * ld + c];
      }
    }
  });
  for_pieces(runs(order), time_of(order, order, order) / 6.0, [&](std::size_t piece) {
    const std::size_t i = piece * row_run, rows = std::min(row_run, order - i);  // rows of X above i do not reach it
    multiply(rows, i + rows, order - i, transposed.data() + i * ld + i, ld, lower.data() + i * ld, ld,
             product.data() + i * ld, ld, Store::set);
  });
  for_pieces(order / block, moving, [&](std::size_t piece) {
    const std::size_t i = piece * block;
    for (std::size_t j = 0; j <= i; j += block) {
      for (std::size_t r = i; r < i + block; ++r) {
        for (std::size_t c = j; c < std::min(j + block, r); ++c) product[c * ld + r] = product[r * ld + c];
      }
    }
  });
}

}  // namespace probewise
