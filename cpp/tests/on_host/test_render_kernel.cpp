// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <vector>

#include "cuda/render.hpp"

using namespace probewise::instrument;

TEST_CASE("the emulated renderer sums the same columns at every point") {
  Specimen specimen(1);
  Lattice lattice{};
  lattice.a = {0.31, 0.02};
  lattice.b = {0, 0.27};
  Column column{};
  column.weight_rms = 0.2;
  lattice.columns = {column};
  specimen.add_lattice(lattice);
  Patch patch{};
  patch.blob.centre = {6, 6};
  patch.blob.radius = 1;
  patch.kind = PatchKind::contamination;
  patch.amount = 0.1;
  patch.edge = 1;
  specimen.add_patch(patch);
  Optics optics;
  optics.species = optics.levels = 1;
  optics.steps = 64;
  for (std::size_t k = 0; k < 66; ++k) optics.tables.push_back(k < 64 ? 1 - static_cast<float>(k) / 64 : 0.0f);
  Renderer renderer(specimen, optics);
  std::vector<float> y, x;
  for (int i = 0; i < 300; ++i) {  // over two tiles of the CPU
    y.push_back(5 + 0.07f * static_cast<float>(i % 20));
    x.push_back(2 + 0.06f * static_cast<float>(i));
  }
  std::vector<float> out(y.size()), expected(y.size());
  renderer.fractions(y, x, expected);
  probewise::cuda::RenderSums sum;
  sum(renderer, y, x, out, nullptr);
  // Each of about ten columns is cut to a whole unit, which a product fused at a SIMD level may shift by one; a unit is
  // 32/2^30 of the peak.
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  CHECK(expected[0] > 0);
  sum(renderer, {}, {}, {}, nullptr);
}
