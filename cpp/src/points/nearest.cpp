// SPDX-License-Identifier: BSD-3-Clause
#include "points/nearest.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace probewise {

NearestPoints::NearestPoints(std::span<const double> yx, std::size_t count) {
  const std::size_t n = yx.size() / 2;
  double high[2];
  for (std::size_t axis = 0; axis < 2; ++axis) low_[axis] = high[axis] = yx[axis];
  for (std::size_t i = 0; i < yx.size(); ++i) {
    low_[i % 2] = std::min(low_[i % 2], yx[i]);
    high[i % 2] = std::max(high[i % 2], yx[i]);
  }
  const double height = high[0] - low_[0], width = high[1] - low_[1], points = static_cast<double>(n);
  // Cells as wide as the farthest of the asked points is away: mostly three by three of them are looked at.
  const double in_cell = std::max(1.0, 0.45 * static_cast<double>(count));
  side_ = std::max({std::sqrt(height * width * in_cell / points), std::max(height, width) / points, 1e-9});
  rows_ = static_cast<std::ptrdiff_t>(height / side_) + 1;
  cols_ = static_cast<std::ptrdiff_t>(width / side_) + 1;
  std::vector<std::uint32_t> own(n);
  start_.assign(static_cast<std::size_t>(rows_ * cols_) + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    own[i] =
        static_cast<std::uint32_t>(cell(yx[2 * i] - low_[0], rows_) * cols_ + cell(yx[2 * i + 1] - low_[1], cols_));
    ++start_[own[i] + 1];
  }
  for (std::size_t c = 1; c < start_.size(); ++c) start_[c] += start_[c - 1];
  std::vector<std::uint32_t> next(start_.begin(), start_.end() - 1);
  number_.resize(n);
  y_.resize(n);
  x_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t place = next[own[i]]++;
    number_[place] = static_cast<std::uint32_t>(i);
    y_[place] = yx[2 * i];
    x_[place] = yx[2 * i + 1];
  }
}

std::ptrdiff_t NearestPoints::cell(double offset, std::ptrdiff_t cells) const {
  const double place = offset / side_;
  return place > 0 ? std::min(static_cast<std::ptrdiff_t>(std::min(place, 1e15)), cells - 1) : 0;
}

template <std::size_t most_found>
void NearestPoints::look(double y, double x, std::uint32_t leave_out, std::ptrdiff_t row, std::ptrdiff_t left,
                         std::ptrdiff_t right, double* squared, std::uint32_t* place) const {
  const std::uint32_t stop = start_[static_cast<std::size_t>(row * cols_ + right) + 1];
  for (std::uint32_t at = start_[static_cast<std::size_t>(row * cols_ + left)]; at < stop; ++at) {
    const double dy = y_[at] - y, dx = x_[at] - x;
    double distance = number_[at] == leave_out ? std::numeric_limits<double>::infinity() : dy * dy + dx * dx;
    std::uint32_t carried = at;
    // One pass of an insertion without a branch: where a point goes cannot be foretold.
    for (std::size_t k = 0; k < most_found; ++k) {
      const bool nearer = distance < squared[k];
      const double kept = nearer ? distance : squared[k];
      const std::uint32_t kept_place = nearer ? carried : place[k];
      distance = nearer ? squared[k] : distance;
      carried = nearer ? place[k] : carried;
      squared[k] = kept;
      place[k] = kept_place;
    }
  }
}

template <std::size_t most_found>
void NearestPoints::find_up_to(double y, double x, std::uint32_t leave_out, std::span<double> squared,
                               std::span<std::uint32_t> number) const {
  std::array<double, most_found> best;
  std::array<std::uint32_t, most_found> place{};
  best.fill(std::numeric_limits<double>::infinity());
  const std::size_t count = squared.size();
  const auto add = [&](std::ptrdiff_t r, std::ptrdiff_t left, std::ptrdiff_t right) {
    look<most_found>(y, x, leave_out, r, left, right, best.data(), place.data());
  };
  const std::ptrdiff_t row = cell(y - low_[0], rows_), col = cell(x - low_[1], cols_);
  add(row, std::max<std::ptrdiff_t>(0, col - 1), std::min(cols_ - 1, col + 1));
  for (std::ptrdiff_t ring = 1;; ++ring) {
    const std::ptrdiff_t top = row - ring, bottom = row + ring, left = col - ring, right = col + ring;
    const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, left), last = std::min(cols_ - 1, right);
    if (top >= 0) add(top, first, last);
    if (bottom < rows_) add(bottom, first, last);
    for (std::ptrdiff_t r = std::max<std::ptrdiff_t>(0, top + 1); ring > 1 && r <= std::min(rows_ - 1, bottom - 1);
         ++r) {
      if (left >= 0) add(r, left, left);
      if (right < cols_) add(r, right, right);
    }
    // What was not looked at lies beyond a side of this square; beyond the outermost cells there is nothing.
    double certain = std::numeric_limits<double>::infinity();
    if (top > 0) certain = std::min(certain, y - low_[0] - static_cast<double>(top) * side_);
    if (left > 0) certain = std::min(certain, x - low_[1] - static_cast<double>(left) * side_);
    if (bottom < rows_ - 1) certain = std::min(certain, static_cast<double>(bottom + 1) * side_ - (y - low_[0]));
    if (right < cols_ - 1) certain = std::min(certain, static_cast<double>(right + 1) * side_ - (x - low_[1]));
    certain = std::max(certain, 0.0);
    if (best[count - 1] <= certain * certain) break;
  }
  for (std::size_t k = 0; k < count; ++k) {
    squared[k] = best[k];
    number[k] = number_[place[k]];
  }
}

void NearestPoints::find(double y, double x, std::uint32_t leave_out, std::span<double> squared,
                         std::span<std::uint32_t> number) const {
  if (squared.size() == 1) {
    find_up_to<1>(y, x, leave_out, squared, number);
  } else if (squared.size() <= 7) {
    find_up_to<7>(y, x, leave_out, squared, number);
  } else if (squared.size() <= 9) {
    find_up_to<9>(y, x, leave_out, squared, number);
  } else {
    find_up_to<most>(y, x, leave_out, squared, number);
  }
}

}  // namespace probewise
