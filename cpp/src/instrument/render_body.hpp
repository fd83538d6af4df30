// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "instrument/render_level.hpp"
#include "probewise/portable.hpp"

namespace probewise::instrument {

PROBEWISE_HD int32_t clamped_cell(float value, int32_t cells) {
  const int32_t cell = static_cast<int32_t>(value);
  return cell < 0 ? 0 : cell >= cells ? cells - 1 : cell;
}

/// Sum over one run of atoms. Indices, not pointers: only then does the compiler turn the look-ups into vectors.
PROBEWISE_HD int32_t sum_run(const float* __restrict y, const float* __restrict x, const float* __restrict weight,
                             const int32_t* __restrict table, int32_t from, int32_t to, float point_y, float point_x,
                             const float* __restrict entries, float steps_per_nm2, float last_step) {
  int32_t sum = 0;
  for (int32_t a = from; a < to; ++a) {
    const float dy = y[a] - point_y, dx = x[a] - point_x;
    float step = (dy * dy + dx * dx) * steps_per_nm2;
    step = step < last_step ? step : last_step;
    const int32_t whole = static_cast<int32_t>(step);
    const float part = step - static_cast<float>(whole);
    const int32_t at = table[a] + whole;
    const float low = entries[at], high = entries[at + 1];
    sum += static_cast<int32_t>(weight[a] * (low + part * (high - low)));
  }
  return sum;
}

/// Sum at one point, in whole units: integers, so that it does not depend on the order of the atoms and a position
/// gives the same value to the last bit whatever tile or scan it is part of.
PROBEWISE_HD int32_t sum_at(float y, float x, const AtomCells& atoms, const RadialTables& tables) {
  const int32_t row0 = clamped_cell((y - tables.reach_nm - atoms.y0) * atoms.cells_per_nm, atoms.rows);
  const int32_t row1 = clamped_cell((y + tables.reach_nm - atoms.y0) * atoms.cells_per_nm, atoms.rows);
  const int32_t col0 = clamped_cell((x - tables.reach_nm - atoms.x0) * atoms.cells_per_nm, atoms.cols);
  const int32_t col1 = clamped_cell((x + tables.reach_nm - atoms.x0) * atoms.cells_per_nm, atoms.cols);
  int32_t sum = 0;
  for (int32_t row = row0; row <= row1; ++row) {
    sum +=
        sum_run(atoms.y, atoms.x, atoms.weight, atoms.table, atoms.start[row * atoms.cols + col0],
                atoms.start[row * atoms.cols + col1 + 1], y, x, tables.entries, tables.steps_per_nm2, tables.last_step);
  }
  return sum;
}

}  // namespace probewise::instrument
