// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "probewise/acquisition/policies.hpp"
#include "probewise/engine.hpp"
#include "probewise/errors.hpp"
#include "probewise/surrogate/kernels.hpp"

namespace probewise {

/// What a loop measures, by what it is led, and when it gives up. Values are in the units that `tell` gets.
struct LoopOptions {
  std::size_t rows = 25, cols = 25;  ///< sites over the field
  std::size_t border = 1;            ///< rings of sites at the edge that are never scanned
  double fov_nm_y = 200.0, fov_nm_x = 200.0;
  double side_nm = 8.0;  ///< of a site, at most the pitch
  std::size_t scan_rows = 400, scan_cols = 400;
  Kernel kernel = Kernel::matern52;
  double lengthscale_pitches = 2.0;  ///< in units of the smaller pitch
  double noise = 1e-2;               ///< variance of a value over the variance of all values
  Policy policy = Policy::upper_confidence_bound;
  PolicyParameters parameters;  ///< beta and xi in deviations of the values; threshold, low, high in values; no best
  std::uint64_t seed = 0;       ///< breaks ties
  std::size_t start = 12;       ///< sites chosen before any value counts, each where the deviation is largest
  std::size_t retries = 1;      ///< of a site whose frame was refused
  std::size_t bad_frames_running = 5;
  float saturation = std::numeric_limits<float>::infinity();  ///< count at which the detector saturates
  double max_saturated = 0.05;                                ///< largest share of such counts
};

/// Why a frame is refused, as bits.
enum class Refusal : std::uint32_t { none = 0, not_finite = 1, saturated = 2, constant = 4, duplicate = 8, host = 16 };

/// A site that waits to be scanned. `yx` (scan_rows * scan_cols, 2) are fractions of the field, line by line; they hold
/// until the next visit.
struct Visit {
  std::uint64_t step = 0;
  std::int64_t site = -1;
  std::span<const double> yx;
};

/// What to keep of a step, so that `Loop::replay` can bring a new loop to the same state.
struct LoopStep {
  std::uint64_t step = 0;
  std::int64_t site = -1;
  double value = std::numeric_limits<double>::quiet_NaN();  ///< NaN of a refused frame
  std::uint32_t refusal = 0;                                ///< bits of Refusal
  std::uint64_t digest = 0;                                 ///< of the counts
};

/// So many frames running were refused that the instrument is to be looked at.
class TooManyBadFrames : public Error {
 public:
  using Error::Error;
};

/// The loop for programs that have their own scan control: visit, judge, tell or refuse, and again. It moves nothing
/// itself and keeps no time. The same options and the same steps give the same visits.
class Loop {
 public:
  /// Throws std::invalid_argument naming the option that cannot be.
  explicit Loop(const LoopOptions& options);

  const LoopOptions& options() const noexcept { return options_; }
  std::size_t sites() const noexcept { return blocked_.size(); }
  std::size_t samples() const noexcept { return options_.scan_rows * options_.scan_cols; }
  std::uint64_t steps() const noexcept { return step_; }
  const Engine& engine() const noexcept { return engine_; }

  /// The next site, or again the one that waits; none when no site is free. Throws TooManyBadFrames, once, after
  /// `bad_frames_running` refusals without a value between them.
  std::optional<Visit> visit();

  /// Bits of Refusal for the frame of the site that waits; remembers its digest. Throws std::invalid_argument for
  /// another number of counts than `samples`, and when no site waits.
  std::uint32_t judge(std::span<const float> counts);

  /// The value of the site that waits; returns the step. Throws std::invalid_argument when it is not finite.
  LoopStep tell(double value);

  /// The frame of the site that waits is bad: the site waits again, or, its retries used up, is left out. Returns the
  /// step.
  LoopStep refuse(std::uint32_t refusal);

  /// A step of an earlier loop with the same options; bad frames are counted anew from here. Throws
  /// std::invalid_argument when this loop would have gone elsewhere.
  void replay(const LoopStep& step);

  /// Posterior mean and deviation of the values at all sites.
  void maps(std::span<double> mean, std::span<double> deviation) const;

 private:
  LoopStep finish(double value, std::uint32_t refusal);
  void learn(double value);
  void rescale();
  std::int64_t choose();

  LoopOptions options_;
  std::vector<std::uint8_t> blocked_;
  Engine engine_;
  std::vector<double> values_, standardised_;
  double offset_ = 0.0, scale_ = 1.0;
  std::size_t rescale_at_;
  std::uint64_t step_ = 0;
  std::int64_t waiting_ = -1;
  std::size_t attempt_ = 0, bad_running_ = 0;
  std::uint64_t digest_ = 0, last_digest_ = 0;
  std::int64_t last_site_ = -1;
};

/// What a host does in a step. What these throw ends the loop.
struct LoopHost {
  std::function<void(const Visit&, std::span<float> counts)> scan;  ///< fills all counts; the beam at rest afterwards
  std::function<double(const Visit&, std::span<const float> counts)> describe;
  std::function<void(const LoopStep&)> journal;  ///< before the next scan
  std::function<void()> make_safe;               ///< blank; called once, on every way out; may not throw
};

enum class LoopEnd { steps, exhausted, stopped };

/// Steps until `steps` have been made in this call, no site is free, or `stop` is set. `make_safe` is called on every
/// way out. Throws what the host throws, and TooManyBadFrames.
LoopEnd run(Loop& loop, const LoopHost& host, std::uint64_t steps, const std::atomic<bool>& stop);

}  // namespace probewise
