// SPDX-License-Identifier: BSD-3-Clause
#include "instrument/render_body.hpp"

namespace probewise::instrument::PROBEWISE_LEVEL {
namespace {

void sum_atoms(const float* point_y, const float* point_x, size_t points, AtomCells atoms, RadialTables tables,
               float unit, float* out) {
  for (size_t p = 0; p < points; ++p) {
    out[p] = static_cast<float>(sum_at(point_y[p], point_x[p], atoms, tables)) * unit;
  }
}

}  // namespace

const RenderKernels& render_kernels() noexcept;
const RenderKernels& render_kernels() noexcept {
  static constexpr RenderKernels kernels{sum_atoms};
  return kernels;
}

}  // namespace probewise::instrument::PROBEWISE_LEVEL
