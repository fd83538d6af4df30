// SPDX-License-Identifier: BSD-3-Clause
#include "scan/kernels.hpp"

#include "simd/dispatch.hpp"

namespace probewise {

PROBEWISE_DISPATCH(ScanKernels, scan_kernels)

}  // namespace probewise
