// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace probewise {

/// The places a Gaussian process gives maps of: a rectangular lattice, or a list of points.
class Candidates {
 public:
  /// Point (r, c) lies at (r * dy, c * dx), flat index r * cols + c. Throws std::invalid_argument on an empty lattice
  /// or a spacing that is not positive and finite.
  static Candidates lattice(std::size_t rows, std::size_t cols, double dy, double dx);

  /// `coordinates` (c, axes) row-major. Throws std::invalid_argument when empty or not finite.
  static Candidates points(std::span<const double> coordinates, std::size_t axes);

  bool is_lattice() const noexcept { return rows_ != 0; }
  std::size_t size() const noexcept { return size_; }
  std::size_t axes() const noexcept { return axes_; }
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  double spacing(std::size_t axis) const noexcept { return axis == 0 ? dy_ : dx_; }

  double coordinate(std::size_t index, std::size_t axis) const noexcept {
    if (!is_lattice()) return coordinates_[index * axes_ + axis];
    return axis == 0 ? static_cast<double>(index / cols_) * dy_ : static_cast<double>(index % cols_) * dx_;
  }

 private:
  std::size_t size_ = 0, axes_ = 0, rows_ = 0, cols_ = 0;
  double dy_ = 0.0, dx_ = 0.0;
  std::vector<double> coordinates_;
};

}  // namespace probewise
