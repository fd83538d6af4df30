// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
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
  constexpr std::uint64_t problems = 1000;
  constexpr Kernel kernels[] = {Kernel::rbf, Kernel::product_matern12, Kernel::product_matern32,
                                Kernel::product_matern52};
  int ties = 0;
  for (std::uint64_t problem = 0; problem < problems; ++problem) {
    Draw draw(problem);
    const std::size_t rows = 1 + draw.below(60), cols = 1 + draw.below(140), size = rows * cols;
    const Kernel kernel = kernels[draw.below(4)];
    const Hyperparameters hyperparameters{{0.7 + 8.0 * draw.uniform(), 0.7 + 8.0 * draw.uniform()},
                                          0.5 + draw.uniform(),
                                          std::pow(10.0, -1.0 - 3.0 * draw.uniform())};
    std::vector<Engine> engines;
    for (const Plan plan : {Plan::separable, Plan::cached, Plan::lazy}) {
      engines.emplace_back(GaussianProcess(Candidates::lattice(rows, cols, 1.0, 1.0), kernel, hyperparameters, 0.3, 1.0,
                                           Precision::float64, plan));
    }
    GaussianProcess& first = engines[0].surrogate();
    ChoiceRequest request;
    request.policy = static_cast<Policy>(draw.below(7));
    request.parameters.beta = 2.0 * draw.uniform();
    request.parameters.low = 0.5;
    request.parameters.high = 1.5;
    request.allow_told = draw.below(4) == 0;
    std::vector<double> cost(size);
    for (double& value : cost) value = draw.uniform();
    if (draw.below(3) == 0) {
      request.cost = cost;
      request.cost_weight = draw.uniform() - 0.3;
    }
    const auto score_of = [&](std::int64_t at) {
      const double mean = first.mean_at(at), deviation = first.deviation()[static_cast<std::size_t>(at)];
      double out = 0.0;
      score(*request.policy, request.parameters, std::span(&mean, 1), std::span(&deviation, 1), std::span(&out, 1));
      return request.cost.empty() ? out : out - request.cost_weight * cost[static_cast<std::size_t>(at)];
    };
    const auto tell = [&](std::int64_t at) {
      const double value = std::sin(0.3 * static_cast<double>(at)) + 0.1 * draw.uniform();
      for (Engine& engine : engines) engine.surrogate().tell(std::span(&at, 1), std::span(&value, 1));
    };
    for (std::size_t i = draw.below(4) == 0 ? 70 : draw.below(6); i > 0; --i) {
      tell(static_cast<std::int64_t>(draw.below(size)));
    }
    std::vector<std::uint8_t> visited(size);
    for (int step = 0; step < 12; ++step) {
      request.key = {problem, static_cast<std::uint64_t>(step)};
      if (draw.below(3) == 0) {  // a mask that closes and opens again
        for (std::uint8_t& value : visited) value = draw.below(3) == 0;
        request.visited = visited;
      }
      request.parameters.best = first.largest_told_mean();
      std::vector<std::int64_t> chosen(draw.below(6) == 0 ? 3 : 1), other(chosen.size());
      request.method = draw.below(2) == 0 ? BatchMethod::believer : BatchMethod::top;
      const std::size_t count = engines[0].choose(request, chosen);
      for (std::size_t e = 1; e < engines.size(); ++e) {
        CHECK(engines[e].surrogate().largest_told_mean() == doctest::Approx(request.parameters.best).epsilon(1e-10));
        REQUIRE(engines[e].choose(request, other) == count);
        if (count == 0 || other[0] == chosen[0]) continue;
        ++ties;
        CHECK(score_of(other[0]) == doctest::Approx(score_of(chosen[0])).epsilon(1e-10).scale(1.0));
      }
      if (count == 0) continue;
      tell(draw.below(4) == 0 ? static_cast<std::int64_t>(draw.below(size)) : chosen[0]);
      if (draw.below(12) == 0) {
        std::vector<double> values(first.values().begin(), first.values().end());
        for (double& value : values) value *= 0.9;
        for (Engine& engine : engines) engine.surrogate().set_values(values);
      }
      if (draw.below(12) == 0) {
        Hyperparameters moved = hyperparameters;
        moved.lengthscale[0] *= 0.8 + 0.4 * draw.uniform();
        for (Engine& engine : engines) engine.surrogate().set_hyperparameters(moved);
      }
      if (draw.below(12) == 0) {
        Engine copy(engines.back());
        engines.pop_back();
        engines.push_back(std::move(copy));
      }
    }
    double apart = 0.0;
    const MapView mean = first.mean(), deviation = first.deviation();
    for (std::size_t e = 1; e < engines.size(); ++e) {
      const MapView other_mean = engines[e].surrogate().mean(), other_deviation = engines[e].surrogate().deviation();
      for (std::size_t j = 0; j < size; ++j) {
        apart = std::fmax(apart, std::fabs(other_mean[j] - mean[j]));
        apart = std::fmax(apart, std::fabs(other_deviation[j] - deviation[j]));
      }
    }
    // Rounding of solves with a condition number up to 1e6, and the root of variances of 1e-4.
    CHECK(apart < 1e-9);
  }
  CHECK(ties < 40);  // of some 20,000 choices; equal scores that rounding tells apart
}

TEST_CASE("a lazy map that is read or asked at one candidate is current") {
  const Hyperparameters hyperparameters{{3.0, 4.0}, 1.2, 1e-2};
  GaussianProcess lazy(Candidates::lattice(50, 90, 1.0, 1.0), Kernel::product_matern32, hyperparameters, 0.1, 1.0,
                       Precision::float64, Plan::lazy);
  GaussianProcess eager(Candidates::lattice(50, 90, 1.0, 1.0), Kernel::product_matern32, hyperparameters, 0.1, 1.0,
                        Precision::float64, Plan::separable);
  REQUIRE(lazy.plan() == Plan::lazy);
  REQUIRE(eager.tiles() == nullptr);
  for (std::int64_t i = 0; i < 30; ++i) {
    const std::int64_t at = i * 997 % 4500;
    const double value = std::sin(static_cast<double>(i));
    lazy.tell(std::span(&at, 1), std::span(&value, 1));
    eager.tell(std::span(&at, 1), std::span(&value, 1));
    CHECK(lazy.mean_at(at + 1) == doctest::Approx(eager.mean_at(at + 1)).epsilon(1e-11));
  }
  std::vector<double> drawn(4500), expected(4500);
  lazy.sample(4, 2, drawn);
  eager.sample(4, 2, expected);
  for (std::size_t j = 0; j < 4500; ++j) {
    CHECK(lazy.deviation()[j] == doctest::Approx(eager.deviation()[j]).epsilon(1e-10));
    CHECK(drawn[j] == doctest::Approx(expected[j]).epsilon(1e-9));
  }
}

TEST_CASE("a plan that the candidates or the kernel do not allow is refused") {
  const Hyperparameters hyperparameters{{3.0, 4.0}, 1.0, 1e-2};
  const auto make = [&](Candidates candidates, Kernel kernel, Plan plan) {
    return GaussianProcess(std::move(candidates), kernel, hyperparameters, 0.0, 1.0, Precision::float64, plan);
  };
  const std::vector<double> points{0.0, 0.0, 1.0, 2.0};
  CHECK_THROWS_AS(make(Candidates::points(points, 2), Kernel::rbf, Plan::lazy), std::invalid_argument);
  CHECK_THROWS_AS(make(Candidates::lattice(4, 4, 1.0, 1.0), Kernel::matern52, Plan::separable), std::invalid_argument);
}

TEST_CASE("no posterior within limits scores more than the limit says") {
  for (std::uint64_t problem = 0; problem < 2000; ++problem) {
    Draw draw(problem);
    const auto policy = static_cast<Policy>(draw.below(7));
    PolicyParameters parameters;
    parameters.beta = 2.0 * draw.uniform();
    parameters.best = 2.0 * draw.uniform() - 1.0;
    parameters.xi = 0.1 * draw.uniform();
    parameters.threshold = 2.0 * draw.uniform() - 1.0;
    parameters.low = 2.0 * draw.uniform() - 1.0;
    parameters.high = parameters.low + draw.uniform();
    const double low = 4.0 * draw.uniform() - 2.0, high = low + draw.uniform(), widest = draw.uniform();
    const double limit = largest_score(policy, parameters, low, high, widest);
    for (int i = 0; i < 20; ++i) {
      const double mean = low + (high - low) * draw.uniform(), deviation = widest * draw.uniform();
      double out = 0.0;
      score(policy, parameters, std::span(&mean, 1), std::span(&deviation, 1), std::span(&out, 1));
      CHECK(out <= limit + 1e-12 * std::fabs(limit));
    }
  }
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

TEST_CASE("a step allocates nothing within the rows reserved, whatever the plan") {
  for (const Plan plan : {Plan::separable, Plan::cached, Plan::lazy}) {
    for (const Precision precision : {Precision::float64, Precision::float32}) {
      for (const Policy policy : {Policy::upper_confidence_bound, Policy::expected_improvement}) {
        Engine engine(GaussianProcess(Candidates::lattice(40, 70, 1.0, 1.0), Kernel::rbf,
                                      Hyperparameters{{3.0, 3.0}, 1.0, 1e-2}, 0.0, 1.0, precision, plan));
        engine.surrogate().reserve(64);
        engine.set_path(std::vector<double>(20, 0.0), std::vector<double>(2 * 2800, 0.5));
        ChoiceRequest request;
        request.policy = policy;
        std::int64_t site = engine.step(0, 0.5, request);
        const long before = allocation_count();
        for (int i = 0; i < 50; ++i) site = engine.step(site, std::sin(0.1 * static_cast<double>(site)), request);
        CHECK(allocation_count() == before);
      }
    }
  }
  // Points of three axes, each with a lengthscale of its own.
  std::vector<double> points(3 * 500);
  Draw draw(7);
  for (double& value : points) value = 10.0 * draw.uniform();
  Engine engine(GaussianProcess(Candidates::points(points, 3), Kernel::matern52,
                                Hyperparameters{{1.0, 2.0, 3.0}, 1.0, 1e-2}, 0.0, 1.0, Precision::float64));
  engine.surrogate().reserve(64);
  ChoiceRequest request;
  request.policy = Policy::upper_confidence_bound;
  std::int64_t site = engine.step(0, 0.5, request);
  const long before = allocation_count();
  for (int i = 0; i < 50; ++i) site = engine.step(site, 0.1 * i, request);
  CHECK(allocation_count() == before);
}
