// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace probewise {

/// Least and greatest of some values; `finite` is false when any is NaN or infinite.
struct PixelRange {
  float low, high;
  bool finite;
};

/// Sums of the values, of their squares and of their cubes.
struct PixelMoments {
  double plain, square, cube;
};

/// Values between 0.1 and 0.9, and above 0.5.
struct PixelDoubt {
  uint64_t between, above;
};

/// Loops over the pixels of one row or one image.
struct PixelTable {
  PixelRange (*range)(const float* values, size_t count);
  /// index[i] = bin of (values[i] - low) * per_unit, the last bin taking what lies above.
  void (*bins)(const float* values, size_t count, float low, float per_unit, int32_t last, uint16_t* index);
  /// The values whose index is within `width` above `first`, in order; `out` has room for 32 more. Returns how many.
  size_t (*gather)(const float* values, const uint16_t* index, size_t count, uint16_t first, uint16_t width,
                   float* out);
  /// out[i] = (values[i] - offset) * factor
  void (*affine)(const float* values, size_t count, float offset, float factor, float* out);
  /// |second mixed difference| / 6 of `count` pixels, each row read from one pixel before to one after.
  void (*roughness)(const float* above, const float* here, const float* below, size_t count, float* out);
  /// Adds to `sums` over `count` pixels (rows read as by roughness) those of m, e, m * m, m * e, with m = the mean of
  /// the 3 x 3 pixels - shift, e = roughness^2.
  void (*noise)(const float* above, const float* here, const float* below, size_t count, float shift, double* sums);
  PixelMoments (*moments)(const float* values, size_t count);
  /// Sum of a[i] * b[i].
  double (*dot)(const float* a, const float* b, size_t count);
  PixelDoubt (*doubt)(const float* values, size_t count);
  /// out[i] = values[i] > threshold; false when a value is not within 0 to 1, give or take `slack`.
  bool (*above)(const float* values, size_t count, float threshold, float slack, uint8_t* out);
  /// out[i] += weight * values[i]
  void (*add)(const float* values, size_t count, float weight, float* out);
  /// Bilinear over a window of rows x cols, `stride` from row to row of `upper` and cols from row to row of `out`:
  /// upper[i], upper[i + 1], the same of `down` pixels on, by the four weights.
  void (*blend)(const float* upper, size_t stride, size_t down, size_t rows, size_t cols, const float* weights,
                float* out);
};

const PixelTable& pixel_table();

}  // namespace probewise
