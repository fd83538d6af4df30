// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace probewise {

/// What the coils allow between neighbouring samples, in fractions of the field.
struct CoilSteps {
  double step;                 // largest first difference: velocity * dwell
  double bend;                 // largest second difference: acceleration * dwell^2
  double near_y, near_x;       // a move within this box is no jump and needs no settling
  std::size_t settle_samples;  // masked samples at rest after a jump
};

/// `source` is the index of the waypoint, -1 on the masked samples in between.
struct JoinedPath {
  std::vector<double> yx;
  std::vector<std::int64_t> source;
};

/// Visits every waypoint once and in order with masked samples between them where the coils need them: none where the
/// step itself is allowed, a rest where only the change of direction is too sharp, a move from rest to rest along the
/// straight line otherwise. Throws std::invalid_argument when the path would need more than `max_points` samples.
JoinedPath join_waypoints(std::span<const double> yx, const CoilSteps& coils, std::size_t max_points);

}  // namespace probewise
