// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stdint.h>

#include "probewise/portable.hpp"

namespace probewise {

/// exp(x) for x <= 0, to 2 units in the last place; 0 below -708. Free of branches and calls, so that loops over it
/// vectorise. x = n log 2 + r with |r| <= log(2)/2 (Cody and Waite), exp(r) by its Taylor series to r^13 (remainder
/// under 5e-18), 2^n through the exponent bits, read off the mantissa of x log2(e) + 1.5 * 2^52.
PROBEWISE_HD double exponential(double x) {
  const double bounded = x < -708.0 ? -708.0 : x;
  const double shifted = bounded * 1.4426950408889634 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  const double r = (bounded - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double sum = 1.0 / 6227020800.0;
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  const uint64_t bits = (__builtin_bit_cast(uint64_t, shifted) + 1023u) << 52;
  const double scaled = sum * __builtin_bit_cast(double, bits);
  return x < -708.0 ? 0.0 : scaled;
}

}  // namespace probewise
