// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/acquisition/best_of_maps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "acquisition/level.hpp"
#include "runtime/pool.hpp"

namespace probewise {

template <class T>
std::int64_t BestOfMaps::find(Policy policy, const PolicyParameters& parameters, std::span<const T> mean,
                              std::span<const T> deviation, std::span<const std::uint8_t> blocked,
                              std::span<const double> cost, double cost_weight, ChoiceKey key) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::size_t size = mean.size(), runs = (size + run - 1) / run;
  bounds_.resize(runs);
  scores_.resize(run);
  const AcquisitionLoops& loops = acquisition_loops();
  const auto bound_run = [&](std::size_t r) {
    const std::size_t first = r * run, length = std::min(run, size - first);
    double low = 0.0, high = 0.0, widest = 0.0;
    if constexpr (std::is_same_v<T, double>) {
      loops.limits_f64(length, mean.data() + first, deviation.data() + first, blocked.data() + first, &low, &high,
                       &widest);
    } else {
      loops.limits_f32(length, mean.data() + first, deviation.data() + first, blocked.data() + first, &low, &high,
                       &widest);
    }
    if (low > high) {  // none free
      bounds_[r] = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    double least_charge = 0.0;
    if (!cost.empty()) {
      least_charge = infinity;
      for (std::size_t j = first; j < first + length; ++j) {
        least_charge = std::min(least_charge, cost_weight * cost[j]);
      }
    }
    const double bound = largest_score(policy, parameters, low, high, widest) - least_charge;
    bounds_[r] = bound + 1e-12 * std::fabs(bound);  // rounding may lift a score over a bound that equals it
  };
  constexpr std::size_t together = 64;
  for_pieces((runs + together - 1) / together, static_cast<double>(size) / 2e3, [&](std::size_t piece) {
    for (std::size_t r = piece * together; r < std::min((piece + 1) * together, runs); ++r) bound_run(r);
  });
  BestChoice best{key};
  const auto score_run = [&](std::size_t r) {
    const std::size_t first = r * run, length = std::min(run, size - first);
    const std::span<double> scores = std::span(scores_).first(length);
    score(policy, parameters, mean.subspan(first, length), deviation.subspan(first, length), scores);
    if (!cost.empty()) charge(scores, cost.subspan(first, length), cost_weight);
    double largest = -infinity;
    for (std::size_t j = 0; j < length; ++j) {
      if (blocked[first + j] != 0 || scores[j] < largest) continue;
      largest = scores[j];
      best.offer(static_cast<std::int64_t>(first + j), scores[j]);
    }
  };
  std::size_t top = runs;
  for (std::size_t r = 0; r < runs; ++r) {
    if (!std::isnan(bounds_[r]) && (top == runs || bounds_[r] > bounds_[top])) top = r;
  }
  if (top == runs) return -1;
  score_run(top);
  for (std::size_t r = 0; r < runs; ++r) {
    if (r != top && bounds_[r] >= best.score) score_run(r);
  }
  return best.index;
}

template std::int64_t BestOfMaps::find(Policy, const PolicyParameters&, std::span<const double>,
                                       std::span<const double>, std::span<const std::uint8_t>, std::span<const double>,
                                       double, ChoiceKey);
template std::int64_t BestOfMaps::find(Policy, const PolicyParameters&, std::span<const float>, std::span<const float>,
                                       std::span<const std::uint8_t>, std::span<const double>, double, ChoiceKey);

}  // namespace probewise
