// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "probewise/surrogate/candidates.hpp"
#include "probewise/surrogate/factor.hpp"
#include "probewise/surrogate/kernels.hpp"
#include "probewise/surrogate/prior.hpp"

namespace probewise {

class Maps;
class Tiles;

/// Of the rows of V, the products and the maps; factor and solves are float64 always. float16 stores V so, on the
/// cached plan alone; products and maps are float32.
enum class Precision { float16, float32, float64 };

/// Throws std::invalid_argument when `name` is none of them.
Precision parse_precision(std::string_view name);

/// separable: a lattice and a separable kernel; a row of V is one small matrix product and is never stored.
/// cached: V is kept, (n, candidates).
/// lazy: as separable, for very many candidates; a tile of the maps takes told values when it is looked at.
enum class Plan { separable, cached, lazy };

/// A map over all candidates; exactly one of the two is not null.
struct MapView {
  const double* f64 = nullptr;
  const float* f32 = nullptr;
  std::size_t size = 0;
  double operator[](std::size_t i) const noexcept { return f64 != nullptr ? f64[i] : static_cast<double>(f32[i]); }
};

/// Exact Gaussian process whose posterior mean and deviation at all candidates are current after every `tell`.
/// The prior mean is constant; a second value at a told candidate is a further row (a replicate).
class GaussianProcess {
 public:
  /// `plan`: none takes the one that suits; all agree to rounding.
  GaussianProcess(Candidates candidates, Kernel kernel, Hyperparameters hyperparameters, double mean_constant,
                  double alpha, Precision precision, std::optional<Plan> plan = std::nullopt);
  GaussianProcess(const GaussianProcess& other);
  GaussianProcess(GaussianProcess&&) noexcept;
  GaussianProcess& operator=(const GaussianProcess&) = delete;
  GaussianProcess& operator=(GaussianProcess&&) = delete;
  ~GaussianProcess();

  /// Adds values at candidates: all of them or, when it throws, none. O(n) per candidate and value.
  /// `noise` (empty: none) is the variance of each value beyond the hyperparameter's, which all values have.
  /// Throws std::invalid_argument (index out of range, value or noise not finite, lengths differ),
  /// NotPositiveDefinite.
  void tell(std::span<const std::int64_t> indices, std::span<const double> values, std::span<const double> noise = {});

  /// Replaces all told values, in the order told, and keeps their noise and the factor.
  void set_values(std::span<const double> values);

  /// Rebuilds factor and maps under other hyperparameters.
  void set_hyperparameters(const Hyperparameters& hyperparameters);

  void reset();

  /// Room for `rows` told values, so that `tell` allocates nothing before they are reached.
  void reserve(std::size_t rows);

  double log_marginal_likelihood() const;

  /// Generalised-least-squares estimate of the constant mean from the told values; throws std::invalid_argument when
  /// none is told.
  double level() const;

  /// One joint draw of the posterior at all candidates, by Matheron's rule from a draw of the prior.
  void sample(std::uint64_t key, std::uint64_t stream, std::span<double> out);

  /// How `sample` draws the prior.
  PriorMethod sampling() const noexcept { return prior_.method(); }

  /// A state to come back to: `rewind` forgets what was told since the last `remember`.
  void remember();
  void rewind();

  /// Current maps. The lazy plan brings them up to date in this call, and a view of it says nothing of later values.
  MapView mean() const;
  MapView deviation() const;

  /// The mean at one candidate, and the largest at a told one (`mean_constant` when none is); on the lazy plan they
  /// touch one tile and none.
  double mean_at(std::int64_t index) const;
  double largest_told_mean() const;

  /// What a choice needs on the lazy plan; null on others.
  Tiles* tiles() const noexcept;

  std::span<const std::int64_t> indices() const noexcept { return told_; }
  std::span<const double> values() const noexcept { return values_; }

  /// Of each told value, beyond that of the hyperparameters.
  std::span<const double> noise() const noexcept { return noise_; }
  const Candidates& candidates() const noexcept { return candidates_; }
  const Hyperparameters& hyperparameters() const noexcept { return hyperparameters_; }
  Kernel kernel() const noexcept { return kernel_; }
  Plan plan() const noexcept { return plan_; }
  Precision precision() const noexcept { return precision_; }
  double mean_constant() const noexcept { return mean_constant_; }
  double alpha() const noexcept { return alpha_; }

  /// How far the maps have been found off at a candidate about to be told, by what the factor says of it: the mean in
  /// units of amplitude and values, the variance in units of the prior's. Past 1e-8 (float32: 1e-3, float16: 1e-2) they
  /// are rebuilt, if the told values have grown by half since the last time. The lazy plan forms its maps anew and has
  /// none.
  double drift() const noexcept { return drift_; }
  std::size_t rebuilds() const noexcept { return rebuilds_; }

  /// Largest jitter added to the noise of a row, in units of the variance; 0 when none was needed.
  double jitter() const noexcept;

 private:
  void append(std::int64_t index, double value, double noise);
  void rebuild();
  /// False, and nothing done, when a pivot needs jitter.
  bool rebuild_blocked(const std::vector<std::int64_t>& told, const std::vector<double>& values,
                       const std::vector<double>& noise);
  void observe_drift(std::int64_t index, double explained);

  Candidates candidates_;
  Kernel kernel_;
  Hyperparameters hyperparameters_;
  double mean_constant_, alpha_;
  Precision precision_;
  Plan plan_;
  Factor factor_;
  std::vector<std::int64_t> told_;
  std::vector<double> values_, noise_;
  std::vector<double> z_;        // L^-1 (y - m)
  std::vector<double> jitters_;  // of each row, in units of the variance
  std::vector<double> row_, weight_;
  std::unique_ptr<Maps> maps_;
  PriorSampler prior_;
  std::size_t remembered_ = 0;
  bool may_rewind_ = false;
  double drift_ = 0.0, largest_value_ = 0.0;
  std::size_t rebuilds_ = 0, rebuilt_at_ = 0;
};

}  // namespace probewise
