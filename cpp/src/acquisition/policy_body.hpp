// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"
#include "probewise/portable.hpp"
#include "probewise/random.hpp"

namespace probewise {

/// The candidate of the smallest rank wins a tie.
PROBEWISE_HD uint64_t tie_rank(ChoiceKey key, size_t index) {
  const RandomBlock block = philox(key.seed, key.stream, index);
  return (static_cast<uint64_t>(block.word[0]) << 32) | block.word[1];
}

}  // namespace probewise

namespace probewise::body {

constexpr double half_log_two_pi = 0.91893853320467274178, root_of_two = 1.41421356237309504880;

PROBEWISE_HD double normal_density(double z) { return exp(-0.5 * z * z - half_log_two_pi); }
PROBEWISE_HD double normal_below(double z) { return 0.5 * erfc(-z / root_of_two); }

PROBEWISE_HD double log_improvement(double z) {
  if (z > -5.0) return log(normal_density(z) + z * normal_below(z));
  // phi(z) (1 - x R(x)) with x = -z and Mills' ratio R as its continued fraction 1/(x + 1/(x + 2/(x + ...))):
  // 1 - x R = c/(x + c) without cancellation. Twenty levels converge to 1e-16 from x = 5 on.
  const double x = -z;
  double tail = x;
  for (int level = 20; level >= 2; --level) tail = x + level / tail;
  const double c = 1.0 / tail;
  return -0.5 * x * x - half_log_two_pi + log(c / (x + c));
}

PROBEWISE_HD double expected_improvement(double mean, double deviation, const PolicyParameters& parameters) {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? gain : 0.0;
  const double z = gain / deviation;
  if (z > -5.0) return gain * normal_below(z) + deviation * normal_density(z);
  return deviation * exp(log_improvement(z));
}

PROBEWISE_HD double log_expected_improvement(double mean, double deviation, const PolicyParameters& parameters) {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? log(gain) : -HUGE_VAL;
  const double z = gain / deviation;
  // h(z) -> z: past this the sum below would only lose the digits of z when it is huge.
  if (z > 40.0) return log(gain);
  return log(deviation) + log_improvement(z);
}

PROBEWISE_HD double probability_of_improvement(double mean, double deviation, const PolicyParameters& parameters) {
  const double gain = mean - parameters.best - parameters.xi;
  if (!(deviation > 0.0)) return gain > 0.0 ? 1.0 : 0.0;
  return normal_below(gain / deviation);
}

PROBEWISE_HD double target_probability(double mean, double deviation, const PolicyParameters& parameters) {
  if (!(deviation > 0.0)) return mean > parameters.low && mean < parameters.high ? 1.0 : 0.0;
  const double a = (parameters.low - mean) / deviation, b = (parameters.high - mean) / deviation;
  // Taken on the side where both tails are small, so that no digits cancel.
  return a > 0.0 ? normal_below(-a) - normal_below(-b) : normal_below(b) - normal_below(a);
}

PROBEWISE_HD double score(Policy policy, const PolicyParameters& parameters, double mean, double deviation) {
  switch (policy) {
    case Policy::upper_confidence_bound:
      return mean + parameters.beta * deviation;
    case Policy::expected_improvement:
      return body::expected_improvement(mean, deviation, parameters);
    case Policy::log_expected_improvement:
      return body::log_expected_improvement(mean, deviation, parameters);
    case Policy::probability_of_improvement:
      return body::probability_of_improvement(mean, deviation, parameters);
    case Policy::straddle:
      return parameters.beta * deviation - fabs(mean - parameters.threshold);
    case Policy::target_probability:
      return body::target_probability(mean, deviation, parameters);
    case Policy::max_std:
      break;
  }
  return deviation;
}

}  // namespace probewise::body
