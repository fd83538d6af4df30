// SPDX-License-Identifier: BSD-3-Clause
#include "instrument/render_level.hpp"

#include "probewise/portable.hpp"

namespace probewise::instrument::PROBEWISE_LEVEL {
namespace {

// Sums are integers so that they do not depend on the order of the atoms: a position gives the same
// value to the last bit whatever tile, chunk or scan it is part of.
void sum_atoms(const float* point_y, const float* point_x, size_t points, const float* __restrict atom_y,
               const float* __restrict atom_x, const float* __restrict atom_weight,
               const int32_t* __restrict atom_table, size_t atoms, const float* __restrict tables, float steps_per_nm2,
               float last_step, int32_t* __restrict sums) {
  for (size_t p = 0; p < points; ++p) {
    const float y = point_y[p], x = point_x[p];
    int32_t sum = 0;
    for (size_t a = 0; a < atoms; ++a) {
      const float dy = atom_y[a] - y, dx = atom_x[a] - x;
      float step = (dy * dy + dx * dx) * steps_per_nm2;
      step = step < last_step ? step : last_step;
      const int32_t whole = static_cast<int32_t>(step);
      const float* entry = tables + atom_table[a] + whole;
      const float part = step - static_cast<float>(whole);
      sum += static_cast<int32_t>(atom_weight[a] * (entry[0] + part * (entry[1] - entry[0])));
    }
    sums[p] = sum;
  }
}

}  // namespace

const RenderKernels& render_kernels() noexcept;
const RenderKernels& render_kernels() noexcept {
  static constexpr RenderKernels kernels{sum_atoms};
  return kernels;
}

}  // namespace probewise::instrument::PROBEWISE_LEVEL
