# SPDX-License-Identifier: BSD-3-Clause
"""A stand-in for probewise._cuda on the CPU's own engine, whose device can be lost after a number of calls."""

from probewise._core.surrogate import Engine
from probewise.errors import CudaError

ON_DEVICE = ("tell_many", "set_values", "set_hyperparameters", "reset", "choose", "mean", "std")


class FakeCuda:
    """calls_left  calls that the device still answers; None: all"""

    def __init__(self, calls_left=None):
        self.calls_left = calls_left
        self.calls = 0
        self.Surrogate = type("Surrogate", (_Surrogate,), {"cuda": self})

    def device_count(self):
        return 1

    def device_name(self, number):
        return f"stand-in {number}"

    def emulated(self):
        return True


class _Surrogate:
    def __init__(self, engine):
        self._engine = engine

    @classmethod
    def lattice(cls, *arguments):
        return cls(Engine.lattice(*arguments[:-2]))

    @classmethod
    def points(cls, *arguments):
        return cls(Engine.points(*arguments[:-2]))

    def __getattr__(self, name):
        if name in ON_DEVICE:
            self.cuda.calls += 1
            if self.cuda.calls_left is not None and self.cuda.calls > self.cuda.calls_left:
                raise CudaError(f"{name}: cudaErrorDeviceUnavailable")
        found = getattr(self._engine, name)
        return found.copy() if name in ("mean", "std") else found
