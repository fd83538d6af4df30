// SPDX-License-Identifier: BSD-3-Clause
#include "image/refine_table.hpp"

#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(RefineTable, refine_table)

}  // namespace probewise
