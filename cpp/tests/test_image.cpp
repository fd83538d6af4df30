// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "probewise/image/atoms.hpp"
#include "probewise/image/network_input.hpp"
#include "probewise/image/patches.hpp"
#include "probewise/image/refine.hpp"
#include "probewise/image/resample.hpp"

using probewise::Image2d;

namespace {

Image2d<const float> view(const std::vector<float>& pixels, std::ptrdiff_t rows, std::ptrdiff_t cols) {
  return {pixels.data(), rows, cols, cols};
}

}  // namespace

TEST_CASE("percentiles of a ramp, by hand") {
  std::vector<float> ramp(201 * 100), out(ramp.size());
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<float>(i / 100);  // 0 to 200, 100 of each
  const probewise::IntensityRange found = probewise::network_input(view(ramp, 201, 100), out);
  CHECK(found.offset == 1);  // rank 100.495 of 20,100
  CHECK(found.scale == 198);
  CHECK(out.front() == doctest::Approx(-1.0 / 198));
  ramp[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(probewise::network_input(view(ramp, 201, 100), out), std::invalid_argument);
}

TEST_CASE("a mean over two and a half pixels and an interpolation, by hand") {
  const std::vector<float> line{0, 10, 20, 30, 40};
  std::vector<float> two(2), ten(10);
  probewise::resample(view(line, 1, 5), {two.data(), 1, 2, 2});
  CHECK(two[0] == doctest::Approx((0 + 10 + 0.5 * 20) / 2.5));
  CHECK(two[1] == doctest::Approx((0.5 * 20 + 30 + 40) / 2.5));
  probewise::resample(view(line, 1, 5), {ten.data(), 1, 10, 10});
  CHECK(ten[0] == 0);
  CHECK(ten[3] == doctest::Approx(12.5));
  CHECK(ten[9] == 40);
}

TEST_CASE("components that touch at corners are two, and one that closes below is one") {
  const std::vector<float> map{1, 0, 1, 0, 0,  //
                               1, 0, 1, 0, 0,  //
                               1, 1, 1, 0, 0,  //
                               0, 0, 0, 1, 1};
  probewise::FoundAtoms atoms;
  probewise::find_atoms(view(map, 4, 5), 0.5f, 3, atoms);
  REQUIRE(atoms.label.size() == 2);
  CHECK(atoms.label[0] == 3);
  CHECK(atoms.yx[0] == doctest::Approx((0 + 0 + 1 + 1 + 2 + 2 + 2) / 7.0));
  CHECK(atoms.yx[1] == doctest::Approx(1.0));
  CHECK(atoms.yx[2] == 3);
  CHECK(atoms.yx[3] == 3.5);
  CHECK(atoms.score[1] == 1);
}

TEST_CASE("windows at every distance from every edge") {
  std::vector<float> image(7 * 9);
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i);
  for (std::ptrdiff_t side = 1; side <= 7; ++side) {
    std::vector<double> centres;
    for (int row = -1; row <= 7; ++row) {
      for (int col = -1; col <= 9; ++col)
        centres.insert(centres.end(), {static_cast<double>(row), static_cast<double>(col)});
    }
    std::vector<float> out(centres.size() / 2 * static_cast<std::size_t>(side * side));
    std::vector<std::int64_t> kept(centres.size() / 2);
    for (const bool subpixel : {false, true}) {
      const std::size_t count =
          probewise::extract_patches(view(image, 7, 9), centres, {side, subpixel, false}, out, kept);
      // Between pixels a window of even side needs one more: the centres are whole, so its corner is at a half.
      const std::ptrdiff_t more = subpixel && side % 2 == 0 ? 1 : 0;
      CHECK(static_cast<std::ptrdiff_t>(count) == (7 - side - more + 1) * (9 - side - more + 1));
      const double middle = side == 1 ? out[0] - centres[2 * static_cast<std::size_t>(kept[0]) + 1] -
                                            9 * centres[2 * static_cast<std::size_t>(kept[0])]
                                      : 0;
      CHECK(middle == 0);
    }
  }
}

TEST_CASE("atoms at the corners of a frame are fitted on what is seen of them") {
  constexpr std::ptrdiff_t rows = 40, cols = 30;
  const std::vector<double> at{0.2, 0.1, 0.4, 28.7, 38.8, 0.3, 39.1, 28.9, 20.3, 14.6};
  std::vector<float> image(rows * cols);
  for (std::ptrdiff_t r = 0; r < rows; ++r) {
    for (std::ptrdiff_t c = 0; c < cols; ++c) {
      double sum = 100;
      for (std::size_t i = 0; i < at.size(); i += 2) {
        const double dy = static_cast<double>(r) - at[i], dx = static_cast<double>(c) - at[i + 1];
        sum += 500 * std::exp(-(dy * dy + dx * dx) / (2 * 2.0 * 2.0));
      }
      image[static_cast<std::size_t>(r * cols + c)] = static_cast<float>(sum);
    }
  }
  std::vector<double> start = at;
  for (double& value : start) value += 0.2;
  const probewise::RefinedAtoms found = probewise::refine_atoms(view(image, rows, cols), start, {{10, 1}, 2.2, 1.0});
  for (std::size_t i = 0; i < at.size(); ++i)
    CHECK(found.yx[i] == doctest::Approx(at[i]).epsilon(0).scale(1).epsilon(0.05));
  CHECK(found.width_px == doctest::Approx(2.0).epsilon(0.03));
  for (const std::uint8_t fitted : found.fitted) CHECK(fitted == 1);
}
