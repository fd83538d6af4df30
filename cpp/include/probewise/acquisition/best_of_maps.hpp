// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"

namespace probewise {

/// The free candidate of the largest score - cost_weight * cost, the same as `choose_best` finds among the scores of
/// all; -1 when none is free. Runs of candidates whose largest mean and deviation cannot reach the best are not
/// scored. `cost` may be empty.
class BestOfMaps {
 public:
  template <class T>
  std::int64_t find(Policy policy, const PolicyParameters& parameters, std::span<const T> mean,
                    std::span<const T> deviation, std::span<const std::uint8_t> blocked, std::span<const double> cost,
                    double cost_weight, ChoiceKey key);

 private:
  static constexpr std::size_t run = 64;
  std::vector<double> bounds_, scores_;
};

}  // namespace probewise
