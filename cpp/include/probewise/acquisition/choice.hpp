// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>

namespace probewise {

/// What breaks ties: the candidate whose Philox word under (seed, stream) is smallest wins, so that equal scores are
/// taken in the order of a permutation keyed by both.
struct ChoiceKey {
  std::uint64_t seed = 0, stream = 0;
};

/// The best of candidates offered one after another, in any order.
struct BestChoice {
  ChoiceKey key;
  std::int64_t index = -1;
  double score = 0.0;
  std::uint64_t rank = 0;

  void offer(std::int64_t candidate, double offered) noexcept;
};

/// The free candidate (blocked == 0) of the largest score; -1 when none is free. No score may be NaN.
std::int64_t choose_best(std::span<const double> scores, std::span<const std::uint8_t> blocked, ChoiceKey key);

/// scores[j] -= weight * cost[j].
void charge(std::span<double> scores, std::span<const double> cost, double weight);

/// order[] = the permutation of 0 .. size - 1 keyed by `key`.
void keyed_permutation(ChoiceKey key, std::span<std::int64_t> order);

}  // namespace probewise
