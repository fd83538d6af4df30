// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace probewise {

/// Points of a plane, sorted into square cells so that the nearest of them are found.
class NearestPoints {
 public:
  static constexpr std::size_t most = 16;
  static constexpr std::uint32_t none = 0xffffffff;

  /// Of points (n, 2), n > 0, finite, of which up to `count`, `most` at most, will be asked for.
  NearestPoints(std::span<const double> yx, std::size_t count);

  /// The points nearest to a place, the nearest first, without the point `leave_out`: their squared distances and
  /// numbers, as many as `squared` has. There must be so many.
  void find(double y, double x, std::uint32_t leave_out, std::span<double> squared,
            std::span<std::uint32_t> number) const;

 private:
  template <std::size_t most_found>
  void find_up_to(double y, double x, std::uint32_t leave_out, std::span<double> squared,
                  std::span<std::uint32_t> number) const;
  template <std::size_t most_found>
  void look(double y, double x, std::uint32_t leave_out, std::ptrdiff_t row, std::ptrdiff_t left, std::ptrdiff_t right,
            double* squared, std::uint32_t* place) const;
  std::ptrdiff_t cell(double offset, std::ptrdiff_t cells) const;

  double low_[2], side_;
  std::ptrdiff_t rows_, cols_;
  std::vector<std::uint32_t> start_, number_;  // of each cell its first place in those after it
  std::vector<double> y_, x_;
};

}  // namespace probewise
