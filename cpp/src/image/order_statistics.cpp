// SPDX-License-Identifier: BSD-3-Clause
#include "image/order_statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "image/pixel_table.hpp"

namespace probewise {

namespace {

constexpr std::size_t bin_count = 2048;
constexpr std::size_t small = 4096;  // values that are selected from directly

/// Values of the sorted `values` at `rank` and at the rank after it (the last one's own where there is none).
std::array<float, 2> neighbours(std::vector<float>& values, std::size_t rank) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(values.begin(), place, values.end());
  const float first = *place;
  return {first, place + 1 == values.end() ? first : *std::min_element(place + 1, values.end())};
}

/// One histogram over the range, then a selection inside the bins that hold the ranks.
void select(std::span<const float> values, float low, float high, std::span<const std::size_t> ranks,
            std::span<std::array<float, 2>> found) {
  if (low == high) {
    std::fill(found.begin(), found.end(), std::array{low, low});
    return;
  }
  const PixelTable& table = pixel_table();
  const float per_unit = static_cast<float>(bin_count) / (high - low);
  if (values.size() <= small || !std::isfinite(per_unit) || per_unit == 0.0f) {
    std::vector<float> copy(values.begin(), values.end());
    for (std::size_t i = 0; i < ranks.size(); ++i) found[i] = neighbours(copy, ranks[i]);
    return;
  }
  std::vector<std::uint16_t> bin(values.size());
  table.bins(values.data(), values.size(), low, per_unit, bin_count - 1, bin.data());
  // Equal neighbours in one counter would wait for each other's store.
  std::vector<std::array<std::uint32_t, bin_count>> counts(4);
  std::size_t i = 0;
  for (; i + 4 <= bin.size(); i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) ++counts[lane][bin[i + lane]];
  }
  for (; i < bin.size(); ++i) ++counts[0][bin[i]];
  std::array<std::size_t, bin_count + 1> start{};
  for (std::size_t b = 0; b < bin_count; ++b) {
    start[b + 1] = start[b] + counts[0][b] + counts[1][b] + counts[2][b] + counts[3][b];
  }
  std::vector<float> inside;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    // The bins of the rank and of the one after it; what lies between them is empty.
    const auto bin_of = [&](std::size_t rank) {
      return static_cast<std::size_t>(std::upper_bound(start.begin(), start.end(), rank) - start.begin()) - 1;
    };
    const std::size_t first = bin_of(ranks[r]), last = bin_of(std::min(ranks[r] + 1, values.size() - 1));
    inside.resize(start[last + 1] - start[first] + 32);
    const std::size_t kept = table.gather(values.data(), bin.data(), bin.size(), static_cast<std::uint16_t>(first),
                                          static_cast<std::uint16_t>(last - first), inside.data());
    inside.resize(kept);
    const std::size_t rank = ranks[r] - start[first];
    const PixelRange range = table.range(inside.data(), kept);
    if (range.low == range.high || (kept > small && kept < values.size() / 2)) {
      select(inside, range.low, range.high, std::span(&rank, 1), found.subspan(r, 1));
    } else {
      found[r] = neighbours(inside, rank);
    }
  }
}

}  // namespace

void quantiles(std::span<const float> values, float low, float high, std::span<const double> at,
               std::span<double> found) {
  std::vector<std::size_t> ranks;
  std::vector<std::array<float, 2>> pairs(at.size());
  for (const double fraction : at) {
    ranks.push_back(static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1)));
  }
  select(values, low, high, ranks, pairs);
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double place = at[i] * static_cast<double>(values.size() - 1);
    const double share = place - static_cast<double>(ranks[i]);
    found[i] = static_cast<double>(pairs[i][0]) * (1 - share) + static_cast<double>(pairs[i][1]) * share;
  }
}

}  // namespace probewise
