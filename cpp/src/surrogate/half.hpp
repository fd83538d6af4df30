// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stdint.h>

namespace probewise {

/// An IEEE 754 binary16 number, for storing: 11 significant bits, whole from 6e-5 to 65504.
struct Half {
  uint16_t bits;
};

}  // namespace probewise
