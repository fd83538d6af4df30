// SPDX-License-Identifier: BSD-3-Clause
// Kernels of the image room, emulated with real threads, beside the CPU's code.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cuda/image.hpp"
#include "probewise/image/atoms.hpp"
#include "probewise/random.hpp"

namespace {

/// Uniform in (0, 1), the same for the same seed.
std::vector<float> uniform(std::size_t size, std::uint64_t seed) {
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = probewise::uniform_open(probewise::philox(seed, 0, i).word[0]);
  return values;
}

probewise::Image2d<const float> view(const std::vector<float>& pixels, std::ptrdiff_t rows, std::ptrdiff_t cols) {
  return {pixels.data(), rows, cols, cols};
}

}  // namespace

TEST_CASE("emulated normalisation finds the same percentiles and noise") {
  probewise::cuda::Normaliser normalise;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {2, 9}, {3, 3}, {7, 31}, {40, 33}}) {
    for (const double power : {0.0, 1.0, 8.0}) {  // constant, flat and far from flat
      std::vector<float> image = uniform(static_cast<std::size_t>(rows * cols), 5), out(image.size()), expected = out;
      for (float& value : image) value = static_cast<float>(1e4 * std::pow(value, power) - 300);
      const auto found = normalise(image.data(), rows, cols, out.data(), nullptr);
      const auto known = probewise::network_input(view(image, rows, cols), expected);
      CHECK(found.offset == known.offset);
      CHECK(found.scale == doctest::Approx(known.scale).epsilon(1e-6));  // products fused or not at a SIMD level
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == doctest::Approx(expected[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("emulated normalisation in place refuses what is not finite") {
  probewise::cuda::Normaliser normalise;
  std::vector<float> image = uniform(100, 3), expected(100);
  probewise::network_input(view(image, 10, 10), expected);
  normalise(image.data(), 10, 10, image.data(), nullptr);
  for (std::size_t i = 0; i < image.size(); ++i) CHECK(image[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    image[57] = bad;
    CHECK_THROWS_AS(normalise(image.data(), 10, 10, image.data(), nullptr), std::invalid_argument);
  }
}

TEST_CASE("emulated patches are those of the CPU, in order") {
  probewise::cuda::PatchCutter cut;
  const std::ptrdiff_t rows = 23, cols = 19;
  const std::vector<float> image = uniform(static_cast<std::size_t>(rows * cols), 1);
  const std::vector<float> places = uniform(2 * 41, 2);  // more than two blocks of centres
  std::vector<double> centres;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const double place = static_cast<double>(places[i]) * static_cast<double>(i % 2 == 0 ? rows : cols) - 0.5;
    centres.push_back(i % 5 == 0 ? std::round(place) : place);
  }
  for (const std::ptrdiff_t side : {1, 4, 7}) {
    for (const int kind : {0, 1, 2, 3}) {
      const probewise::PatchShape shape{side, kind % 2 == 1, kind >= 2};
      const std::size_t n = centres.size() / 2, size = n * static_cast<std::size_t>(side * side);
      std::vector<float> out(size), expected(size);
      std::vector<std::int64_t> kept(n), known(n);
      const std::size_t count =
          cut(image.data(), rows, cols, centres.data(), n, shape, out.data(), kept.data(), nullptr);
      REQUIRE(count == probewise::extract_patches(view(image, rows, cols), centres, shape, expected, known));
      REQUIRE(count > 0);
      for (std::size_t i = 0; i < count; ++i) CHECK(kept[i] == known[i]);
      for (std::size_t i = 0; i < count * static_cast<std::size_t>(side * side); ++i) {
        CHECK(out[i] == doctest::Approx(expected[i]).epsilon(1e-6));  // fused or not at a SIMD level
      }
    }
  }
  centres[3] = std::numeric_limits<double>::infinity();
  std::vector<float> out(centres.size() * 9, -1);
  std::vector<std::int64_t> kept(centres.size() / 2);
  CHECK_THROWS_AS(
      cut(image.data(), rows, cols, centres.data(), kept.size(), {3, false, false}, out.data(), kept.data(), nullptr),
      std::invalid_argument);
  CHECK(out[0] == -1);
  CHECK(cut(image.data(), rows, cols, nullptr, 0, {3, false, false}, out.data(), kept.data(), nullptr) == 0);
}

TEST_CASE("emulated components are those of the CPU, in order") {
  probewise::cuda::AtomSearch search;
  const std::ptrdiff_t classes = 2;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {1, 40}, {40, 1}, {17, 23}}) {
    for (const float threshold : {0.0f, 0.35f, 0.5f, 0.9f}) {  // one component to many
      const std::vector<float> maps = uniform(static_cast<std::size_t>(classes * rows * cols), 11);
      const std::size_t count = search(maps.data(), classes, rows, cols, threshold, nullptr);
      probewise::FoundAtoms known;
      for (std::ptrdiff_t k = 0; k < classes; ++k) {
        probewise::find_atoms({maps.data() + k * rows * cols, rows, cols, cols}, threshold, k, known);
      }
      REQUIRE(count == known.label.size());
      for (std::size_t i = 0; i < count; ++i) {
        CHECK(search.label()[i] == known.label[i]);
        CHECK(search.score()[i] == doctest::Approx(known.score[i]).epsilon(1e-12));  // another order of the sum
        CHECK(search.yx()[2 * i] == doctest::Approx(known.yx[2 * i]).epsilon(1e-12));
        CHECK(search.yx()[2 * i + 1] == doctest::Approx(known.yx[2 * i + 1]).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("an emulated spiral is one component, and what is no probability is refused with its place") {
  probewise::cuda::AtomSearch search;
  const std::ptrdiff_t side = 21;
  std::vector<float> map(static_cast<std::size_t>(side * side), 0);
  std::ptrdiff_t row = 0, col = 0, low = 0, high = side - 1;
  const auto draw = [&](std::ptrdiff_t to_row, std::ptrdiff_t to_col) {
    while (true) {
      map[static_cast<std::size_t>(row * side + col)] = 1;
      if (row == to_row && col == to_col) return;
      row += (to_row > row) - (to_row < row);
      col += (to_col > col) - (to_col < col);
    }
  };
  for (; low < high; low += 2, high -= 2) {
    draw(low, high);
    draw(high, high);
    draw(high, low);
    draw(low + 2, low);
    draw(low + 2, low + 1);
  }
  CHECK(search(map.data(), 1, side, side, 0.5f, nullptr) == 1);
  CHECK(search(map.data(), 1, side, side, 1.0f, nullptr) == 0);
  std::vector<float> maps(2 * 3 * 4, 0.5f);
  maps[12 + 9] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(search(maps.data(), 2, 3, 4, 0.5f, nullptr),
                       "probability holds values outside 0 to 1 in row 2 of class 1", std::invalid_argument);
}
