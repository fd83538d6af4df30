// SPDX-License-Identifier: BSD-3-Clause
#include "engine/tile_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace probewise {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Does a score move by no more than the mean does?
bool moves_with_mean(Policy policy) noexcept {
  return policy == Policy::upper_confidence_bound || policy == Policy::straddle ||
         policy == Policy::expected_improvement || policy == Policy::max_std;
}

bool same_but_incumbent(const PolicyParameters& a, const PolicyParameters& b) noexcept {
  return a.beta == b.beta && a.xi == b.xi && a.threshold == b.threshold && a.low == b.low && a.high == b.high;
}

/// Rounding may lift a score over a bound that equals it.
double widened(double bound) noexcept { return bound + 1e-12 * std::fabs(bound); }

}  // namespace

void TileSearch::prepare(const Tiles& tiles, const ChoiceRequest& request, std::span<const std::uint8_t> blocked,
                         std::size_t cols) {
  const std::size_t count = tiles.count();
  const bool charged = !request.cost.empty();
  const bool monotone = moves_with_mean(*request.policy);
  const bool same = peaks_.size() == count && epoch_ == tiles.epoch() && policy_ == *request.policy && !charged &&
                    !charged_ && same_but_incumbent(parameters_, request.parameters) &&
                    (monotone || parameters_.best == request.parameters.best);
  if (!same) {
    incumbent_ = 0.0;
    peaks_.assign(count, Peak{infinity, 0.0, 0.0});
  } else {
    if (request.parameters.best < parameters_.best) incumbent_ += parameters_.best - request.parameters.best;
    for (std::size_t tile = 0; tile < count; ++tile) {  // a candidate that is free again may beat the peak
      const TileArea area = tiles.area(tile);
      std::uint8_t freed = 0;
      for (std::size_t r = 0; r < area.rows; ++r) {
        const std::size_t first = (area.row + r) * cols + area.col;
        for (std::size_t j = first; j < first + area.cols; ++j) {
          freed = static_cast<std::uint8_t>(freed | (was_blocked_[j] & (blocked[j] ^ 1u)));
        }
      }
      if (freed != 0) peaks_[tile].score = infinity;
    }
  }
  epoch_ = tiles.epoch();
  policy_ = *request.policy;
  parameters_ = request.parameters;
  charged_ = charged;
  was_blocked_.assign(blocked.begin(), blocked.end());
  charge_.assign(count, 0.0);
  if (charged) {
    for (std::size_t tile = 0; tile < count; ++tile) {
      const TileArea area = tiles.area(tile);
      double least = infinity;
      for (std::size_t r = 0; r < area.rows; ++r) {
        const std::size_t first = (area.row + r) * cols + area.col;
        for (std::size_t j = first; j < first + area.cols; ++j) {
          least = std::min(least, request.cost_weight * request.cost[j]);
        }
      }
      charge_[tile] = least;
    }
  }
}

double TileSearch::bound(const Tiles& tiles, const ChoiceRequest& request, std::size_t tile) const {
  const TileLimits limits = tiles.limits(tile);
  const double of_limits =
      largest_score(policy_, request.parameters, limits.mean_low, limits.mean_high, limits.deviation_high) -
      charge_[tile];
  const Peak& peak = peaks_[tile];
  double of_peak = infinity;
  if (moves_with_mean(policy_)) {
    of_peak = peak.score + (limits.drift - peak.drift) + (incumbent_ - peak.incumbent);
  } else if (limits.drift == peak.drift) {
    of_peak = peak.score;
  }
  return widened(std::min(of_limits, of_peak));
}

/// The largest score that a free candidate of the tile can have by the stored maps; exact, and offered to `best`, when
/// that is not null.
double TileSearch::score_tile(const Tiles& tiles, const ChoiceRequest& request, std::span<const std::uint8_t> blocked,
                              std::size_t cols, std::size_t tile, BestChoice* best) {
  const TileArea area = tiles.area(tile);
  const TileLimits limits = tiles.limits(tile);
  const MapView mean = tiles.stored_mean(), deviation = tiles.stored_deviation();
  const double stale = best == nullptr ? limits.stale : 0.0;
  const bool by_candidate =
      best == nullptr && (policy_ == Policy::probability_of_improvement || policy_ == Policy::target_probability);
  PolicyParameters parameters = request.parameters;
  if (policy_ == Policy::expected_improvement || policy_ == Policy::log_expected_improvement) parameters.best -= stale;
  const double shift = policy_ == Policy::upper_confidence_bound || policy_ == Policy::straddle ? stale : 0.0;
  scores_.resize(area.cols);
  double largest = -infinity;
  for (std::size_t r = 0; r < area.rows; ++r) {
    const std::size_t first = (area.row + r) * cols + area.col;
    if (by_candidate) {
      for (std::size_t c = 0; c < area.cols; ++c) {
        const double at = mean[first + c];
        scores_[c] = largest_score(policy_, parameters, at - stale, at + stale, deviation[first + c]);
      }
    } else if (mean.f64 != nullptr) {
      score(policy_, parameters, std::span(mean.f64 + first, area.cols), std::span(deviation.f64 + first, area.cols),
            scores_);
    } else {
      score(policy_, parameters, std::span(mean.f32 + first, area.cols), std::span(deviation.f32 + first, area.cols),
            scores_);
    }
    if (!request.cost.empty()) charge(scores_, request.cost.subspan(first, area.cols), request.cost_weight);
    for (std::size_t c = 0; c < area.cols; ++c) {
      if (blocked[first + c] != 0 || scores_[c] < largest) continue;
      largest = scores_[c];
      if (best != nullptr) best->offer(static_cast<std::int64_t>(first + c), scores_[c]);
    }
  }
  largest += shift;
  peaks_[tile] = {largest, limits.drift, incumbent_};
  return largest;
}

std::int64_t TileSearch::best(const GaussianProcess& process, const ChoiceRequest& request,
                              std::span<const std::uint8_t> blocked) {
  Tiles& tiles = *process.tiles();
  const std::size_t count = tiles.count(), cols = process.candidates().cols();
  prepare(tiles, request, blocked, cols);
  bounds_.resize(count);
  stages_.assign(count, Stage::limits);
  heap_.resize(count);
  for (std::size_t tile = 0; tile < count; ++tile) {
    bounds_[tile] = bound(tiles, request, tile);
    heap_[tile] = tile;
  }
  const auto lower = [this](std::size_t a, std::size_t b) { return bounds_[a] < bounds_[b]; };
  std::make_heap(heap_.begin(), heap_.end(), lower);
  BestChoice best{request.key};
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), lower);
    const std::size_t tile = heap_.back();
    if (best.index >= 0 && bounds_[tile] < best.score) break;
    if (stages_[tile] == Stage::stored) tiles.refresh_mean(tile);
    if (stages_[tile] == Stage::mean) tiles.refresh_deviation(tile);
    if (tiles.mean_is_current(tile) && tiles.deviation_is_current(tile)) {
      heap_.pop_back();
      score_tile(tiles, request, blocked, cols, tile, &best);
      continue;
    }
    stages_[tile] = tiles.mean_is_current(tile) ? Stage::mean : Stage::stored;
    bounds_[tile] = std::min(bounds_[tile], widened(score_tile(tiles, request, blocked, cols, tile, nullptr)));
    std::push_heap(heap_.begin(), heap_.end(), lower);
  }
  return best.index;
}

}  // namespace probewise
