// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>

namespace probewise {

inline constexpr size_t window_lanes = 8;  // the width of a window is a multiple of it

/// Loops over the window of one atom, `cols` a multiple of window_lanes, or over one row of the image.
struct RefineTable {
  /// out[r * stride + c] += a[r] * across[c] + b[r] * bend[c]
  void (*spread)(float* out, size_t stride, size_t rows, size_t cols, const float* a, const float* across,
                 const float* b, const float* bend);
  /// sums[k * cols + c] = sum over r of down[k * pitch + r] * image[r * stride + c], k = 0, 1, 2
  void (*collect)(const float* image, size_t stride, size_t rows, size_t cols, const float* down, size_t pitch,
                  float* sums);
  /// total = sums of sums[0] * across[0], sums[1] * across[0], sums[0] * across[1], sums[2] * across[0],
  /// sums[1] * across[1], sums[0] * across[2], each row of both `cols` long.
  void (*project)(const float* sums, const float* across, size_t cols, float* total);
  /// out[c] = u * a[c] + v * b[c]
  void (*mix)(const float* a, float u, const float* b, float v, size_t cols, float* out);
  /// upper[c] += u * values[c], lower[c] += v * values[c]
  void (*share)(const float* values, size_t cols, float u, float v, float* upper, float* lower);
  /// weight[c] = support[c] / max(constant + slope * model[c], least); model[c] = weight[c] * (data[c] - model[c])
  void (*weigh)(const float* data, const float* support, size_t cols, float constant, float slope, float least,
                float* model, float* weight);
  /// values[c] *= weight[c]
  void (*scale)(float* values, const float* weight, size_t cols);
  /// Sum of values[c]^2 * weight[c], `cols` a multiple of window_lanes.
  float (*energy)(const float* values, const float* weight, size_t cols);
};

const RefineTable& refine_table();

}  // namespace probewise
