// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <math.h>

#include "probewise/portable.hpp"

namespace probewise::instrument {

/// Standard normal quantile of p in (0, 1), to about 1e-7 (Wichura 1988, algorithm AS 241, PPND7).
PROBEWISE_HD float normal_quantile(float p) {
  const float q = p - 0.5f;
  if (q <= 0.425f && q >= -0.425f) {
    const float r = 0.180625f - q * q;
    return q * (((59.109374720f * r + 159.29113202f) * r + 50.434271938f) * r + 3.3871327179f) /
           (((67.187563600f * r + 78.757757664f) * r + 17.895169469f) * r + 1.0f);
  }
  const float tail = q < 0 ? p : 1.0f - p;
  float r = __builtin_sqrtf(-__builtin_logf(tail));
  float z;
  if (r <= 5.0f) {
    r -= 1.6f;
    z = (((0.17023821103f * r + 1.3067284816f) * r + 2.7568153900f) * r + 1.4234372777f) /
        ((0.12021132975f * r + 0.73700164250f) * r + 1.0f);
  } else {
    r -= 5.0f;
    z = (((0.017337203997f * r + 0.42868294337f) * r + 3.0812263860f) * r + 6.6579051150f) /
        ((0.012258202635f * r + 0.24197894225f) * r + 1.0f);
  }
  return q < 0 ? -z : z;
}

}  // namespace probewise::instrument
