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

void NearestPoints::find(double y, double x, std::uint32_t leave_out, std::span<double> squared,
                         std::span<std::uint32_t> number) const {
  const std::size_t count = squared.size();
  std::fill(squared.begin(), squared.end(), std::numeric_limits<double>::infinity());
  const auto look = [&](std::ptrdiff_t row, std::ptrdiff_t left, std::ptrdiff_t right) {
    const std::uint32_t stop = start_[static_cast<std::size_t>(row * cols_ + right) + 1];
    for (std::uint32_t place = start_[static_cast<std::size_t>(row * cols_ + left)]; place < stop; ++place) {
      const double dy = y_[place] - y, dx = x_[place] - x, distance = dy * dy + dx * dx;
      if (!(distance < squared[count - 1]) || number_[place] == leave_out) continue;
      std::size_t k = count - 1;
      for (; k > 0 && distance < squared[k - 1]; --k) {
        squared[k] = squared[k - 1];
        number[k] = number[k - 1];
      }
      squared[k] = distance;
      number[k] = number_[place];
    }
  };
  const std::ptrdiff_t row = cell(y - low_[0], rows_), col = cell(x - low_[1], cols_);
  look(row, std::max<std::ptrdiff_t>(0, col - 1), std::min(cols_ - 1, col + 1));
  for (std::ptrdiff_t ring = 1;; ++ring) {
    const std::ptrdiff_t top = row - ring, bottom = row + ring, left = col - ring, right = col + ring;
    const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, left), last = std::min(cols_ - 1, right);
    if (top >= 0) look(top, first, last);
    if (bottom < rows_) look(bottom, first, last);
    for (std::ptrdiff_t r = std::max<std::ptrdiff_t>(0, top + 1); ring > 1 && r <= std::min(rows_ - 1, bottom - 1);
         ++r) {
      if (left >= 0) look(r, left, left);
      if (right < cols_) look(r, right, right);
    }
    // What was not looked at lies beyond a side of this square; beyond the outermost cells there is nothing.
    double certain = std::numeric_limits<double>::infinity();
    if (top > 0) certain = std::min(certain, y - low_[0] - static_cast<double>(top) * side_);
    if (left > 0) certain = std::min(certain, x - low_[1] - static_cast<double>(left) * side_);
    if (bottom < rows_ - 1) certain = std::min(certain, static_cast<double>(bottom + 1) * side_ - (y - low_[0]));
    if (right < cols_ - 1) certain = std::min(certain, static_cast<double>(right + 1) * side_ - (x - low_[1]));
    certain = std::max(certain, 0.0);
    if (squared[count - 1] <= certain * certain) return;
  }
}

}  // namespace probewise
