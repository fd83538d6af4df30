// SPDX-License-Identifier: BSD-3-Clause
// The surrogate and the choice, emulated with real threads, beside the CPU's code.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "cuda/on_host/on_host.hpp"
#include "cuda/surrogate.hpp"
#include "probewise/errors.hpp"

using probewise::Candidates;
using probewise::ChoiceRequest;
using probewise::Engine;
using probewise::GaussianProcess;
using probewise::Hyperparameters;
using probewise::Kernel;
using probewise::Precision;
using probewise::cuda::Surrogate;

namespace {

struct Pair {
  Engine engine;
  Surrogate surrogate;
};

Hyperparameters parameters(std::size_t axes) { return {std::vector<double>(axes, 1.7), 1.3, 0.02}; }

Candidates lattice() { return Candidates::lattice(9, 21, 1.0, 0.8); }

Candidates cloud() {
  std::vector<double> places;
  for (int i = 0; i < 3 * 50; ++i) places.push_back(3 * std::sin(1.0 + 7.7 * i));
  return Candidates::points(places, 3);
}

Pair make(const Candidates& candidates, Kernel kernel, Precision precision = Precision::float64) {
  const Hyperparameters told = parameters(candidates.axes());
  return {Engine(GaussianProcess(candidates, kernel, told, 0.3, 0.7, precision)),
          Surrogate(candidates, kernel, told, 0.3, 0.7, precision, 0, nullptr)};
}

void tell(Pair& pair, std::int64_t index, double value, double noise = 0.0) {
  pair.engine.surrogate().tell(std::span(&index, 1), std::span(&value, 1), std::span(&noise, 1));
  pair.surrogate.tell(std::span(&index, 1), std::span(&value, 1), std::span(&noise, 1));
}

/// Largest difference of both maps.
double apart(Pair& pair) {
  const std::size_t size = pair.surrogate.candidates().size();
  const bool wide = pair.surrogate.precision() == Precision::float64;
  std::vector<double> mean(size), deviation(size);
  std::vector<float> narrow_mean(size), narrow_deviation(size);
  pair.surrogate.copy_mean(wide ? static_cast<void*>(mean.data()) : narrow_mean.data());
  pair.surrogate.copy_deviation(wide ? static_cast<void*>(deviation.data()) : narrow_deviation.data());
  double worst = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const double m = wide ? mean[i] : static_cast<double>(narrow_mean[i]);
    const double d = wide ? deviation[i] : static_cast<double>(narrow_deviation[i]);
    worst = std::max({worst, std::fabs(m - pair.engine.surrogate().mean()[i]),
                      std::fabs(d - pair.engine.surrogate().deviation()[i])});
  }
  return worst;
}

ChoiceRequest request(std::string_view policy, std::uint64_t stream = 0) {
  ChoiceRequest asked;
  asked.policy = probewise::parse_policy(policy);
  asked.parameters.threshold = 0.2;
  asked.parameters.low = 0.1;
  asked.parameters.high = 0.5;
  asked.key = {7, stream};
  return asked;
}

std::vector<std::int64_t> told_indices() { return {40, 3, 3, 77, 12, 49, 20, 21, 22, 0, 48}; }

}  // namespace

TEST_CASE("emulated maps of both plans follow the CPU's for every kernel") {
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern12, Kernel::matern32, Kernel::matern52, Kernel::rq,
                              Kernel::product_matern12, Kernel::product_matern32, Kernel::product_matern52}) {
    for (const bool on_lattice : {true, false}) {
      Pair pair = make(on_lattice ? lattice() : cloud(), kernel);
      CHECK(apart(pair) == 0);
      for (const std::int64_t index : told_indices()) {
        if (on_lattice || index < 50) tell(pair, index, std::sin(static_cast<double>(index)), index % 2 == 0 ? 0.1 : 0);
      }
      CHECK(apart(pair) < 1e-12);  // condition number about 1e3, rounding in another order
      std::vector<double> values(pair.surrogate.values().begin(), pair.surrogate.values().end());
      std::reverse(values.begin(), values.end());
      pair.engine.surrogate().set_values(values);
      pair.surrogate.set_values(values);
      CHECK(apart(pair) < 1e-12);
      Hyperparameters other = parameters(pair.surrogate.candidates().axes());
      other.lengthscale[0] = 2.5;
      pair.engine.surrogate().set_hyperparameters(other);
      pair.surrogate.set_hyperparameters(other);
      CHECK(apart(pair) < 1e-12);
      CHECK(pair.surrogate.log_marginal_likelihood() ==
            doctest::Approx(pair.engine.surrogate().log_marginal_likelihood()).epsilon(1e-10));
      CHECK(pair.surrogate.level() == doctest::Approx(pair.engine.surrogate().level()).epsilon(1e-10));
      pair.engine.surrogate().reset();
      pair.surrogate.reset();
      CHECK(apart(pair) == 0);
    }
  }
}

TEST_CASE("emulated float32 maps stay within the CPU's error, past one slab of rows") {
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern52}) {
    Pair pair = make(lattice(), kernel, Precision::float32);
    for (std::int64_t i = 0; i < 70; ++i) tell(pair, (i * 31) % 189, std::cos(static_cast<double>(i)));
    CHECK(apart(pair) < 2e-4);  // 70 roundings of either, amplified by 1/noise
  }
}

TEST_CASE("emulated choices are the CPU's for every policy, batch and mask") {
  for (const Kernel kernel : {Kernel::product_matern52, Kernel::matern52}) {
    Pair pair = make(lattice(), kernel);
    const std::size_t size = pair.surrogate.candidates().size();
    std::vector<std::uint8_t> visited(size, 0);
    std::vector<double> cost(size);
    for (std::size_t i = 0; i < size; ++i) {
      visited[i] = i % 3 == 0;
      cost[i] = static_cast<double>(i % 21) / 21;
    }
    std::uint64_t stream = 0;
    for (const std::int64_t index : {40, 150, 40}) {
      tell(pair, index, std::sin(static_cast<double>(index)));
      for (const char* policy : {"ucb", "ei", "log-ei", "pi", "straddle", "target", "max-std"}) {
        for (const int kind : {0, 1, 2, 3}) {
          ChoiceRequest asked = request(policy, ++stream);
          if (kind == 1) asked.visited = visited;
          if (kind == 2) {
            asked.cost = cost;
            asked.cost_weight = 0.3;
            asked.allow_told = true;
          }
          if (kind == 3) asked.method = probewise::BatchMethod::top;
          std::vector<std::int64_t> chosen(kind == 0 || kind == 3 ? 3 : 1), known = chosen;
          CHECK(pair.surrogate.choose(asked, chosen) == pair.engine.choose(asked, known));
          CHECK(chosen == known);
        }
      }
    }
    CHECK(apart(pair) < 1e-12);  // batches were forgotten again
  }
}

TEST_CASE("an emulated tie goes to the candidate that the key says") {
  Pair pair = make(lattice(), Kernel::rbf);
  std::vector<std::int64_t> firsts;
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    std::int64_t chosen = -1, known = -1;
    pair.surrogate.choose(request("ucb", stream), std::span(&chosen, 1));
    pair.engine.choose(request("ucb", stream), std::span(&known, 1));
    CHECK(chosen == known);
    firsts.push_back(chosen);
  }
  CHECK(std::count(firsts.begin(), firsts.end(), firsts[0]) < 20);
  const std::vector<std::uint8_t> all(pair.surrogate.candidates().size(), 1);
  ChoiceRequest asked = request("ucb");
  asked.visited = all;
  std::int64_t chosen = -1;
  CHECK(pair.surrogate.choose(asked, std::span(&chosen, 1)) == 0);
}

TEST_CASE("what is wrong is refused as on the CPU and changes nothing") {
  Pair pair = make(lattice(), Kernel::matern32);
  tell(pair, 5, 1.0);
  const std::vector<std::int64_t> indices{1, 999};
  const std::vector<double> values{1.0, 2.0};
  CHECK_THROWS_AS(pair.surrogate.tell(indices, values), std::invalid_argument);
  CHECK_THROWS_AS(pair.surrogate.tell(std::vector<std::int64_t>{1}, values), std::invalid_argument);
  CHECK_THROWS_AS(pair.surrogate.set_values(values), std::invalid_argument);
  ChoiceRequest thompson = request("ucb");
  thompson.policy.reset();
  std::int64_t chosen = -1;
  CHECK_THROWS_AS(pair.surrogate.choose(thompson, std::span(&chosen, 1)), std::invalid_argument);
  CHECK(pair.surrogate.indices().size() == 1);
  CHECK(apart(pair) < 1e-13);
}

TEST_CASE("after a device was lost at any call the told values are those before it") {
  for (int calls = 0; calls < 12; ++calls) {
    Pair pair = make(lattice(), Kernel::rbf);
    tell(pair, 5, 1.0);
    tell(pair, 50, 2.0);
    probewise::cuda::lose_device_after(calls);
    const std::vector<std::int64_t> indices{7, 8, 9, 10};
    const std::vector<double> values{1.0, 2.0, 3.0, 4.0};
    CHECK_THROWS_AS(pair.surrogate.tell(indices, values), probewise::CudaError);
    CHECK(pair.surrogate.indices().size() == 2);
    CHECK_THROWS_AS(pair.surrogate.set_hyperparameters({{2.0, 2.0}, 1.0, 0.1}), probewise::CudaError);
    CHECK_THROWS_AS(pair.surrogate.reset(), probewise::CudaError);
    probewise::cuda::lose_device_after(-1);
    CHECK(pair.surrogate.hyperparameters().variance == 1.3);
  }
}
