// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace probewise {

/// Travel between two places: distance / velocity, and settling after every move that is one.
struct TravelCost {
  double settle_s;
  double velocity_per_s;  // infinite: the tour is shortened in length alone
};

/// An open tour through all `yx` (pairs) that begins at (start_y, start_x): nearest neighbour, then 2-opt among the
/// eight nearest of each place until no exchange helps. Ties go to the lower index.
std::vector<std::int64_t> travel_tour(std::span<const double> yx, double start_y, double start_x,
                                      const TravelCost& cost);

}  // namespace probewise
