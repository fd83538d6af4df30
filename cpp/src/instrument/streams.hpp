// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>

namespace probewise::instrument {

/// What a frame's random numbers are for; each has a stream of its own.
enum class Draw : std::uint64_t { line = 1, pixel = 2, retry = 3, flicker = 4 };

constexpr std::uint64_t stream(std::uint64_t sequence, Draw draw) {
  return (sequence << 8) | static_cast<std::uint64_t>(draw);
}

}  // namespace probewise::instrument
