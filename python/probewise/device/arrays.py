# SPDX-License-Identifier: BSD-3-Clause
"""Arrays in device memory, shared with CuPy, PyTorch, JAX and Numba without a copy.

In and out by `__cuda_array_interface__` (version 3) and DLPack. Work is ordered on the stream that the caller names, as
the address of a cudaStream_t (CuPy: `stream.ptr`, PyTorch: `stream.cuda_stream`); 0 is the default stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.device.choice import BUILD, cuda_module
from probewise.errors import ConfigurationError

_LEGACY = 1  # what both protocols call the default stream
_CODES = {"i": 0, "u": 1, "f": 2}
_DLPACK_CPU, _DLPACK_CUDA = 1, 2


def loaded() -> Any:
    """The extension; ConfigurationError with what to type where it is not built."""
    module = cuda_module()
    if module is None:
        raise ConfigurationError(f"this installation has no CUDA code; type: {BUILD}")
    return module


class DeviceArray:
    """A C-contiguous array in device memory; what holds the memory lives as long as this does.

    address  of the first element
    device   number of the device
    stream   on which the contents were last worked on
    """

    def __init__(
        self, address: int, shape: Sequence[int], dtype: npt.DTypeLike, device: int, stream: int, owner: object
    ) -> None:
        self.address = address
        self.shape = tuple(int(length) for length in shape)
        self.dtype = np.dtype(dtype)
        self.device = device
        self.stream = stream
        self._owner = owner

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: npt.DTypeLike, *, device: int = 0, stream: int = 0) -> DeviceArray:
        kind = np.dtype(dtype)
        memory = loaded().Memory(math.prod(shape) * kind.itemsize, device)
        return cls(memory.address, shape, kind, device, stream, memory)

    @classmethod
    def from_host(cls, array: npt.NDArray[Any], *, device: int = 0, stream: int = 0) -> DeviceArray:
        """A copy of a NumPy array, made contiguous."""
        source = np.ascontiguousarray(array)
        made = cls.empty(source.shape, source.dtype, device=device, stream=stream)
        loaded().copy_in(made.address, source, device, stream)
        return made

    def to_host(self) -> npt.NDArray[Any]:
        """A copy as a NumPy array; waits for the stream."""
        out = np.empty(self.shape, dtype=self.dtype)
        loaded().copy_out(out, self.address, self.device, self.stream)
        return out

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def first(self, count: int) -> DeviceArray:
        """A view of the first `count` entries along the first axis."""
        if not 0 <= count <= self.shape[0]:
            raise ValueError(f"count is {count}, expected 0 to {self.shape[0]}")
        return DeviceArray(self.address, (count, *self.shape[1:]), self.dtype, self.device, self.stream, self._owner)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address if self.size else 0, False),
            "version": 3,
            "strides": None,
            "stream": self.stream or _LEGACY,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_DLPACK_CPU if loaded().emulated() else _DLPACK_CUDA), self.device

    def __dlpack__(self, *, stream: int | None = None, copy: bool | None = None, **_: Any) -> Any:
        """A capsule; the contents are ready for `stream`, None being the default stream, -1 asking for no order."""
        if copy:
            raise BufferError("a copy was asked for, expected copy=None or False")
        if stream != -1 and (stream or _LEGACY) != (self.stream or _LEGACY):
            loaded().synchronize(self.device, self.stream)
        kind = _CODES.get(self.dtype.kind)
        if kind is None:
            raise BufferError(f"the array is {self.dtype}, expected integers or floating-point numbers")
        return loaded().give_dlpack(
            self.address, list(self.shape), kind, 8 * self.dtype.itemsize, *self.__dlpack_device__(), self
        )


def as_device_array(
    name: str, value: object, dtype: npt.DTypeLike, rank: int, *, device: int = 0, stream: int = 0
) -> DeviceArray:
    """A view of another library's device array, ready for `stream`; nothing is cast or copied.

    raises  TypeError for what is no device array or has another dtype, ValueError for another rank, layout or device
    """
    if isinstance(value, DeviceArray):
        found = value
        if (value.stream or _LEGACY) != (stream or _LEGACY):
            loaded().synchronize(value.device, value.stream)
    elif hasattr(value, "__cuda_array_interface__"):
        found = _from_interface(name, value, device, stream)
    elif hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        found = _from_dlpack(name, value, stream)
    else:
        raise TypeError(
            f"{name} is a {type(value).__name__}, expected a device array (__cuda_array_interface__ or __dlpack__)"
        )
    expected = np.dtype(dtype)
    if found.dtype != expected:
        raise TypeError(f"{name} is a {found.dtype} device array of shape {found.shape}, expected {expected}")
    if len(found.shape) != rank:
        raise ValueError(f"{name} is a device array of shape {found.shape}, expected {rank} axes")
    if found.device != device:
        raise ValueError(f"{name} lies on device {found.device}, expected device {device}")
    return found


def _from_interface(name: str, value: Any, device: int, stream: int) -> DeviceArray:
    """Version 2 and 3. The interface says no device: the caller's is taken."""
    table = value.__cuda_array_interface__
    shape, dtype = tuple(table["shape"]), np.dtype(table["typestr"])
    _check_layout(name, shape, table.get("strides"), dtype.itemsize)
    if table.get("mask") is not None:
        raise ValueError(f"{name} has a mask, expected none")
    theirs = table.get("stream")
    if theirs is not None and theirs != (stream or _LEGACY):
        loaded().synchronize(device, theirs)
    return DeviceArray(int(table["data"][0]), shape, dtype, device, stream, value)


def _from_dlpack(name: str, value: Any, stream: int) -> DeviceArray:
    kind, number = value.__dlpack_device__()
    wanted = _DLPACK_CPU if loaded().emulated() else _DLPACK_CUDA
    if kind != wanted:
        raise ValueError(f"{name} lies on DLPack device type {int(kind)}, expected {wanted}")
    capsule = value.__dlpack__(stream=None if wanted == _DLPACK_CPU else stream or _LEGACY)
    address, shape, strides, code, bits, _, _, owner = loaded().take_dlpack(capsule)
    letter = next((letter for letter, known in _CODES.items() if known == code), None)
    if letter is None or bits not in (8, 16, 32, 64):
        raise TypeError(f"{name} has DLPack type {code} of {bits} bits, expected integers or floating-point numbers")
    dtype = np.dtype(f"{letter}{bits // 8}")
    _check_layout(name, shape, None if strides is None else tuple(n * dtype.itemsize for n in strides), dtype.itemsize)
    return DeviceArray(address, shape, dtype, int(number), stream, owner)


def _check_layout(name: str, shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> None:
    """Strides in bytes; those of an axis of length one, or of an empty array, say nothing."""
    if strides is None or 0 in shape:
        return
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            raise ValueError(f"{name} is a strided device array of shape {shape}, expected a C-contiguous one")
        expected *= length
