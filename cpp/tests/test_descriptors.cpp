// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "probewise/descriptors/spectra.hpp"
#include "probewise/descriptors/unmixing.hpp"

namespace core = probewise::descriptors;

TEST_CASE("window spectra are the magnitudes of the transform's definition") {
  constexpr std::size_t rows = 70, cols = 75;
  std::vector<float> pixels(rows * cols);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = 100.0f + 20.0f * static_cast<float>(std::sin(0.37 * static_cast<double>(i % 997)));
  }
  const probewise::Image2d<const float> image{pixels.data(), rows, cols, cols};
  for (const std::size_t side : {4, 6, 10, 16, 22, 30, 64}) {
    const std::size_t keep = side == 64 ? 16 : side / 2, features = 2 * keep * (keep + 1);
    std::vector<float> taper(side);
    for (std::size_t i = 0; i < side; ++i) taper[i] = 0.3f + 0.7f * static_cast<float>(i) / static_cast<float>(side);
    const std::vector<std::int64_t> corners{5, 3, 0, 0, 2, 3, 6, 11, 1, 3};
    std::vector<float> out(5 * features);
    std::vector<double> means(5);
    core::window_spectra(image, corners, taper, keep, 0.5f, true, out, means);
    for (std::size_t n = 0; n < 5; ++n) {
      double sum = 0, weights = 0;
      const auto value = [&](std::size_t i, std::size_t j) {
        return static_cast<double>(pixels[(static_cast<std::size_t>(corners[2 * n]) + i) * cols +
                                          static_cast<std::size_t>(corners[2 * n + 1]) + j]);
      };
      const auto weight = [&](std::size_t i, std::size_t j) {
        return static_cast<double>(taper[i]) * static_cast<double>(taper[j]);
      };
      for (std::size_t i = 0; i < side; ++i) {
        for (std::size_t j = 0; j < side; ++j) {
          sum += weight(i, j) * value(i, j);
          weights += weight(i, j);
        }
      }
      CHECK(means[n] == doctest::Approx(sum / weights).epsilon(1e-5));
      double largest = 0;
      for (std::size_t f = 0; f < features; ++f) {
        const double ky = static_cast<double>(f / (keep + 1)) - static_cast<double>(keep);
        const auto kx = static_cast<double>(f % (keep + 1));
        std::complex<double> transform = 0;
        for (std::size_t i = 0; i < side; ++i) {
          for (std::size_t j = 0; j < side; ++j) {
            const double angle = -2 * std::numbers::pi * (ky * static_cast<double>(i) + kx * static_cast<double>(j)) /
                                 static_cast<double>(side);
            transform += 0.5 * (value(i, j) - sum / weights) * weight(i, j) * std::polar(1.0, angle);
          }
        }
        largest = std::max(largest, std::abs(std::abs(transform) - static_cast<double>(out[n * features + f])));
      }
      // Sums of side^2 values of about 50 in float.
      CHECK(largest < 1e-5 * 50 * static_cast<double>(side));
    }
  }
  std::vector<float> taper(2 * 131, 1.0f), wide(300 * 300, 1.0f), out(2 * 131 * 132);
  std::vector<double> means(1);
  const std::array<std::int64_t, 2> corner{0, 0};
  CHECK_THROWS_AS(core::window_spectra({wide.data(), 300, 300, 300}, corner, taper, 131, 1.0f, false, out, means),
                  std::invalid_argument);
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
