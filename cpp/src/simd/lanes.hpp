// SPDX-License-Identifier: BSD-3-Clause
// For files that are compiled once per SIMD level: vectors as wide as that level's registers.
#pragma once
#include <stddef.h>

#include "probewise/portable.hpp"

namespace probewise::PROBEWISE_LEVEL {

#if defined(__AVX512F__)
constexpr size_t lane_bytes = 64;
#elif defined(__AVX__)
constexpr size_t lane_bytes = 32;
#else
constexpr size_t lane_bytes = 16;
#endif

typedef double LaneF64 __attribute__((vector_size(lane_bytes)));
typedef float LaneF32 __attribute__((vector_size(lane_bytes)));

template <class Lane, class T>
PROBEWISE_HD Lane load(const T* from) {
  Lane lane;
  __builtin_memcpy(&lane, from, sizeof lane);
  return lane;
}

template <class Lane, class T>
PROBEWISE_HD void store(T* to, Lane lane) {
  __builtin_memcpy(to, &lane, sizeof lane);
}

}  // namespace probewise::PROBEWISE_LEVEL
