// SPDX-License-Identifier: BSD-3-Clause
#include "surrogate/level.hpp"

#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(SurrogateLoops, surrogate_loops)

}  // namespace probewise
