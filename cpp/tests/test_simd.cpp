// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include "probewise/simd.hpp"

TEST_CASE("the active level is one that this CPU can run and has a name") {
  const probewise::SimdLevel level = probewise::active_simd_level();
  CHECK(level <= probewise::best_simd_level());
  CHECK_FALSE(probewise::simd_level_name(level).empty());
}
