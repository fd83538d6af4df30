// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise::instrument {

/// Atoms sorted by the square cells they stand in, cells row by row.
struct AtomCells {
  const float *y, *x, *weight;
  const int32_t* table;  // where the atom's radial table starts
  const int32_t* start;  // first atom of each cell, one more at the end
  float y0, x0, cells_per_nm;
  int32_t rows, cols;
};

/// Radial tables in whole units over squared distance.
struct RadialTables {
  const float* entries;
  float steps_per_nm2, last_step, reach_nm;
};

/// Columns and tables as a point's sum needs them, with their lengths; sums are in units of `unit`.
struct Arranged {
  AtomCells cells;
  RadialTables tables;
  size_t atoms, entries;
  float unit;
};

/// The hot loop of the renderer, compiled once per SIMD level.
struct RenderKernels {
  /// out[p] = unit * sum over the atoms within reach of weight * table value at their squared distance.
  void (*sum_atoms)(const float* point_y, const float* point_x, size_t points, AtomCells atoms, RadialTables tables,
                    float unit, float* out);
};

}  // namespace probewise::instrument
