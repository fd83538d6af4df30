// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace probewise {

/// A lower triangular factor that grows by one row at a time; row i starts at i (i + 1) / 2.
class Factor {
 public:
  std::size_t size() const noexcept { return size_; }
  void reserve(std::size_t rows) { entries_.reserve(rows * (rows + 1) / 2); }
  void truncate(std::size_t rows);

  std::span<const double> row(std::size_t i) const noexcept { return {entries_.data() + i * (i + 1) / 2, i + 1}; }
  double diagonal(std::size_t i) const noexcept { return entries_[i * (i + 1) / 2 + i]; }

  /// Appends the row (l, diagonal); l has size() entries.
  void append(std::span<const double> l, double diagonal);

  /// x <- L^-1 x.
  void solve_forward(std::span<double> x) const;

  /// x <- L^-T x.
  void solve_backward(std::span<double> x) const;

  /// out = L x.
  void multiply(std::span<const double> x, std::span<double> out) const;

 private:
  const double* entries(std::size_t i) const noexcept { return entries_.data() + i * (i + 1) / 2; }

  std::vector<double> entries_;
  std::size_t size_ = 0;
};

}  // namespace probewise
