// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/acquisition/policies.hpp"

#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "acquisition/level.hpp"
#include "acquisition/policy_body.hpp"

namespace probewise {

namespace {

constexpr std::array<std::pair<std::string_view, Policy>, 7> policy_names{{{"ucb", Policy::upper_confidence_bound},
                                                                           {"ei", Policy::expected_improvement},
                                                                           {"log-ei", Policy::log_expected_improvement},
                                                                           {"pi", Policy::probability_of_improvement},
                                                                           {"straddle", Policy::straddle},
                                                                           {"target", Policy::target_probability},
                                                                           {"max-std", Policy::max_std}}};

template <class T>
void score_maps(Policy policy, const PolicyParameters& parameters, std::span<const T> mean,
                std::span<const T> deviation, std::span<double> scores) {
  const std::size_t n = mean.size();
  const AcquisitionLoops& loops = acquisition_loops();
  const auto each = [&](auto function) {
    for (std::size_t j = 0; j < n; ++j) {
      scores[j] = function(static_cast<double>(mean[j]), static_cast<double>(deviation[j]), parameters);
    }
  };
  switch (policy) {
    case Policy::upper_confidence_bound:
      if constexpr (std::is_same_v<T, double>) {
        loops.bound_f64(n, parameters.beta, mean.data(), deviation.data(), scores.data());
      } else {
        loops.bound_f32(n, parameters.beta, mean.data(), deviation.data(), scores.data());
      }
      break;
    case Policy::straddle:
      if constexpr (std::is_same_v<T, double>) {
        loops.straddle_f64(n, parameters.beta, parameters.threshold, mean.data(), deviation.data(), scores.data());
      } else {
        loops.straddle_f32(n, parameters.beta, parameters.threshold, mean.data(), deviation.data(), scores.data());
      }
      break;
    case Policy::expected_improvement:
      each(expected_improvement);
      break;
    case Policy::log_expected_improvement:
      each(log_expected_improvement);
      break;
    case Policy::probability_of_improvement:
      each(probability_of_improvement);
      break;
    case Policy::target_probability:
      each(target_probability);
      break;
    case Policy::max_std:
      each([](double, double sigma, const PolicyParameters&) { return sigma; });
      break;
  }
}

}  // namespace

Policy parse_policy(std::string_view name) {
  std::string known;
  for (const auto& [text, policy] : policy_names) {
    if (text == name) return policy;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw std::invalid_argument("acquisition is '" + std::string(name) + "', expected one of " + known);
}

double log_improvement(double z) noexcept { return body::log_improvement(z); }

double expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  return body::expected_improvement(mean, deviation, parameters);
}

double log_expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  return body::log_expected_improvement(mean, deviation, parameters);
}

double probability_of_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  return body::probability_of_improvement(mean, deviation, parameters);
}

double target_probability(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  return body::target_probability(mean, deviation, parameters);
}

void score(Policy policy, const PolicyParameters& parameters, std::span<const double> mean,
           std::span<const double> deviation, std::span<double> scores) {
  score_maps(policy, parameters, mean, deviation, scores);
}

void score(Policy policy, const PolicyParameters& parameters, std::span<const float> mean,
           std::span<const float> deviation, std::span<double> scores) {
  score_maps(policy, parameters, mean, deviation, scores);
}

double largest_score(Policy policy, const PolicyParameters& parameters, double low, double high,
                     double deviation) noexcept {
  switch (policy) {
    case Policy::upper_confidence_bound:
      return high + parameters.beta * deviation;
    case Policy::straddle:
      return parameters.beta * deviation -
             std::fmax(std::fmax(low - parameters.threshold, parameters.threshold - high), 0.0);
    case Policy::expected_improvement:
      return expected_improvement(high, deviation, parameters);
    case Policy::log_expected_improvement:
      return log_expected_improvement(high, deviation, parameters);
    case Policy::probability_of_improvement:  // over the incumbent a smaller deviation scores more
      return high - parameters.best - parameters.xi > 0.0 ? 1.0
                                                          : probability_of_improvement(high, deviation, parameters);
    case Policy::target_probability: {
      const double apart = std::fmax(parameters.low - high, low - parameters.high);
      if (apart < 0.0) return 1.0;
      return deviation > 0.0 ? body::normal_below(-apart / deviation) : 0.0;
    }
    case Policy::max_std:
      break;
  }
  return deviation;
}

}  // namespace probewise
