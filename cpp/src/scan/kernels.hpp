// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise {

/// r = 0.5 * radius(t), angle = turns(t), t = (i + 1/2) / points.
struct SpiralNumbers {
  double inverse_points;
  double turns_rate;             // turns = rate * t (constant angular velocity), the core of the shell below
  double core, core_end, shell;  // beyond t = core_end: turns = sqrt(core + shell * (t - core_end))
  double radius_rate;            // constant-velocity and Archimedean: radius = rate * turns
  double angle_step;             // Vogel: turns = step * i
};

struct ScanKernels {
  void (*linear_spiral)(const SpiralNumbers&, size_t first, size_t count, double* yx);
  void (*root_spiral)(const SpiralNumbers&, size_t first, size_t count, double* yx);
  void (*golden_spiral)(const SpiralNumbers&, size_t first, size_t count, double* yx);
  void (*lissajous)(double inverse_points, double cycles_y, double cycles_x, size_t first, size_t count, double* yx);
  void (*hilbert)(int levels, uint32_t first, size_t count, int32_t* row, int32_t* col);
  void (*centres)(const int32_t* row, const int32_t* col, size_t count, double rows, double cols, double* yx);
  void (*line)(double y, double left, double size, double cols, size_t first, size_t count, double* yx);
  /// Returns how many values lay outside 0..1.
  size_t (*codes)(const double* values, size_t count, double top, uint16_t* out);
  /// Of values within 0..1, give or take their rounding.
  void (*inner_codes)(const double* values, size_t count, double top, uint16_t* out);
  /// One line of codes: the same y beside each x.
  void (*code_line)(uint16_t y, const uint16_t* x, size_t count, uint16_t* out);
  void (*pixels)(const double* yx, size_t count, double rows, double cols, int32_t* pixel);
  /// Squared first (count - 1) and second (count - 2) differences, largest only.
  void (*differences)(const double* yx, size_t count, double* step2, double* bend2);
};

const ScanKernels& scan_kernels();

}  // namespace probewise
