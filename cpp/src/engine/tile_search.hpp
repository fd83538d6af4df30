// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/engine.hpp"
#include "surrogate/tiles.hpp"

namespace probewise {

/// Finds the best free candidate of maps kept by tiles, best first: a tile is looked at only while the bound on its
/// scores reaches the best one found. A bound starts from the tile's largest mean and deviation, or from its best
/// score of an earlier search plus what the means have moved since, and sharpens by the stored maps, by the current
/// mean and at last by the current deviation.
class TileSearch {
 public:
  /// -1 when none is free. The choice is that of `choose_best` over scores of all candidates.
  std::int64_t best(const GaussianProcess& process, const ChoiceRequest& request,
                    std::span<const std::uint8_t> blocked);

 private:
  enum class Stage : std::uint8_t { limits, stored, mean };

  struct Peak {
    double score, drift, incumbent;
  };

  void prepare(const Tiles& tiles, const ChoiceRequest& request, std::span<const std::uint8_t> blocked,
               std::size_t cols);
  double bound(const Tiles& tiles, const ChoiceRequest& request, std::size_t tile) const;
  double score_tile(const Tiles& tiles, const ChoiceRequest& request, std::span<const std::uint8_t> blocked,
                    std::size_t cols, std::size_t tile, BestChoice* best);

  std::vector<Peak> peaks_;
  std::vector<double> charge_, bounds_;
  std::vector<Stage> stages_;
  std::vector<std::size_t> heap_;
  std::vector<std::uint8_t> was_blocked_;
  std::vector<double> mean_, deviation_, scores_;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  Policy policy_ = Policy::max_std;
  PolicyParameters parameters_;
  double incumbent_ = 0.0;  ///< by how much `best` has fallen in all
  bool charged_ = false;
};

}  // namespace probewise
