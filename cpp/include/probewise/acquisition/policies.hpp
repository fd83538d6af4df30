// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace probewise {

/// Acquisition functions of posterior mean and deviation; all are maximised.
enum class Policy {
  upper_confidence_bound,
  expected_improvement,
  log_expected_improvement,
  probability_of_improvement,
  straddle,
  target_probability,
  max_std
};

/// Throws std::invalid_argument when `name` (ucb, ei, log-ei, pi, straddle, target, max-std) is not one of them.
Policy parse_policy(std::string_view name);

struct PolicyParameters {
  double beta = 1.0;             ///< ucb, straddle
  double best = 0.0;             ///< incumbent of ei, log-ei, pi
  double xi = 0.0;               ///< margin over the incumbent
  double threshold = 0.0;        ///< straddle
  double low = 0.0, high = 0.0;  ///< target
};

/// log of h(z) = phi(z) + z Phi(z), the expected improvement of a unit normal, to 1e-13 relative for all z.
double log_improvement(double z) noexcept;

double expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept;
double log_expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept;
double probability_of_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept;
double target_probability(double mean, double deviation, const PolicyParameters& parameters) noexcept;

/// scores[j] for every candidate, from maps of either precision.
void score(Policy policy, const PolicyParameters& parameters, std::span<const double> mean,
           std::span<const double> deviation, std::span<double> scores);
void score(Policy policy, const PolicyParameters& parameters, std::span<const float> mean,
           std::span<const float> deviation, std::span<double> scores);

/// No posterior whose mean lies in [low, high] and whose deviation is at most `deviation` scores more.
double largest_score(Policy policy, const PolicyParameters& parameters, double low, double high,
                     double deviation) noexcept;

}  // namespace probewise
