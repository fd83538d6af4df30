// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/acquisition/policies.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "acquisition/level.hpp"

namespace probewise {

namespace {

constexpr std::array<std::pair<std::string_view, Policy>, 7> policy_names{{{"ucb", Policy::upper_confidence_bound},
                                                                           {"ei", Policy::expected_improvement},
                                                                           {"log-ei", Policy::log_expected_improvement},
                                                                           {"pi", Policy::probability_of_improvement},
                                                                           {"straddle", Policy::straddle},
                                                                           {"target", Policy::target_probability},
                                                                           {"max-std", Policy::max_std}}};

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double half_log_two_pi = 0.91893853320467274178;

double normal_density(double z) noexcept { return std::exp(-0.5 * z * z - half_log_two_pi); }
double normal_below(double z) noexcept { return 0.5 * std::erfc(-z / M_SQRT2); }

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

double log_improvement(double z) noexcept {
  if (z > -5.0) return std::log(normal_density(z) + z * normal_below(z));
  // phi(z) (1 - x R(x)) with x = -z and Mills' ratio R as its continued fraction 1/(x + 1/(x + 2/(x + ...))):
  // 1 - x R = c/(x + c) without cancellation. Twenty levels converge to 1e-16 from x = 5 on.
  const double x = -z;
  double tail = x;
  for (int level = 20; level >= 2; --level) tail = x + level / tail;
  const double c = 1.0 / tail;
  return -0.5 * x * x - half_log_two_pi + std::log(c / (x + c));
}

double expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? gain : 0.0;
  const double z = gain / deviation;
  if (z > -5.0) return gain * normal_below(z) + deviation * normal_density(z);
  return deviation * std::exp(log_improvement(z));
}

double log_expected_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? std::log(gain) : -infinity;
  const double z = gain / deviation;
  // h(z) -> z: past this the sum below would only lose the digits of z when it is huge.
  if (z > 40.0) return std::log(gain);
  return std::log(deviation) + log_improvement(z);
}

double probability_of_improvement(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? 1.0 : 0.0;
  return normal_below(gain / deviation);
}

double target_probability(double mean, double deviation, const PolicyParameters& parameters) noexcept {
  if (!(deviation > 0.0)) return mean > parameters.low && mean < parameters.high ? 1.0 : 0.0;
  const double a = (parameters.low - mean) / deviation, b = (parameters.high - mean) / deviation;
  // Taken on the side where both tails are small, so that no digits cancel.
  return a > 0.0 ? normal_below(-a) - normal_below(-b) : normal_below(b) - normal_below(a);
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
      return deviation > 0.0 ? normal_below(-apart / deviation) : 0.0;
    }
    case Policy::max_std:
      break;
  }
  return deviation;
}

}  // namespace probewise
