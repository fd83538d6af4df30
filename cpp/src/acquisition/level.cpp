// SPDX-License-Identifier: BSD-3-Clause
#include "acquisition/level.hpp"

#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(AcquisitionLoops, acquisition_loops)

}  // namespace probewise
