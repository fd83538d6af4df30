// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "probewise/descriptors/spectra.hpp"
#include "probewise/descriptors/unmixing.hpp"

namespace core = probewise::descriptors;

TEST_CASE("magnitudes keep the central rows and the right half") {
  constexpr std::size_t side = 8, width = 5, keep = 2;
  std::vector<float> spectrum(2 * side * width);
  for (std::size_t i = 0; i < side * width; ++i) {
    spectrum[2 * i] = 3.0f * static_cast<float>(i);
    spectrum[2 * i + 1] = -4.0f * static_cast<float>(i);
  }
  std::vector<float> out(2 * keep * (keep + 1));
  core::magnitudes(spectrum, side, keep, out);
  const std::array<std::size_t, 4> rows{6, 7, 0, 1};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j <= keep; ++j) {
      CHECK(out[i * (keep + 1) + j] == 5.0f * static_cast<float>(rows[i] * width + j));
    }
  }
}

TEST_CASE("a window outside the image or with a non-finite pixel is refused") {
  std::vector<float> pixels(64, 1.0f), out(16);
  const std::vector<float> taper(4, 1.0f);
  std::vector<double> mean(1);
  const probewise::Image2d<const float> image{pixels.data(), 8, 8, 8};
  const std::array<std::int64_t, 2> outside{5, 0}, inside{4, 4};
  CHECK_THROWS_AS(core::taper_windows(image, outside, taper, 1.0f, true, out, mean), std::invalid_argument);
  core::taper_windows(image, inside, taper, 2.0f, true, out, mean);
  CHECK(mean[0] == 1.0);
  CHECK(out[7] == 0.0f);
  pixels[63] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(core::taper_windows(image, inside, taper, 1.0f, true, out, mean), std::invalid_argument);
}

TEST_CASE("a refined peak is the wave's own frequency, and a far start is not a peak") {
  constexpr std::size_t side = 32;
  std::vector<float> window(side * side);
  for (std::size_t i = 0; i < side; ++i) {
    for (std::size_t j = 0; j < side; ++j) {
      const auto y = static_cast<double>(i), x = static_cast<double>(j);
      const double taper = std::pow(std::sin(std::numbers::pi * (y + 0.5) / side), 2) *
                           std::pow(std::sin(std::numbers::pi * (x + 0.5) / side), 2);
      window[i * side + j] = static_cast<float>(taper * std::cos(2 * std::numbers::pi * (0.11 * y + 0.23 * x)));
    }
  }
  std::vector<double> peaks{0.12, 0.22, 0.40, 0.05}, power(2), phase_step(2);
  core::refine_peaks(window, side, 1.0, peaks, power, phase_step);
  // The mirror image is seven bins away: its side lobes pull by less than 1e-3 bin.
  CHECK(peaks[0] == doctest::Approx(0.11).epsilon(1e-3));
  CHECK(peaks[1] == doctest::Approx(0.23).epsilon(1e-3));
  CHECK(power[0] > 1000 * power[1]);
  // The mirror image is all that turns the phase of a quarter.
  CHECK(phase_step[0] < 0.01);
}

TEST_CASE("abundances: inside, on a face, and a dependent basis") {
  const std::vector<double> gram{2.0, 0.0, 0.0, 1.0}, inside{1.0, 0.5}, outside{1.0, -3.0};
  std::vector<double> a(2);
  core::solve_abundances(gram, inside, core::Constraint::non_negative, a);
  CHECK(a[0] == doctest::Approx(0.5));
  CHECK(a[1] == doctest::Approx(0.5));
  core::solve_abundances(gram, outside, core::Constraint::non_negative, a);
  CHECK(a[0] == doctest::Approx(0.5));
  CHECK(a[1] == 0.0);
  core::solve_abundances(gram, outside, core::Constraint::fully_constrained, a);
  CHECK(a[0] == 1.0);
  CHECK(a[1] == 0.0);
  const std::vector<double> dependent{1.0, 1.0, 1.0, 1.0};
  CHECK_THROWS_AS(core::solve_abundances(dependent, inside, core::Constraint::non_negative, a), std::invalid_argument);
}
