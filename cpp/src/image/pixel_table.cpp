// SPDX-License-Identifier: BSD-3-Clause
#include "image/pixel_table.hpp"

#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(PixelTable, pixel_table)

}  // namespace probewise
