// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise::instrument {

/// The hot loop of the renderer, compiled once per SIMD level.
struct RenderKernels {
  /// sums[p] = sum over atoms of weight * table value at the squared distance, in whole units, for each point.
  void (*sum_atoms)(const float* point_y, const float* point_x, size_t points, const float* atom_y, const float* atom_x,
                    const float* atom_weight, const int32_t* atom_table, size_t atoms, const float* tables,
                    float steps_per_nm2, float last_step, int32_t* sums);
};

}  // namespace probewise::instrument
