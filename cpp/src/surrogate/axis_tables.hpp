// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "probewise/surrogate/candidates.hpp"
#include "probewise/surrogate/kernels.hpp"
#include "surrogate/level.hpp"

namespace probewise {

/// A separable kernel along both axes of a lattice, at every offset. Zeros follow, so that a tile which reaches over
/// the lattice's edge may be read whole.
class AxisTables {
 public:
  static constexpr std::size_t overhang = 64;

  AxisTables(const Candidates& candidates, Kernel kernel)
      : kernel_(kernel),
        length_{candidates.rows(), candidates.cols()},
        spacing_{candidates.spacing(0), candidates.spacing(1)} {
    for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) values_[axis].resize(2 * length_[axis] - 1 + overhang);
  }

  void tabulate(std::span<const double> lengthscale) {
    for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) {
      std::vector<double> offset(2 * length_[axis] - 1);
      for (std::size_t i = 0; i < offset.size(); ++i) {
        offset[i] =
            (static_cast<double>(i) - static_cast<double>(length_[axis] - 1)) * spacing_[axis] / lengthscale[axis];
      }
      const double origin = 0.0;
      surrogate_loops().kernel_row(static_cast<int>(kernel_), 1.0, 1, offset.size(), offset.data(), 0, &origin,
                                   values_[axis].data(), nullptr);
    }
  }

  /// p[i] = covariance of i and `origin` along an axis.
  const double* from(std::size_t axis, std::size_t origin) const noexcept {
    return values_[axis].data() + (length_[axis] - 1 - origin);
  }

  const std::vector<double>& values(std::size_t axis) const noexcept { return values_[axis]; }

  void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) const noexcept {
    const std::size_t cols = length_[1], at = static_cast<std::size_t>(index);
    const double *along_rows = from(0, at / cols), *along_cols = from(1, at % cols);
    for (std::size_t i = 0; i < told.size(); ++i) {
      const auto other = static_cast<std::size_t>(told[i]);
      out[i] = along_rows[other / cols] * along_cols[other % cols];
    }
  }

 private:
  Kernel kernel_;
  std::array<std::size_t, 2> length_;
  std::array<double, 2> spacing_;
  std::array<std::vector<double>, 2> values_;
};

}  // namespace probewise
