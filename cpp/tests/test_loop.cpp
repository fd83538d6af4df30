// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "probewise/loop.hpp"

using namespace probewise;

namespace {

LoopOptions small() {
  LoopOptions options;
  options.rows = options.cols = 12;
  options.scan_rows = options.scan_cols = 8;
  return options;
}

double field(const Visit& visit) {
  const double y = visit.yx[0] - 0.25, x = visit.yx[1] - 0.75;
  return 100.0 + 5.0 * std::exp(-(y * y + x * x) / 0.03);
}

/// A frame that no other step has.
std::vector<float> frame_of(const Loop& loop, const Visit& visit) {
  std::vector<float> counts(loop.samples());
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<float>(visit.step * 1000 + i);
  return counts;
}

LoopStep one_step(Loop& loop) {
  const auto visit = loop.visit();
  REQUIRE(visit.has_value());
  REQUIRE(loop.judge(frame_of(loop, *visit)) == 0);
  return loop.tell(field(*visit));
}

}  // namespace

TEST_CASE("a loop scans no site twice, none of the border, and finds the maximum") {
  Loop loop(small());
  std::set<std::int64_t> seen;
  double best = 0.0;
  for (int step = 0; step < 40; ++step) {
    const LoopStep made = one_step(loop);
    CHECK(seen.insert(made.site).second);
    const auto row = made.site / 12, col = made.site % 12;
    CHECK((row > 0 && row < 11 && col > 0 && col < 11));
    best = std::max(best, made.value);
  }
  // The site nearest to the maximum is at most half a pitch off along each axis: exp(-2 (1/24)^2 / 0.03) = 0.89.
  CHECK(best > 100.0 + 5.0 * 0.89);
}

TEST_CASE("a path lies about its site, line by line, pixel centres from the outer edges") {
  Loop loop(small());
  const auto visit = loop.visit();
  REQUIRE(visit.has_value());
  REQUIRE(visit->yx.size() == 2 * 64);
  const double side = 8.0 / 200.0, y = (static_cast<double>(visit->site / 12) + 0.5) / 12;
  const double x = (static_cast<double>(visit->site % 12) + 0.5) / 12;
  CHECK(visit->yx[0] == doctest::Approx(y - side / 2 + side / 16));
  CHECK(visit->yx[1] == doctest::Approx(x - side / 2 + side / 16));
  CHECK(visit->yx[3] - visit->yx[1] == doctest::Approx(side / 8));  // the next sample is the next column
  CHECK(visit->yx[126] == doctest::Approx(y + side / 2 - side / 16));
  CHECK(visit->yx[127] == doctest::Approx(x + side / 2 - side / 16));
}

TEST_CASE("values in other units lead to the same sites") {
  Loop plain(small()), scaled(small());
  for (int step = 0; step < 40; ++step) {
    const auto visit = plain.visit();
    const auto other = scaled.visit();
    REQUIRE((visit && other));
    CHECK(visit->site == other->site);
    const double value = field(*visit);
    plain.tell(value);
    scaled.tell(1e-9 * value - 4e-8);
  }
  std::vector<double> mean(144), deviation(144), other_mean(144), other_deviation(144);
  plain.maps(mean, deviation);
  scaled.maps(other_mean, other_deviation);
  for (std::size_t i = 0; i < 144; ++i) {
    CHECK(other_mean[i] == doctest::Approx(1e-9 * mean[i] - 4e-8).epsilon(1e-6));
    CHECK(other_deviation[i] == doctest::Approx(1e-9 * deviation[i]).epsilon(1e-6));
  }
}

TEST_CASE("bad frames are named, tried again, left out, and end the loop when they run on") {
  LoopOptions options = small();
  options.saturation = 1000.0F;
  Loop loop(options);
  auto visit = loop.visit();
  REQUIRE(visit.has_value());
  const std::int64_t first = visit->site;
  std::vector<float> counts = frame_of(loop, *visit);
  const std::vector<float> clean = counts;
  counts[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(loop.judge(counts) == 1);
  std::fill(counts.begin(), counts.end(), 2.0F);
  CHECK(loop.judge(counts) == 4);
  counts = clean;
  std::fill(counts.begin(), counts.begin() + 10, 2000.0F);
  CHECK(loop.judge(counts) == 2);
  CHECK(loop.judge(clean) == 0);
  CHECK(loop.refuse(16).refusal == 16);
  CHECK(loop.visit()->site == first);  // the retry
  CHECK(loop.judge(clean) == 0);       // the same frame at the same place is no duplicate
  loop.refuse(16);
  visit = loop.visit();
  CHECK(visit->site != first);
  CHECK(loop.judge(clean) == 8);  // elsewhere it is
  loop.refuse(8);
  loop.visit();
  loop.refuse(8);
  loop.visit();
  loop.refuse(8);
  CHECK_THROWS_AS(loop.visit(), TooManyBadFrames);
  CHECK(loop.visit().has_value());  // once: whoever goes on has looked
}

TEST_CASE("a loop that is told the steps of another goes where that one went") {
  Loop whole(small());
  std::vector<LoopStep> journal;
  for (int step = 0; step < 40; ++step) {
    if (step % 7 == 3) {
      whole.visit();
      journal.push_back(whole.refuse(16));
    } else {
      journal.push_back(one_step(whole));
    }
  }
  for (const std::size_t killed : {std::size_t{0}, std::size_t{4}, std::size_t{11}, std::size_t{30}}) {
    Loop resumed(small());
    for (std::size_t step = 0; step < killed; ++step) resumed.replay(journal[step]);
    for (std::size_t step = killed; step < journal.size(); ++step) {
      CHECK(resumed.visit()->site == journal[step].site);
      if (journal[step].refusal != 0) {
        resumed.refuse(16);
      } else {
        resumed.tell(journal[step].value);
      }
    }
  }
  Loop other([] {
    LoopOptions options = small();
    options.seed = 1;
    return options;
  }());
  CHECK_THROWS_AS(
      [&] {
        for (const LoopStep& step : journal) other.replay(step);
      }(),
      std::invalid_argument);
}

TEST_CASE("run makes the beam safe once on every way out") {
  int safe = 0;
  std::atomic<bool> stop{false};
  LoopHost host;
  host.scan = [](const Visit& visit, std::span<float> counts) {
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<float>(visit.step * 1000 + i);
  };
  host.describe = [](const Visit& visit, std::span<const float>) { return field(visit); };
  std::vector<LoopStep> journal;
  host.journal = [&](const LoopStep& step) { journal.push_back(step); };
  host.make_safe = [&] { ++safe; };

  Loop loop(small());
  CHECK(run(loop, host, 10, stop) == LoopEnd::steps);
  CHECK(safe == 1);
  CHECK(run(loop, host, 1000, stop) == LoopEnd::exhausted);
  CHECK(safe == 2);
  CHECK(journal.size() == 100);

  Loop stopped(small());
  const auto describe = host.describe;
  host.describe = [&](const Visit& visit, std::span<const float> counts) {
    stop.store(visit.step == 2);
    return describe(visit, counts);
  };
  CHECK(run(stopped, host, 10, stop) == LoopEnd::stopped);
  CHECK((safe == 3 && stopped.steps() == 3));
  stop.store(false);
  host.describe = describe;

  for (int which = 0; which < 3; ++which) {
    LoopHost failing = host;
    if (which == 0) failing.scan = [](const Visit&, std::span<float>) { throw std::runtime_error("coil"); };
    if (which == 1)
      failing.describe = [](const Visit&, std::span<const float>) -> double { throw std::runtime_error("net"); };
    if (which == 2) failing.journal = [](const LoopStep&) { throw std::runtime_error("disk"); };
    Loop fresh(small());
    CHECK_THROWS_AS(run(fresh, failing, 5, stop), std::runtime_error);
    CHECK(safe == 4 + which);
  }
  LoopHost lazy = host;
  lazy.scan = [](const Visit&, std::span<float>) {};  // writes nothing
  Loop fresh(small());
  journal.clear();
  CHECK_THROWS_AS(run(fresh, lazy, 100, stop), TooManyBadFrames);
  CHECK(safe == 7);
  REQUIRE(journal.size() == 5);  // what was refused is journalled
  for (const LoopStep& step : journal) CHECK(((step.refusal & 1) == 1 && std::isnan(step.value)));
}

TEST_CASE("what cannot be is refused by name") {
  const auto refused = [](auto change) {
    LoopOptions options = small();
    change(options);
    try {
      Loop loop(options);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused([](LoopOptions& o) { o.rows = 0; }).starts_with("rows is 0"));
  CHECK(refused([](LoopOptions& o) { o.border = 6; }).starts_with("border is 6"));
  CHECK(refused([](LoopOptions& o) { o.side_nm = 17.0; }).starts_with("side_nm is 17"));
  CHECK(refused([](LoopOptions& o) { o.side_nm = std::nan(""); }).starts_with("side_nm is"));
  CHECK(refused([](LoopOptions& o) { o.fov_nm_x = -1.0; }).starts_with("fov_nm_x is"));
  CHECK(refused([](LoopOptions& o) { o.noise = 0.0; }).starts_with("noise is"));
  CHECK(refused([](LoopOptions& o) { o.max_saturated = 1.5; }).starts_with("max_saturated is"));
  CHECK(refused([](LoopOptions& o) { o.scan_cols = std::size_t{1} << 40; }).starts_with("scan_cols is"));
  CHECK(refused([](LoopOptions& o) { o.parameters.beta = INFINITY; }).starts_with("a parameter of the policy"));
  Loop loop(small());
  CHECK_THROWS_AS(loop.tell(1.0), std::invalid_argument);
  CHECK_THROWS_AS(loop.refuse(16), std::invalid_argument);
  loop.visit();
  CHECK_THROWS_AS(loop.tell(std::nan("")), std::invalid_argument);
  CHECK_THROWS_AS(loop.refuse(0), std::invalid_argument);
  CHECK_THROWS_AS(loop.judge(std::vector<float>(3)), std::invalid_argument);
  CHECK_NOTHROW(loop.tell(1.0));
}
