// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/engine.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/tile_search.hpp"

namespace probewise {

namespace {

// Stream of a member's own draws, apart from those of every step that counts its steps in the low bits.
constexpr std::uint64_t member_stream = std::uint64_t{1} << 40;

void check_length(std::size_t length, std::size_t candidates, const char* name) {
  if (length != 0 && length != candidates) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(length) + " entries, expected " +
                                std::to_string(candidates) + ", one for each candidate");
  }
}

/// Forgets, on any way out, what a process was told while this lived.
class Rewinding {
 public:
  explicit Rewinding(GaussianProcess& process) : process_(process) { process_.remember(); }
  ~Rewinding() { process_.rewind(); }
  Rewinding(const Rewinding&) = delete;
  Rewinding& operator=(const Rewinding&) = delete;

 private:
  GaussianProcess& process_;
};

}  // namespace

Engine::Engine(GaussianProcess surrogate) : surrogate_(std::move(surrogate)), blocked_(surrogate_.candidates().size()) {
  if (surrogate_.tiles() != nullptr) search_ = std::make_unique<TileSearch>();
}

Engine::Engine(const Engine& other)
    : surrogate_(other.surrogate_),
      search_(other.search_ == nullptr ? nullptr : std::make_unique<TileSearch>(*other.search_)),
      blocked_(other.blocked_),
      offsets_(other.offsets_),
      centres_(other.centres_),
      path_(other.path_) {}

Engine::Engine(Engine&&) noexcept = default;
Engine::~Engine() = default;

/// The best free candidate by the maps as they are, or by a draw of a batch member's own.
std::int64_t Engine::best(const ChoiceRequest& request, std::size_t member) {
  if (!request.policy) {
    draw_.resize(surrogate_.candidates().size());
    surrogate_.sample(request.key.seed, request.key.stream + (member + 1) * member_stream, draw_);
    if (!request.cost.empty()) charge(draw_, request.cost, request.cost_weight);
    return choose_best(draw_, blocked_, request.key);
  }
  if (search_ != nullptr) return search_->best(surrogate_, request, blocked_);
  const MapView mean = surrogate_.mean(), deviation = surrogate_.deviation();
  const auto of = [&]<class T>(const T* means, const T* deviations) {
    return best_of_maps_.find(*request.policy, request.parameters, std::span(means, mean.size),
                              std::span(deviations, mean.size), std::span<const std::uint8_t>(blocked_), request.cost,
                              request.cost_weight, request.key);
  };
  return mean.f64 != nullptr ? of(mean.f64, deviation.f64) : of(mean.f32, deviation.f32);
}

std::size_t Engine::choose(const ChoiceRequest& request, std::span<std::int64_t> chosen) {
  const std::size_t candidates = surrogate_.candidates().size();
  check_length(request.visited.size(), candidates, "visited");
  check_length(request.cost.size(), candidates, "cost");
  if (request.visited.empty()) {
    std::fill(blocked_.begin(), blocked_.end(), std::uint8_t{0});
  } else {
    std::transform(request.visited.begin(), request.visited.end(), blocked_.begin(),
                   [](std::uint8_t visited) { return static_cast<std::uint8_t>(visited != 0); });
  }
  if (!request.allow_told) {
    for (const std::int64_t told : surrogate_.indices()) blocked_[static_cast<std::size_t>(told)] = 1;
  }
  const bool believes = request.method == BatchMethod::believer && request.policy && chosen.size() > 1;
  std::optional<Rewinding> rewinding;
  if (believes) rewinding.emplace(surrogate_);
  std::size_t count = 0;
  for (; count < chosen.size(); ++count) {
    const std::int64_t next = best(request, count);
    if (next < 0) break;
    chosen[count] = next;
    blocked_[static_cast<std::size_t>(next)] = 1;
    if (believes && count + 1 < chosen.size()) {
      const double belief = surrogate_.mean_at(next);
      surrogate_.tell(std::span(&next, 1), std::span(&belief, 1));
    }
  }
  return count;
}

void Engine::set_path(std::span<const double> offsets_yx, std::span<const double> centres_yx) {
  if (offsets_yx.size() % 2 != 0) throw std::invalid_argument("offsets has an odd length, expected (n, 2)");
  if (centres_yx.size() != 2 * surrogate_.candidates().size()) {
    throw std::invalid_argument("centres has " + std::to_string(centres_yx.size() / 2) + " points, expected " +
                                std::to_string(surrogate_.candidates().size()) + ", one for each candidate");
  }
  offsets_.assign(offsets_yx.begin(), offsets_yx.end());
  centres_.assign(centres_yx.begin(), centres_yx.end());
  path_.resize(offsets_.size());
}

std::span<const double> Engine::path(std::int64_t index) {
  if (centres_.empty()) throw std::invalid_argument("path has no template, expected set_path first");
  if (index < 0 || static_cast<std::size_t>(index) >= centres_.size() / 2) {
    throw std::invalid_argument("index is " + std::to_string(index) + ", expected 0 to " +
                                std::to_string(centres_.size() / 2 - 1));
  }
  const double y = centres_[2 * static_cast<std::size_t>(index)], x = centres_[2 * static_cast<std::size_t>(index) + 1];
  for (std::size_t i = 0; i < offsets_.size(); i += 2) {
    path_[i] = offsets_[i] + y;
    path_[i + 1] = offsets_[i + 1] + x;
  }
  return path_;
}

std::int64_t Engine::step(std::int64_t index, double value, const ChoiceRequest& request) {
  surrogate_.tell(std::span(&index, 1), std::span(&value, 1));
  std::int64_t next = -1;
  if (choose(request, std::span(&next, 1)) == 0) return -1;
  if (!centres_.empty()) path(next);
  return next;
}

}  // namespace probewise
