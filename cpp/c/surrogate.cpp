// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <atomic>
#include <string>

#include "guard.hpp"
#include "probewise.h"
#include "probewise/engine.hpp"

namespace c = probewise::c;

struct probewise_surrogate {
  probewise::Engine engine;
  std::atomic<bool> busy{false};
};

namespace probewise::c {

Kernel kernel_of(probewise_kernel kernel) {
  switch (kernel) {
    case PROBEWISE_RBF:
      return Kernel::rbf;
    case PROBEWISE_MATERN12:
      return Kernel::matern12;
    case PROBEWISE_MATERN32:
      return Kernel::matern32;
    case PROBEWISE_MATERN52:
      return Kernel::matern52;
    case PROBEWISE_RQ:
      return Kernel::rq;
    case PROBEWISE_PRODUCT_MATERN12:
      return Kernel::product_matern12;
    case PROBEWISE_PRODUCT_MATERN32:
      return Kernel::product_matern32;
    case PROBEWISE_PRODUCT_MATERN52:
      return Kernel::product_matern52;
    default:
      throw std::invalid_argument("kernel is " + std::to_string(kernel) + ", expected 0 to 7 (probewise_kernel)");
  }
}

Policy policy_of(probewise_policy policy) {
  switch (policy) {
    case PROBEWISE_UCB:
      return Policy::upper_confidence_bound;
    case PROBEWISE_EI:
      return Policy::expected_improvement;
    case PROBEWISE_LOG_EI:
      return Policy::log_expected_improvement;
    case PROBEWISE_PI:
      return Policy::probability_of_improvement;
    case PROBEWISE_STRADDLE:
      return Policy::straddle;
    case PROBEWISE_TARGET:
      return Policy::target_probability;
    case PROBEWISE_MAX_STD:
      return Policy::max_std;
    default:
      throw std::invalid_argument("policy is " + std::to_string(policy) + ", expected 0 to 6 (probewise_policy)");
  }
}

}  // namespace probewise::c

extern "C" {

probewise_status probewise_surrogate_create(size_t rows, size_t cols, double dy, double dx, probewise_kernel kernel,
                                            double lengthscale_y, double lengthscale_x, double variance, double noise,
                                            double mean, probewise_surrogate** surrogate, char* message,
                                            size_t message_size) {
  return c::guarded(message, message_size, [&] {
    *c::expected(surrogate, "surrogate") = nullptr;
    probewise::Hyperparameters hyperparameters{{lengthscale_y, lengthscale_x}, variance, noise};
    *surrogate = new probewise_surrogate{probewise::Engine(
        probewise::GaussianProcess(probewise::Candidates::lattice(rows, cols, dy, dx), c::kernel_of(kernel),
                                   std::move(hyperparameters), mean, 1.0, probewise::Precision::float64))};
  });
}

void probewise_surrogate_destroy(probewise_surrogate* surrogate) { delete surrogate; }

probewise_status probewise_surrogate_reserve(probewise_surrogate* surrogate, size_t rows, char* message,
                                             size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(surrogate, "surrogate")->busy);
    surrogate->engine.surrogate().reserve(rows);
  });
}

probewise_status probewise_surrogate_tell(probewise_surrogate* surrogate, const int64_t* indices, const double* values,
                                          size_t count, char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(surrogate, "surrogate")->busy);
    surrogate->engine.surrogate().tell({c::expected(indices, "indices"), count},
                                       {c::expected(values, "values"), count});
  });
}

probewise_status probewise_surrogate_choose(probewise_surrogate* surrogate, probewise_policy policy, double beta,
                                            double xi, double threshold, double low, double high,
                                            const uint8_t* visited, uint64_t seed, uint64_t step, int64_t* chosen,
                                            char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(surrogate, "surrogate")->busy);
    const probewise::GaussianProcess& process = surrogate->engine.surrogate();
    probewise::ChoiceRequest request;
    request.policy = c::policy_of(policy);
    request.parameters = {beta, process.largest_told_mean(), xi, threshold, low, high};
    if (visited != nullptr) request.visited = {visited, process.candidates().size()};
    request.key = {seed, step};
    if (surrogate->engine.choose(request, {c::expected(chosen, "chosen"), 1}) == 0) {
      throw c::Failure(PROBEWISE_EXHAUSTED, "no candidate is free");
    }
  });
}

probewise_status probewise_surrogate_maps(probewise_surrogate* surrogate, double* mean, double* deviation,
                                          size_t candidates, char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(surrogate, "surrogate")->busy);
    const probewise::GaussianProcess& process = surrogate->engine.surrogate();
    if (candidates != process.candidates().size()) {
      throw std::invalid_argument("candidates is " + std::to_string(candidates) + ", expected " +
                                  std::to_string(process.candidates().size()));
    }
    c::expected(mean, "mean");
    c::expected(deviation, "deviation");
    const probewise::MapView means = process.mean(), deviations = process.deviation();
    for (std::size_t i = 0; i < candidates; ++i) {
      mean[i] = means[i];
      deviation[i] = deviations[i];
    }
  });
}

probewise_status probewise_surrogate_log_likelihood(probewise_surrogate* surrogate, double* value, char* message,
                                                    size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(surrogate, "surrogate")->busy);
    *c::expected(value, "value") = surrogate->engine.surrogate().log_marginal_likelihood();
  });
}

}  // extern "C"
