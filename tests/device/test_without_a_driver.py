# SPDX-License-Identifier: BSD-3-Clause
"""What users meet who have the CUDA build on a machine without a driver."""

import numpy as np
import pytest

import probewise as pw
from probewise.device import DeviceArray, choose_device, cuda_module, devices_found
from probewise.errors import ConfigurationError, CudaError

module = cuda_module()
if module is None or module.emulated() or module.device_count() > 0:
    pytest.skip("needs _cuda built for CUDA on a machine without a device", allow_module_level=True)


def test_there_are_no_devices_and_auto_is_the_cpu():
    assert module.device_count() == 0
    assert devices_found() == ([], "no CUDA device or no driver was found")
    assert choose_device("auto").name == "cpu"
    with pytest.raises(ConfigurationError, match="no CUDA device or no driver was found"):
        pw.GaussianProcess(pw.Lattice((3, 3)), lengthscale=1.0, device="cuda")
    with pytest.raises(ValueError, match="device is 0, expected below 0"):
        module.device_name(0)


def test_memory_and_kernels_raise_a_cuda_error():
    for call in (
        lambda: DeviceArray.empty((3, 3), np.float32),
        lambda: module.Imaging(0, 0),
        lambda: module.synchronize(0, 0),
        lambda: module.Surrogate.lattice(3, 3, 1.0, 1.0, "rbf", np.ones(2), 1.0, 0.1, 0.0, 1.0, "float64", 0, 0),
    ):
        with pytest.raises(CudaError, match=r"^[a-z ]+: cudaError\w+: "):
            call()
