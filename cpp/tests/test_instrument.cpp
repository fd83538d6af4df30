// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "instrument/normal.hpp"
#include "probewise/instrument/microscope.hpp"

using namespace probewise::instrument;

namespace {

Specimen square_lattice(double period) {
  Specimen specimen(1);
  Lattice lattice;
  lattice.origin = {0.05, 0.02};
  lattice.a = {period, 0};
  lattice.b = {0, period};
  lattice.columns = {Column{}};
  specimen.add_lattice(lattice);
  return specimen;
}

/// One species, best focus only: a straight fall from 1 to 0 over the squared distance.
Optics cone(double reach) {
  Optics optics;
  optics.species = optics.levels = 1;
  optics.steps = 64;
  optics.reach_nm = reach;
  for (std::size_t k = 0; k < 66; ++k) {
    optics.tables.push_back(k < 64 ? 1 - static_cast<float>(k) / 64 : 0.0f);
  }
  return optics;
}

}  // namespace

TEST_CASE("normal quantile agrees with the error function") {
  for (int k = 1; k < 2000; ++k) {
    const float p = static_cast<float>(k) / 2000;
    const double z = static_cast<double>(normal_quantile(p));
    CHECK(0.5 * std::erfc(-z / std::sqrt(2.0)) == doctest::Approx(static_cast<double>(p)).epsilon(2e-6));
  }
  CHECK(static_cast<double>(normal_quantile(1e-7f)) == doctest::Approx(-5.1993).epsilon(1e-4));
}

TEST_CASE("a box holds every column of the lattice in it and no other") {
  const Specimen specimen = square_lattice(0.3);
  Atoms atoms;
  specimen.enumerate({10, 20, 13, 26}, atoms);
  CHECK(atoms.y.size() == 10 * 20);
  CHECK(*std::min_element(atoms.y.begin(), atoms.y.end()) >= 10.0f);
  CHECK(*std::max_element(atoms.x.begin(), atoms.x.end()) <= 26.0f);
}

TEST_CASE("a substitution replaces or removes one column") {
  Specimen specimen = square_lattice(0.3);
  specimen.substitute({0, 40, 70, 0, -1});
  specimen.substitute({0, -3, 70, 0, 5});
  Atoms atoms;
  specimen.enumerate({10, 20, 13, 26}, atoms);
  CHECK(atoms.y.size() == 10 * 20 - 1);
  atoms.clear();
  specimen.enumerate({-1, 20, 0, 26}, atoms);
  CHECK(std::count(atoms.species.begin(), atoms.species.end(), 5) == 1);
}

TEST_CASE("the renderer adds what the columns in reach add, whatever the tile") {
  const double reach = 0.5, period = 0.3;
  Renderer renderer(square_lattice(period), cone(reach));
  std::vector<float> y, x;
  for (int k = 0; k < 400; ++k) {  // spread over several tiles
    y.push_back(static_cast<float>(5 + 0.1 * k));
    x.push_back(static_cast<float>(40 - 0.07 * k));
  }
  std::vector<float> out(y.size()), alone(1);
  renderer.fractions(y, x, out);
  for (std::size_t k = 0; k < y.size(); k += 37) {
    double expected = 0;
    for (int i = 0; i < 200; ++i) {
      for (int j = 0; j < 200; ++j) {
        const double dy = 0.05 + i * period - static_cast<double>(y[k]);
        const double dx = 0.02 + j * period - static_cast<double>(x[k]);
        expected += std::max(0.0, 1 - (dy * dy + dx * dx) / (reach * reach));
      }
    }
    CHECK(static_cast<double>(out[k]) == doctest::Approx(expected).epsilon(1e-3));
    renderer.fractions({&y[k], 1}, {&x[k], 1}, alone);
    CHECK(alone[0] == out[k]);
  }
}

TEST_CASE("wrong tables and parts are named") {
  Optics optics = cone(0.5);
  optics.tables.pop_back();
  CHECK_THROWS_WITH_AS(Renderer(square_lattice(0.3), optics), "tables holds 65 entries, expected 66",
                       std::invalid_argument);
  Specimen specimen(0);
  CHECK_THROWS_AS(specimen.add_blob({{0, 0}, -1}), std::invalid_argument);
  Lattice flat;
  flat.a = {1, 1};
  flat.b = {2, 2};
  CHECK_THROWS_AS(specimen.add_lattice(flat), std::invalid_argument);
}

TEST_CASE("a raster without distortions is where it was sent, and a discarded line is not kept") {
  const Raster raster{2, 4, 1, 1000, 500, {0.5, 0.5}, {1, 1}};
  Samples samples;
  place(raster, Field{{2, 4}, {10, 20}, 0}, Distortions{}, FrameKey{0, 0, 0}, samples);
  CHECK(samples.y.size() == 8);
  CHECK(samples.y[0] == doctest::Approx(9.5));
  CHECK(samples.x[0] == doctest::Approx(18.5));
  CHECK(samples.y[7] == doctest::Approx(10.5));
  CHECK(samples.start_ns[0] == 4500);
  CHECK(samples.start_ns[4] == 9000);
}
