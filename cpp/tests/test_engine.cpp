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

using namespace probewise;

namespace {

Engine lattice_engine(Kernel kernel) {
  return Engine(GaussianProcess(Candidates::lattice(9, 8, 1.0, 1.0), kernel, Hyperparameters{{2.0, 2.0}, 1.0, 1e-2},
                                0.0, 1.0, Precision::float64));
}

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
