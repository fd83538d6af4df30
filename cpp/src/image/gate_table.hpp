// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise {

// Sixteen independent lanes fill the widest vector register, and fix the order of the sums.
inline constexpr int gate_lanes = 16;

/// Running sums of one pass, lane by lane; sums are of (count - shift).
struct GateSums {
  double sum[gate_lanes], square[gate_lanes];
  float minimum[gate_lanes], maximum[gate_lanes];
  int32_t finite[gate_lanes], saturated[gate_lanes];
  uint32_t digest[gate_lanes];
};

struct GateTable {
  /// Adds `count` values, a multiple of gate_lanes and fewer than 2^31, to `sums`.
  void (*add)(const float* values, size_t count, float shift, float saturation, GateSums* sums);
};

}  // namespace probewise
