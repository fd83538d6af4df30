// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/acquisition/choice.hpp"

#include <algorithm>
#include <vector>

#include "acquisition/level.hpp"
#include "acquisition/policy_body.hpp"

namespace probewise {

void BestChoice::offer(std::int64_t candidate, double offered) noexcept {
  if (index >= 0 && offered < score) return;
  const std::uint64_t offered_rank = tie_rank(key, static_cast<std::size_t>(candidate));
  if (index >= 0 && offered == score && offered_rank >= rank) return;
  index = candidate;
  score = offered;
  rank = offered_rank;
}

std::int64_t choose_best(std::span<const double> scores, std::span<const std::uint8_t> blocked, ChoiceKey key) {
  const double largest = acquisition_loops().largest(scores.size(), scores.data(), blocked.data());
  BestChoice best{key};
  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (scores[j] == largest && blocked[j] == 0) best.offer(static_cast<std::int64_t>(j), scores[j]);
  }
  return best.index;
}

void charge(std::span<double> scores, std::span<const double> cost, double weight) {
  for (std::size_t j = 0; j < scores.size(); ++j) scores[j] -= weight * cost[j];
}

void keyed_permutation(ChoiceKey key, std::span<std::int64_t> order) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> ranked(order.size());
  for (std::size_t j = 0; j < ranked.size(); ++j) ranked[j] = {tie_rank(key, j), static_cast<std::int64_t>(j)};
  std::sort(ranked.begin(), ranked.end());
  std::transform(ranked.begin(), ranked.end(), order.begin(), [](const auto& entry) { return entry.second; });
}

}  // namespace probewise
