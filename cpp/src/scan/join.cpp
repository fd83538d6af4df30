// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/scan/join.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace probewise {
namespace {

// The profile's sum is rounded; a hair of room keeps the differences of the emitted positions within the limits.
constexpr double kRoom = 1.0 - 1e-9;

/// Step k (1..count) of the fastest rest-to-rest profile: up by `bend` a sample, along at `step`, down again.
double profile(std::size_t k, std::size_t count, const CoilSteps& coils) {
  return std::min(coils.step, coils.bend * static_cast<double>(std::min(k, count + 1 - k)));
}

/// How far the first `count` steps on the way up reach.
double climb(std::size_t count, const CoilSteps& coils) {
  const double n = static_cast<double>(count);
  const double ramp = std::min(n, std::floor(coils.step / coils.bend));  // steps below the top speed
  return coils.bend * ramp * (ramp + 1.0) / 2.0 + (n - ramp) * coils.step;
}

/// How far the whole profile of `count` steps reaches.
double reach(std::size_t count, const CoilSteps& coils) {
  return 2.0 * climb(count / 2, coils) + (count % 2 != 0 ? profile(count / 2 + 1, count, coils) : 0.0);
}

std::size_t steps_for(double distance, const CoilSteps& coils) {
  std::size_t high = 1;
  while (reach(high, coils) < distance) high *= 2;
  std::size_t low = high / 2;  // reach(low) < distance <= reach(high)
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (reach(middle, coils) < distance ? low : high) = middle;
  }
  return high;
}

class Joiner {
 public:
  Joiner(const CoilSteps& coils, std::size_t max_points) : given_(coils), max_points_(max_points) {
    coils_ = coils;
    coils_.step = std::min(coils.step * kRoom, 4.0);  // more than any move within the field
    coils_.bend = std::min(coils.bend * kRoom, coils_.step);
  }

  void visit(double y, double x, std::int64_t source) {
    if (path.source.empty()) {
      emit(y, x, source);
      return;
    }
    const double dy = y - y_, dx = x - x_;
    const double length = std::hypot(dy, dx);
    const bool jump = std::abs(dy) > given_.near_y || std::abs(dx) > given_.near_x;
    if (length > std::min(coils_.step, coils_.bend)) {
      rest();
      travel(y, x, length);
    } else if (std::hypot(dy - last_dy_, dx - last_dx_) > coils_.bend) {
      rest();
    }
    for (std::size_t i = 0; jump && i < given_.settle_samples; ++i) emit(y, x, -1);
    emit(y, x, source);
  }

  JoinedPath path;

 private:
  void rest() {
    if (last_dy_ != 0.0 || last_dx_ != 0.0) emit(y_, x_, -1);
  }

  /// All samples of the move but the last, which is the waypoint itself.
  void travel(double y, double x, double length) {
    const std::size_t count = steps_for(length, coils_);
    if (count > max_points_) refuse();
    const double scale = 1.0 / reach(count, coils_);
    const double from_y = y_, from_x = x_;
    for (std::size_t k = 1; k < count; ++k) {
      // From the nearer end, so that no rounding adds up into the last step.
      const double along = k <= count / 2 ? climb(k, coils_) * scale : 1.0 - climb(count - k, coils_) * scale;
      emit(from_y + (y - from_y) * along, from_x + (x - from_x) * along, -1);
    }
  }

  void emit(double y, double x, std::int64_t source) {
    if (path.source.size() == max_points_) refuse();
    last_dy_ = path.source.empty() ? 0.0 : y - y_;
    last_dx_ = path.source.empty() ? 0.0 : x - x_;
    y_ = y;
    x_ = x;
    path.yx.push_back(y);
    path.yx.push_back(x);
    path.source.push_back(source);
  }

  [[noreturn]] void refuse() const {
    throw std::invalid_argument("the coils' limits make this path longer than " + std::to_string(max_points_) +
                                " samples, expected at most max_points; a longer dwell or shorter jumps need fewer");
  }

  CoilSteps given_, coils_{};
  std::size_t max_points_;
  double y_ = 0.0, x_ = 0.0, last_dy_ = 0.0, last_dx_ = 0.0;
};

}  // namespace

JoinedPath join_waypoints(std::span<const double> yx, const CoilSteps& coils, std::size_t max_points) {
  if (!(coils.step > 0.0 && coils.bend > 0.0)) {
    throw std::invalid_argument("the coils' limits allow steps of " + std::to_string(coils.step) + " and bends of " +
                                std::to_string(coils.bend) + " of the field, expected both positive");
  }
  Joiner joiner(coils, max_points);
  for (std::size_t i = 0; i < yx.size() / 2; ++i) {
    joiner.visit(yx[2 * i], yx[2 * i + 1], static_cast<std::int64_t>(i));
  }
  return std::move(joiner.path);
}

}  // namespace probewise
