# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of device code need: the mark that skips them without one, and arrays of another library."""

import pytest

from probewise.device import devices_found

_NAMES, _MISSING = devices_found()


# Runs on a device, or where _cuda was built with PROBEWISE_CUDA=EMULATED.
on_a_device = [pytest.mark.gpu, pytest.mark.skipif(not _NAMES, reason=f"no CUDA device: {_MISSING}")]


class Foreign:
    """Another library's view of a device array, by one protocol only."""

    def __init__(self, array, by="interface", **changed):
        self._array = array
        if by == "interface":
            self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changed}
        else:
            self.__dlpack__ = array.__dlpack__
            self.__dlpack_device__ = array.__dlpack_device__
