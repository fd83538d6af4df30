// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "probewise/scan/join.hpp"
#include "probewise/scan/pattern.hpp"
#include "probewise/scan/tour.hpp"

using probewise::Pattern;
using probewise::PatternKind;

namespace {

std::vector<double> points_of(const Pattern& pattern) {
  std::vector<double> yx(2 * pattern.points);
  probewise::pattern_points(pattern, yx);
  return yx;
}

std::vector<std::int32_t> pixels_of(const Pattern& pattern) {
  std::vector<std::int32_t> pixel(pattern.points);
  probewise::pattern_pixels(pattern, pixel);
  return pixel;
}

}  // namespace

TEST_CASE("an Archimedean spiral equals its formula across block borders") {
  const Pattern pattern{PatternKind::archimedean, 40, 40, 1537, 20.0};
  const std::vector<double> yx = points_of(pattern);
  for (std::size_t i = 0; i < pattern.points; ++i) {
    const double t = (static_cast<double>(i) + 0.5) / 1537.0;
    const double angle = 2.0 * std::numbers::pi * 20.0 * t;
    REQUIRE(yx[2 * i] == doctest::Approx(0.5 + 0.5 * t * std::sin(angle)).epsilon(1e-12));
    REQUIRE(yx[2 * i + 1] == doctest::Approx(0.5 + 0.5 * t * std::cos(angle)).epsilon(1e-12));
  }
}

TEST_CASE("a capped constant-velocity spiral joins core and shell without a jump and ends at its last turn") {
  const double turns = 16.0, cap = 40.0;
  const Pattern pattern{PatternKind::constant_velocity, 32, 32, 200000, turns, cap};
  const std::vector<double> yx = points_of(pattern);
  const probewise::Extremes most = probewise::extremes_of(yx);
  const double dt = 1.0 / 200000.0;
  // The angular velocity never exceeds the cap: speed at the edge of the core bounds all others.
  CHECK(most.step < 2.0 * std::numbers::pi * cap * dt * 0.5);
  const double y = yx[yx.size() - 2] - 0.5, x = yx[yx.size() - 1] - 0.5;
  CHECK(std::hypot(y, x) == doctest::Approx(0.5).epsilon(1e-4));
  CHECK(probewise::pattern_extremes(pattern).step == most.step);
  CHECK(probewise::pattern_extremes(pattern).bend == most.bend);
}

TEST_CASE("grid patterns visit every pixel once") {
  for (const Pattern& pattern :
       {Pattern{PatternKind::serpentine, 13, 29, 13 * 29}, Pattern{PatternKind::hilbert, 64, 64, 4096},
        Pattern{PatternKind::jittered, 7, 100, 700, 1.0, 0.0, 9}}) {
    std::vector<std::int32_t> pixel = pixels_of(pattern), all(pattern.points);
    std::sort(pixel.begin(), pixel.end());
    std::iota(all.begin(), all.end(), 0);
    CHECK(pixel == all);
  }
}

TEST_CASE("codes of a pattern are those of its positions") {
  for (const Pattern& pattern :
       {Pattern{PatternKind::serpentine, 13, 29, 15 * 29, 2.0}, Pattern{PatternKind::hilbert, 32, 32, 1024},
        Pattern{PatternKind::vogel, 30, 30, 900}, Pattern{PatternKind::lissajous, 30, 30, 900, 7.0, 8.0}}) {
    std::vector<std::uint16_t> direct(2 * pattern.points), stored(2 * pattern.points);
    probewise::pattern_codes(pattern, 14, direct);
    probewise::dac_codes(points_of(pattern), 14, stored);
    CHECK(direct == stored);
  }
}

TEST_CASE("codes refuse positions outside and NaN, and widths that no DAC of ours has") {
  std::vector<std::uint16_t> out(2);
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -1e-300, 1.0 + 1e-15}) {
    CHECK_THROWS_AS(probewise::dac_codes(std::vector<double>{0.5, bad}, 16, out), std::invalid_argument);
  }
  CHECK_THROWS_AS(probewise::dac_codes(std::vector<double>{0.5, 0.5}, 0, out), std::invalid_argument);
  CHECK_THROWS_AS(probewise::dac_codes(std::vector<double>{0.5, 0.5}, 17, out), std::invalid_argument);
  probewise::dac_codes(std::vector<double>{0.0, 1.0}, 16, out);
  CHECK(out == std::vector<std::uint16_t>{0, 65535});
}

TEST_CASE("numbers that describe no pattern are refused") {
  for (const Pattern& pattern :
       {Pattern{PatternKind::hilbert, 6, 6, 36}, Pattern{PatternKind::archimedean, 6, 6, 36, 0.0},
        Pattern{PatternKind::constant_velocity, 6, 6, 36, 3.0, 2.0}, Pattern{PatternKind::serpentine, 6, 6, 35},
        Pattern{PatternKind::jittered, 6, 6, 36, 2.0}, Pattern{PatternKind::vogel, 0, 6, 36},
        Pattern{PatternKind::lissajous, 6, 6, 36, 1.0, 0.0}}) {
    CHECK_THROWS_AS(probewise::check_pattern(pattern), std::invalid_argument);
  }
}

TEST_CASE("a joined path keeps to the coils and to its waypoints") {
  const std::vector<double> waypoints{0.1, 0.1, 0.1, 0.9, 0.1, 0.9, 0.8, 0.2};
  const probewise::JoinedPath path = probewise::join_waypoints(waypoints, {0.01, 0.0007, 0.05, 0.05, 3}, 100000);
  const probewise::Extremes most = probewise::extremes_of(path.yx);
  CHECK(most.step <= 0.01);
  CHECK(most.bend <= 0.0007);
  std::int64_t next = 0;
  for (std::size_t i = 0; i < path.source.size(); ++i) {
    if (path.source[i] < 0) continue;
    REQUIRE(path.source[i] == next);
    CHECK(path.yx[2 * i] == waypoints[static_cast<std::size_t>(2 * next)]);
    CHECK(path.yx[2 * i + 1] == waypoints[static_cast<std::size_t>(2 * next) + 1]);
    ++next;
  }
  CHECK(next == 4);
  CHECK_THROWS_AS(probewise::join_waypoints(waypoints, {0.01, 0.0007, 0.05, 0.05, 3}, 50), std::invalid_argument);
  CHECK_THROWS_AS(probewise::join_waypoints(waypoints, {0.0, 1.0, 0.0, 0.0, 0}, 50), std::invalid_argument);
}

TEST_CASE("a tour of points on a line goes along it") {
  std::vector<double> yx;
  for (const int place : {5, 3, 9, 0, 7, 1, 8, 2, 6, 4}) yx.insert(yx.end(), {0.5, 0.1 * place});
  const std::vector<std::int64_t> order =
      probewise::travel_tour(yx, 0.5, 0.0, {0.0, std::numeric_limits<double>::infinity()});
  CHECK(order == std::vector<std::int64_t>{3, 5, 7, 1, 9, 0, 8, 4, 6, 2});
  CHECK(probewise::travel_tour({}, 0.0, 0.0, {0.0, 1.0}).empty());
}
