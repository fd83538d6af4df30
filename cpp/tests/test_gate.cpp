// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "probewise/image/gate.hpp"

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("statistics of a short frame by hand, at every length around a whole set of lanes") {
  for (int n = 1; n < 50; ++n) {
    std::vector<float> counts;
    for (int i = 0; i < n; ++i) counts.push_back(static_cast<float>(i));
    const probewise::FrameStatistics found = probewise::frame_statistics(counts, 3.0f);
    CHECK(found.finite == n);
    CHECK(found.saturated == (n > 3 ? n - 3 : 0));
    CHECK(found.mean == doctest::Approx((n - 1) / 2.0).epsilon(1e-14));
    CHECK(found.variance == doctest::Approx((n * n - 1) / 12.0).epsilon(1e-12));
    CHECK(found.minimum == 0.0);
    CHECK(found.maximum == n - 1);
  }
}

TEST_CASE("values that are not finite are counted out") {
  const std::vector<float> counts{not_a_number, 2.0f, infinity, 4.0f, -infinity};
  const probewise::FrameStatistics found = probewise::frame_statistics(counts, infinity);
  CHECK(found.finite == 2);
  CHECK(found.saturated == 0);
  CHECK(found.mean == 3.0);
  CHECK(found.variance == 1.0);
  const std::vector<float> none{not_a_number};
  CHECK(std::isnan(probewise::frame_statistics(none, infinity).mean));
  CHECK(probewise::frame_statistics({}, infinity).finite == 0);
}

TEST_CASE("the digest depends on order, value and length") {
  const std::vector<float> a{1.0f, 2.0f, 3.0f}, b{1.0f, 3.0f, 2.0f}, c{1.0f, 2.0f, 3.0f, 0.0f};
  const auto digest = [](const std::vector<float>& v) { return probewise::frame_statistics(v, infinity).digest; };
  CHECK(digest(a) == digest(std::vector<float>(a)));
  CHECK(digest(a) != digest(b));
  CHECK(digest(a) != digest(c));
}

TEST_CASE("samples are averaged into their pixels and a wrong pixel writes nothing") {
  const std::vector<std::int32_t> pixel{0, 2, -1, 2};
  const std::vector<float> values{5.0f, 1.0f, 100.0f, 2.0f};
  std::vector<float> image(3, -1.0f);
  probewise::to_image(pixel, values, image);
  CHECK(image[0] == 5.0f);
  CHECK(std::isnan(image[1]));
  CHECK(image[2] == 1.5f);
  std::vector<float> small(2, -1.0f);
  CHECK_THROWS_AS(probewise::to_image(pixel, values, small), std::invalid_argument);
  CHECK(small[0] == -1.0f);
  const std::vector<float> one(1, 1.0f);
  CHECK_THROWS_AS(probewise::to_image(pixel, one, image), std::invalid_argument);
}
