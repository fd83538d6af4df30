// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "allocation_count.hpp"
#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"
#include "probewise/engine.hpp"
#include "probewise/random.hpp"

using namespace probewise;

namespace {

Engine lattice_engine(Kernel kernel) {
  return Engine(GaussianProcess(Candidates::lattice(9, 8, 1.0, 1.0), kernel, Hyperparameters{{2.0, 2.0}, 1.0, 1e-2},
                                0.0, 1.0, Precision::float64));
}

constexpr std::uint64_t PROBLEMS = 200;

class Draw {
 public:
  explicit Draw(std::uint64_t key) : key_(key) {}
  double uniform() {
    const RandomBlock block = philox(key_, 99, next_++);
    return uniform_open(block.word[0], block.word[1]);
  }
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(uniform() * static_cast<double>(limit)); }

 private:
  std::uint64_t key_, next_ = 0;
};

}  // namespace

TEST_CASE("log improvement agrees with the published values in both branches") {
  // SCIENCE 3.9: log h(z) from 50-digit arithmetic
  CHECK(log_improvement(-5.0) == doctest::Approx(-16.74430116266099).epsilon(1e-13));
  CHECK(log_improvement(-10.0) == doctest::Approx(-55.55312203612236).epsilon(1e-13));
  CHECK(log_improvement(-30.0) == doctest::Approx(-457.724653760598).epsilon(1e-12));
  CHECK(log_improvement(-100.0) == doctest::Approx(-5010.12957880025).epsilon(1e-12));
  CHECK(log_improvement(-5.0 + 1e-9) == doctest::Approx(log_improvement(-5.0 - 1e-9)).epsilon(1e-8));
}

TEST_CASE("choose_best breaks ties by the key and skips what is blocked") {
  const std::vector<double> scores(50, 1.0);
  std::vector<std::uint8_t> blocked(50, 0);
  std::set<std::int64_t> winners;
  for (std::uint64_t seed = 0; seed < 40; ++seed) winners.insert(choose_best(scores, blocked, {seed, 0}));
  CHECK(winners.size() > 10);
  CHECK(choose_best(scores, blocked, {3, 1}) == choose_best(scores, blocked, {3, 1}));
  std::fill(blocked.begin(), blocked.end(), std::uint8_t{1});
  CHECK(choose_best(scores, blocked, {0, 0}) == -1);
  blocked[7] = 0;
  const std::vector<double> hopeless(50, -std::numeric_limits<double>::infinity());
  CHECK(choose_best(hopeless, blocked, {0, 0}) == 7);
}

TEST_CASE("keyed_permutation holds every index once") {
  std::vector<std::int64_t> order(100);
  keyed_permutation({5, 2}, order);
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) CHECK(sorted[i] == static_cast<std::int64_t>(i));
  CHECK(order != sorted);
}

TEST_CASE("a believer batch holds distinct candidates and leaves the process as it was") {
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern52}) {
    Engine engine = lattice_engine(kernel);
    const std::vector<std::int64_t> told{10, 40};
    const std::vector<double> values{1.0, -1.0};
    engine.surrogate().tell(told, values);
    const double before = engine.surrogate().deviation()[30];
    ChoiceRequest request;
    request.policy = Policy::upper_confidence_bound;
    std::vector<std::int64_t> chosen(100);
    const std::size_t count = engine.choose(request, chosen);
    CHECK(count == 70);
    const std::set<std::int64_t> distinct(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(count));
    CHECK(distinct.size() == count);
    CHECK(distinct.count(10) == 0);
    CHECK(engine.surrogate().deviation()[30] == before);
    CHECK(engine.surrogate().indices().size() == 2);
  }
}

TEST_CASE("a batch that fails half way leaves the process as it was") {
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern52}) {
    Engine engine = lattice_engine(kernel);
    const std::vector<std::int64_t> told{10, 11};
    const std::vector<double> values{0.0, 0.99e150};  // the slope goes on beyond 1e150, which cannot be told
    engine.surrogate().tell(told, values);
    const double mean = engine.surrogate().mean()[12], deviation = engine.surrogate().deviation()[12];
    REQUIRE(mean > 1e150);
    ChoiceRequest request;
    request.policy = Policy::upper_confidence_bound;
    std::vector<std::int64_t> chosen(3);
    CHECK_THROWS_AS(engine.choose(request, chosen), std::invalid_argument);
    CHECK(engine.surrogate().indices().size() == 2);
    CHECK(engine.surrogate().mean()[12] == mean);
    CHECK(engine.surrogate().deviation()[12] == deviation);
    CHECK(chosen[0] == 12);
  }
}

TEST_CASE("every plan makes the same choices on random problems") {
  int differ = 0;
  for (std::uint64_t problem = 0; problem < PROBLEMS; ++problem) {
    Draw draw(problem);
    const std::size_t rows = 1 + draw.below(70), cols = 1 + draw.below(150);
    const Kernel kernels[] = {Kernel::rbf, Kernel::product_matern12, Kernel::product_matern32,
                              Kernel::product_matern52};
    const Kernel kernel = kernels[draw.below(4)];
    const Hyperparameters hyper{{0.7 + 8.0 * draw.uniform(), 0.7 + 8.0 * draw.uniform()},
                                0.5 + draw.uniform(), std::pow(10.0, -1.0 - 3.0 * draw.uniform())};
    std::vector<Engine> engines;
    for (const Plan plan : {Plan::separable, Plan::cached, Plan::lazy}) {
      engines.emplace_back(GaussianProcess(Candidates::lattice(rows, cols, 1.0, 1.0), kernel, hyper, 0.3, 1.0,
                                           Precision::float64, plan));
    }
    const Policy policies[] = {Policy::upper_confidence_bound,     Policy::expected_improvement,
                               Policy::log_expected_improvement,   Policy::probability_of_improvement,
                               Policy::straddle, Policy::target_probability, Policy::max_std};
    ChoiceRequest request;
    request.policy = policies[draw.below(7)];
    request.parameters.beta = 2.0 * draw.uniform();
    request.parameters.low = 0.5;
    request.parameters.high = 1.5;
    std::vector<double> cost(rows * cols);
    for (double& value : cost) value = draw.uniform();
    if (draw.below(3) == 0) {
      request.cost = cost;
      request.cost_weight = draw.uniform() - 0.3;
    }
    std::vector<std::uint8_t> visited(rows * cols);
    request.allow_told = draw.below(4) == 0;
    for (int step = 0; step < 25; ++step) {
      request.key = {problem, static_cast<std::uint64_t>(step)};
      if (draw.below(3) == 0) {  // a mask that opens and closes
        for (auto& value : visited) value = draw.below(3) == 0;
        request.visited = visited;
      }
      request.parameters.best = engines[0].surrogate().largest_told_mean();
      CHECK(engines[2].surrogate().largest_told_mean() == doctest::Approx(request.parameters.best).epsilon(1e-9));
      std::vector<std::int64_t> chosen(draw.below(6) == 0 ? 3 : 1), other(chosen.size());
      request.method = draw.below(2) == 0 ? BatchMethod::believer : BatchMethod::top;
      const std::size_t count = engines[0].choose(request, chosen);
      for (std::size_t e = 1; e < 3; ++e) {
        REQUIRE(engines[e].choose(request, other) == count);
        if (count > 0 && other[0] != chosen[0]) {
          // Two candidates that tie to rounding: scores by the maps of the first.
          const auto score_of = [&](std::int64_t j) {
            const double mean = engines[0].surrogate().mean_at(j);
            const double deviation = engines[0].surrogate().deviation()[static_cast<std::size_t>(j)];
            double out = 0.0;
            score(*request.policy, request.parameters, std::span(&mean, 1), std::span(&deviation, 1),
                  std::span(&out, 1));
            return request.cost.empty() ? out
                                        : out - request.cost_weight * cost[static_cast<std::size_t>(j)];
          };
          CHECK(score_of(other[0]) == doctest::Approx(score_of(chosen[0])).epsilon(1e-10).scale(1.0));
          ++differ;
        }
      }
      if (count == 0) continue;
      const std::int64_t at = draw.below(4) == 0 ? static_cast<std::int64_t>(draw.below(rows * cols)) : chosen[0];
      const double value = std::sin(0.3 * static_cast<double>(at)) + 0.1 * draw.uniform();
      for (Engine& engine : engines) engine.surrogate().tell(std::span(&at, 1), std::span(&value, 1));
      if (draw.below(12) == 0) {
        std::vector<double> values(engines[0].surrogate().values().begin(), engines[0].surrogate().values().end());
        for (double& v : values) v *= 0.9;
        for (Engine& engine : engines) engine.surrogate().set_values(values);
      }
      if (draw.below(20) == 0) {
        Hyperparameters moved = hyper;
        moved.lengthscale[0] *= 1.2;
        for (Engine& engine : engines) engine.surrogate().set_hyperparameters(moved);
      }
      if (draw.below(20) == 0) {
        Engine copy(engines.back());
        engines.pop_back();
        engines.push_back(std::move(copy));
      }
    }
    double worst = 0.0;
    for (std::size_t e = 1; e < 3; ++e) {
      const auto mean = engines[e].surrogate().mean(), mean0 = engines[0].surrogate().mean();
      const auto dev = engines[e].surrogate().deviation(), dev0 = engines[0].surrogate().deviation();
      for (std::size_t j = 0; j < rows * cols; ++j) {
        worst = std::fmax(worst, std::fabs(mean[j] - mean0[j]));
        worst = std::fmax(worst, std::fabs(dev[j] - dev0[j]));
      }
    }
    CHECK(worst < 1e-9);
  }
  MESSAGE("choices that differ by a tie: " << differ);
}

TEST_CASE("path translates the template to the site") {
  Engine engine = lattice_engine(Kernel::rbf);
  std::vector<double> centres(2 * 72, 0.25);
  centres[2 * 5 + 1] = 0.75;
  engine.set_path(std::vector<double>{0.01, -0.01, 0.0, 0.02}, centres);
  const std::span<const double> path = engine.path(5);
  CHECK(path[0] == doctest::Approx(0.26));
  CHECK(path[1] == doctest::Approx(0.74));
  CHECK(path[3] == doctest::Approx(0.77));
  CHECK_THROWS_AS(engine.path(72), std::invalid_argument);
}

TEST_CASE("a step allocates nothing within the rows reserved") {
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern52}) {
    Engine engine = lattice_engine(kernel);
    engine.surrogate().reserve(32);
    engine.set_path(std::vector<double>(20, 0.0), std::vector<double>(2 * 72, 0.5));
    ChoiceRequest request;
    request.policy = Policy::upper_confidence_bound;
    std::int64_t site = engine.step(0, 0.5, request);
    const long before = allocation_count();
    for (int i = 0; i < 20; ++i) site = engine.step(site, 0.1 * i, request);
    CHECK(allocation_count() == before);
  }
}
