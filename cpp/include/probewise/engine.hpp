// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "probewise/acquisition/best_of_maps.hpp"
#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"
#include "probewise/surrogate/gaussian_process.hpp"

namespace probewise {

class TileSearch;

/// How the members of a batch after the first are found. believer: the posterior is told its own mean at each member
/// before the next is chosen; top: the best scores of one map.
enum class BatchMethod { believer, top };

/// What to choose by and from. Spans may be empty, where said.
struct ChoiceRequest {
  std::optional<Policy> policy;  ///< none: Thompson, one joint draw per member
  PolicyParameters parameters;
  std::span<const std::uint8_t> visited;  ///< candidates never to be taken (empty: none)
  bool allow_told = false;                ///< told candidates may be taken again
  std::span<const double> cost;           ///< per candidate (empty: none)
  double cost_weight = 0.0;
  ChoiceKey key;
  BatchMethod method = BatchMethod::believer;
};

/// Owns one step of an experiment: tell, maps, choose, path. Random numbers are counter-based and keyed by the
/// request, so that the engine has no generator state to save.
class Engine {
 public:
  explicit Engine(GaussianProcess surrogate);
  Engine(const Engine& other);
  Engine(Engine&&) noexcept;
  ~Engine();

  GaussianProcess& surrogate() noexcept { return surrogate_; }
  const GaussianProcess& surrogate() const noexcept { return surrogate_; }

  /// Fills `chosen` with as many distinct candidates as are free, best first; returns how many.
  std::size_t choose(const ChoiceRequest& request, std::span<std::int64_t> chosen);

  /// Sample positions (n, 2) relative to a site's centre and the centres (candidates, 2), fractions of the field.
  void set_path(std::span<const double> offsets_yx, std::span<const double> centres_yx);

  /// The template at the centre of `index`, in a buffer that the next call overwrites.
  std::span<const double> path(std::int64_t index);

  /// One step: tell `value` at `index`, choose one candidate (-1 when none is free) and lay its path, if one is set.
  /// Allocates nothing within the rows reserved, Thompson aside.
  std::int64_t step(std::int64_t index, double value, const ChoiceRequest& request);

 private:
  std::int64_t best(const ChoiceRequest& request, std::size_t member);

  GaussianProcess surrogate_;
  std::unique_ptr<TileSearch> search_;  // lazy plan only
  BestOfMaps best_of_maps_;
  std::vector<double> draw_;
  std::vector<std::uint8_t> blocked_;
  std::vector<double> offsets_, centres_, path_;
};

}  // namespace probewise
