// SPDX-License-Identifier: BSD-3-Clause
// For files that are compiled once per SIMD level: lanes of stored numbers, as wide as that level's registers.
#pragma once
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "simd/lanes.hpp"
#include "surrogate/half.hpp"

namespace probewise::PROBEWISE_LEVEL {

constexpr size_t half_lane_bytes = lane_bytes / 2;
typedef uint16_t LaneHalf __attribute__((vector_size(half_lane_bytes)));

template <class Lane>
PROBEWISE_HD Lane widened(const double* from) {
  return load<Lane>(from);
}

template <class Lane>
PROBEWISE_HD Lane widened(const float* from) {
  return load<Lane>(from);
}

#if defined(__AVX512F__)

template <class Lane>
PROBEWISE_HD Lane widened(const Half* from) {
  __m256i bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return (Lane)_mm512_cvtph_ps(bits);
}

PROBEWISE_HD LaneHalf narrowed(LaneF32 lane) {
  return (LaneHalf)_mm512_cvtps_ph((__m512)lane, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

#elif defined(__F16C__)

template <class Lane>
PROBEWISE_HD Lane widened(const Half* from) {
  __m128i bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return (Lane)_mm256_cvtph_ps(bits);
}

PROBEWISE_HD LaneHalf narrowed(LaneF32 lane) {
  return (LaneHalf)_mm256_cvtps_ph((__m256)lane, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

#else

typedef uint32_t LaneU32 __attribute__((vector_size(lane_bytes)));

constexpr float two_to_112 = 0x1p112f;

/// Exponent and mantissa moved to their places in a float of an exponent too small by 112, subnormal ones too.
template <class Lane>
PROBEWISE_HD Lane widened(const Half* from) {
  LaneHalf bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  const LaneU32 wide = __builtin_convertvector(bits, LaneU32);
  const LaneU32 magnitude = (LaneU32)((Lane)((wide & 0x7fffu) << 13) * two_to_112);
  return (Lane)(magnitude | ((wide & 0x8000u) << 16));
}

/// The way back, for magnitudes below 65520. Below the smallest normal number the addition of 1/2 drops what does not
/// fit; above it half a unit less one, and one more where the kept part is odd, carries into it.
PROBEWISE_HD LaneHalf narrowed(LaneF32 lane) {
  const LaneU32 bits = (LaneU32)lane, sign = bits & 0x80000000u, magnitude = bits ^ sign;
  const LaneU32 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  const LaneU32 small = (LaneU32)((LaneF32)magnitude + 0.5f) - 0x3f000000u;
  const LaneU32 is_small = (LaneU32)(magnitude < (113u << 23));
  return __builtin_convertvector((small & is_small) | (normal & ~is_small) | (sign >> 16), LaneHalf);
}

#endif

}  // namespace probewise::PROBEWISE_LEVEL
