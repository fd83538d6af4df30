// SPDX-License-Identifier: BSD-3-Clause
#include <stddef.h>
#include <stdint.h>

#include "probewise/portable.hpp"
#include "scan/kernels.hpp"

namespace probewise::PROBEWISE_LEVEL {
namespace {

/// Nearest integer, halves to even, for |x| < 2^51: vectorises on every level, unlike rint before SSE 4.1.
PROBEWISE_HD double nearest(double x) {
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  return (x + magic) - magic;
}

/// sin and cos of 2 pi u, |u| < 2^49. The reduction in quarter turns is exact, so that the error is that of u and about
/// one ulp of the series (Taylor to x^15 and x^16 on |x| <= pi/4, remainders under 5e-17 and 3e-18).
PROBEWISE_HD void sin_cos_turns(double u, double& sine, double& cosine) {
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: what is added to it is rounded, its low bits count it
  const double quarters = 4.0 * u, shifted = quarters + magic;
  const uint64_t quadrant = __builtin_bit_cast(uint64_t, shifted);
  const double x = (quarters - (shifted - magic)) * 1.5707963267948966;
  const double z = x * x;
  double s = -1.0 / 1307674368000.0;
  s = s * z + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  s = x + x * z * s;
  double c = 1.0 / 20922789888000.0;
  c = c * z - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = 1.0 - 0.5 * z + z * z * c;
  const bool odd = (quadrant & 1u) != 0;
  const double a = odd ? c : s;
  const double b = odd ? s : c;
  constexpr uint64_t sign = uint64_t{1} << 63;
  sine = __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, a) ^ ((quadrant << 62) & sign));
  cosine = __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, b) ^ (((quadrant + 1) << 62) & sign));
}

PROBEWISE_HD void polar(double turns, double radius, double* yx) {
  double sine, cosine;
  sin_cos_turns(turns, sine, cosine);
  yx[0] = 0.5 + radius * sine;
  yx[1] = 0.5 + radius * cosine;
}

void linear_spiral(const SpiralNumbers& spiral, size_t first, size_t count, double* yx) {
  const SpiralNumbers n = spiral;
  const double begin = static_cast<double>(first) + 0.5;
  for (size_t i = 0; i < count; ++i) {
    const double t = (begin + static_cast<double>(static_cast<int32_t>(i))) * n.inverse_points;
    const double beyond = t - n.core_end;
    const double shell = __builtin_sqrt(n.core + n.shell * (beyond > 0.0 ? beyond : 0.0));
    const double turns = beyond > 0.0 ? shell : n.turns_rate * t;
    polar(turns, n.radius_rate * turns, yx + 2 * i);
  }
}

void root_spiral(const SpiralNumbers& spiral, size_t first, size_t count, double* yx) {
  const SpiralNumbers n = spiral;
  const double begin = static_cast<double>(first) + 0.5;
  for (size_t i = 0; i < count; ++i) {
    const double t = (begin + static_cast<double>(static_cast<int32_t>(i))) * n.inverse_points;
    polar(n.turns_rate * t, 0.5 * __builtin_sqrt(t), yx + 2 * i);
  }
}

void golden_spiral(const SpiralNumbers& spiral, size_t first, size_t count, double* yx) {
  const SpiralNumbers n = spiral;
  for (size_t i = 0; i < count; ++i) {
    const double index = static_cast<double>(first) + static_cast<double>(static_cast<int32_t>(i));
    polar(n.angle_step * index, 0.5 * __builtin_sqrt((index + 0.5) * n.inverse_points), yx + 2 * i);
  }
}

void lissajous(double inverse_points, double cycles_y, double cycles_x, size_t first, size_t count, double* yx) {
  const double begin = static_cast<double>(first) + 0.5;
  for (size_t i = 0; i < count; ++i) {
    const double t = (begin + static_cast<double>(static_cast<int32_t>(i))) * inverse_points;
    double sine_y, cosine_y, sine_x, cosine_x;
    sin_cos_turns(cycles_y * t, sine_y, cosine_y);
    sin_cos_turns(cycles_x * t, sine_x, cosine_x);
    yx[2 * i] = 0.5 + 0.5 * sine_y;
    yx[2 * i + 1] = 0.5 + 0.5 * cosine_x;
  }
}

// Level by level instead of point by point: each pass is one branchless loop over the block.
void hilbert(int levels, uint32_t first, size_t count, int32_t* row, int32_t* col) {
  for (size_t i = 0; i < count; ++i) row[i] = col[i] = 0;
  for (int level = 0; level < levels; ++level) {
    const int32_t side = int32_t{1} << level;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t digit = (first + static_cast<uint32_t>(i)) >> (2 * level);
      const int32_t right = static_cast<int32_t>((digit >> 1) & 1u);
      const int32_t down = static_cast<int32_t>((digit ^ (digit >> 1)) & 1u);
      const int32_t flip = -(right & (1 - down));  // all ones where the quadrant is mirrored
      const int32_t x = (col[i] ^ flip) & (side - 1);
      const int32_t y = (row[i] ^ flip) & (side - 1);
      const int32_t swap = -(1 - down);
      const int32_t change = (x ^ y) & swap;
      col[i] = (x ^ change) + side * right;
      row[i] = (y ^ change) + side * down;
    }
  }
}

void centres(const int32_t* row, const int32_t* col, size_t count, double rows, double cols, double* yx) {
  for (size_t i = 0; i < count; ++i) {
    yx[2 * i] = (row[i] + 0.5) / rows;
    yx[2 * i + 1] = (col[i] + 0.5) / cols;
  }
}

void line(double y, double left, double size, double cols, size_t first, size_t count, double* yx) {
  const double begin = static_cast<double>(first) + 0.5;
  for (size_t i = 0; i < count; ++i) {
    yx[2 * i] = y;
    yx[2 * i + 1] = left + (begin + static_cast<double>(static_cast<int32_t>(i))) / cols * size;
  }
}

size_t codes(const double* values, size_t count, double top, uint16_t* out) {
  int32_t outside = 0;
  for (size_t i = 0; i < count; ++i) {
    const double value = values[i];
    outside += !(value >= 0.0 && value <= 1.0);  // also counts NaN
    out[i] = static_cast<uint16_t>(static_cast<int32_t>(nearest((value >= 0.0 && value <= 1.0 ? value : 0.0) * top)));
  }
  return static_cast<size_t>(outside);
}

// Adding 1.5 * 2^52 leaves the nearest integer in the low bits: no conversion, and no check of what a pattern made.
void inner_codes(const double* values, size_t count, double top, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = static_cast<uint16_t>(__builtin_bit_cast(uint64_t, values[i] * top + 6755399441055744.0));
  }
}

void code_line(uint16_t y, const uint16_t* x, size_t count, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) {
    out[2 * i] = y;
    out[2 * i + 1] = x[i];
  }
}

void pixels(const double* yx, size_t count, double rows, double cols, int32_t* pixel) {
  const int32_t last_row = static_cast<int32_t>(rows) - 1, last_col = static_cast<int32_t>(cols) - 1;
  for (size_t i = 0; i < count; ++i) {
    const int32_t row = static_cast<int32_t>(yx[2 * i] * rows), col = static_cast<int32_t>(yx[2 * i + 1] * cols);
    pixel[i] = (row > last_row ? last_row : row) * (last_col + 1) + (col > last_col ? last_col : col);
  }
}

void differences(const double* yx, size_t count, double* step2, double* bend2) {
  double step = 0.0, bend = 0.0;
  for (size_t i = 0; i + 1 < count; ++i) {
    const double dy = yx[2 * i + 2] - yx[2 * i], dx = yx[2 * i + 3] - yx[2 * i + 1];
    const double length2 = dy * dy + dx * dx;
    step = length2 > step ? length2 : step;
  }
  for (size_t i = 0; i + 2 < count; ++i) {
    const double dy = (yx[2 * i + 4] - yx[2 * i + 2]) - (yx[2 * i + 2] - yx[2 * i]);
    const double dx = (yx[2 * i + 5] - yx[2 * i + 3]) - (yx[2 * i + 3] - yx[2 * i + 1]);
    const double length2 = dy * dy + dx * dx;
    bend = length2 > bend ? length2 : bend;
  }
  *step2 = step;
  *bend2 = bend;
}

}  // namespace

const ScanKernels& scan_kernels() noexcept;
const ScanKernels& scan_kernels() noexcept {
  static constexpr ScanKernels table{linear_spiral, root_spiral, golden_spiral, lissajous, hilbert, centres,
                                     line,          codes,       inner_codes,   code_line, pixels,  differences};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
