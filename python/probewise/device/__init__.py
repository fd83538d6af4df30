# SPDX-License-Identifier: BSD-3-Clause
"""CUDA devices: which is taken and why, arrays on it, and what is computed there.

Compiled for all targets and emulated on the CPU; not yet run on a GPU.
"""

from probewise.device.arrays import DeviceArray, as_device_array
from probewise.device.choice import Chosen, choose_device, cuda_module, devices_found, parse_device
from probewise.device.frames import DeviceFrames

__all__ = [
    "Chosen",
    "DeviceArray",
    "DeviceFrames",
    "as_device_array",
    "choose_device",
    "cuda_module",
    "devices_found",
    "parse_device",
]
