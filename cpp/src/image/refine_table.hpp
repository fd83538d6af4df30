// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise {

inline constexpr size_t window_lanes = 8;   // the width of a window is a multiple of it
inline constexpr size_t stride_lanes = 16;  // the columns of a field are

/// The windows of all atoms in a field, and their Gaussians: g, g * d, g * d^2 of each row and of each column.
struct ColumnWindows {
  size_t atoms, stride, width;
  const uint32_t* start;       ///< first pixel of each window in the field
  const uint16_t* rows;        ///< of each window inside the image
  const uint16_t* skip;        ///< of each window above the image
  const float *down, *across;  ///< (atoms, 3, width), and window_lanes more behind `down`
  const float *slope, *bend;   ///< factors of the derivatives by the position and by the width
};

/// Loops over all windows, over whole fields, or over coefficients: amplitudes, y, x (atoms each), nodes, width.
struct RefineTable {
  /// g, g * d, g * d^2 with g = exp(-factor * d^2), d = offset[i] + k for the `used` k from lead[i] on (null: from 0
  /// on), 0 for the others up to `count`
  void (*tabulate)(const float* offset, const uint16_t* lead, size_t atoms, size_t used, size_t count, float factor,
                   float* table);
  /// field += derivatives * step of amplitudes and positions (3 * atoms) and of the width
  void (*spread)(const ColumnWindows& windows, const float* step, float wide, float* field);
  /// gradient (3 * atoms) = derivatives^T * field; returns the width's.
  double (*collect)(const ColumnWindows& windows, const float* field, float* gradient);
  /// Upper triangles AA, Ay, Ax, yy, yx, xx of derivatives^T * weight * derivatives of each atom: (6, atoms)
  void (*blocks)(const ColumnWindows& windows, const float* weight, double* block);
  /// Inverts (6, atoms) upper triangles; where that cannot be done the amplitude's alone, 0 for the rest.
  void (*invert)(size_t atoms, double* block);
  /// field rows r = (1 - share[r]) * a + share[r] * b
  void (*mix)(const float* a, const float* b, const float* share, size_t rows, size_t cols, float* field);
  /// field *= weight (unless that is null); upper += sum of (1 - share[r]) * row r, lower += sum of share[r] * row r
  void (*share)(float* field, const float* weight, const float* share, size_t rows, size_t cols, float* upper,
                float* lower);
  /// weight[i] = 1 / max(constant + slope * model[i], least), 0 where data[i] is NaN;
  /// model[i] = weight[i] * (data[i] - model[i])
  void (*weigh)(const float* data, size_t count, float constant, float slope, float least, float* model, float* weight);
  /// Sum of values^2 * weight
  double (*energy)(const float* values, const float* weight, size_t rows, size_t cols);
  /// y += factor * x
  void (*add)(float factor, const float* x, size_t count, float* y);
  /// direction = z + factor * direction
  void (*turn)(float factor, const float* z, size_t count, float* direction);
  /// to (3 * atoms) = the (6, atoms) symmetric blocks times from
  void (*precondition)(const float* block, size_t atoms, const float* from, float* to);
};

const RefineTable& refine_table();

}  // namespace probewise
