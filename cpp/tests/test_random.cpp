// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include "probewise/random.hpp"

namespace {

void check_block(const probewise::RandomBlock& block, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  CHECK(block.word[0] == a);
  CHECK(block.word[1] == b);
  CHECK(block.word[2] == c);
  CHECK(block.word[3] == d);
}

}  // namespace

// Known answers of Random123's philox4x32-10.
TEST_CASE("philox matches the published known answers") {
  check_block(probewise::philox(0, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
  check_block(probewise::philox(~0ull, ~0ull, ~0ull), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu);
  check_block(probewise::philox(0x299f31d0a4093822ull, 0x0370734413198a2eull, 0x85a308d3243f6a88ull), 0xd16cfe09u,
              0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST_CASE("uniform draws stay inside the open interval") {
  CHECK(probewise::uniform_open(0u) > 0.0f);
  CHECK(probewise::uniform_open(~0u) < 1.0f);
  CHECK(probewise::uniform_open(0u, 0u) > 0.0);
  CHECK(probewise::uniform_open(~0u, ~0u) < 1.0);
}
