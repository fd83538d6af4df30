// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace probewise::cuda {

/// Emulation only: after `calls` more launches and copies each throws CudaError, as on a device that fell off the bus;
/// negative: never again.
void lose_device_after(int calls);

}  // namespace probewise::cuda
