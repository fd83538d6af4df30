# SPDX-License-Identifier: BSD-3-Clause
"""Reading what torch.save wrote, without torch and without running anything that the file names.

A checkpoint is a zip of one pickle and the bytes of each storage. Pickle calls whatever global the file names; here it
gets tensors and dictionaries from our own types, and for every other name an object that takes anything and does
nothing. So a checkpoint that carries a whole optimiser can be read, and one that carries a command cannot run it.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError, ModelError

MAX_BYTES = 512 << 20
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip
# an extension code stands for a global that Python resolves without asking find_class again
_EXTENSIONS = ("EXT1", "EXT2", "EXT4")
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary that torch.save (1.6 or newer) wrote.

    Tensors in the dictionary's own tables become arrays; objects of foreign types become `Inert`.

    raises  ConfigurationError when there is no such file, ModelError when it is not such a file
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path}: got no regular file of at most {MAX_BYTES} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from problem
    except Exception as problem:  # a damaged pickle can raise anything
        text = " ".join(str(problem).split())[:200]
        raise ModelError(f"{path}: got {type(problem).__name__} ({text}), expected a file of torch.save") from problem


class Inert:
    """Stands for an object of a type we do not know: accepts every construction and keeps nothing."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object, **__: object) -> Inert:
        return self

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...

    def add(self, _: object) -> None: ...


class _Table(dict[Any, Any]):
    """An ordered dictionary; attributes hung on it are dropped."""

    def __setstate__(self, _: object) -> None: ...


class _Storage(NamedTuple):  # named tuples: a pickle can hang a new state on most other objects
    dtype: str
    key: str
    elements: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StorageType(NamedTuple):
    dtype: str


class _RebuildTensor(NamedTuple):
    """torch._utils._rebuild_tensor_v2"""

    def __call__(self, storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
        if isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple):
            sizes = [size for size in (offset, *shape, *strides) if type(size) is int and size >= 0]
            if len(sizes) == 1 + len(shape) + len(strides):
                return _Tensor(storage, sizes[0], shape, strides)
        raise pickle.UnpicklingError("a malformed tensor")


class _RebuildParameter(NamedTuple):
    """torch._utils._rebuild_parameter"""

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Table,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        """Our own stand-in for a global; the module is never imported."""
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        known = _KNOWN.get((module, name))
        return type("Inert", (Inert,), {"__slots__": ()}) if known is None else known

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, storage, key, _, elements = pid  # _: the device
        if (
            kind != "storage"
            or not isinstance(storage, _StorageType)
            or type(key) is not str
            or type(elements) is not int
        ):
            raise pickle.UnpicklingError("a malformed storage")
        return _Storage(storage.dtype, key, elements)


def _read(archive: zipfile.ZipFile) -> dict[str, Any]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ModelError(f"holds {len(pickles)} pickles, expected one (a file of torch.save, 1.6 or newer)")
    root = pickles[0].removesuffix("data.pkl")

    def member(name: str) -> bytes:
        entry = entries[root + name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_BYTES:
            raise ModelError(f"{entry.filename} is compressed or too large, expected a file of torch.save")
        return archive.read(entry)

    if f"{root}byteorder" in entries and member("byteorder") != b"little":
        raise ModelError("got another byte order, expected little")
    content = member("data.pkl")
    for opcode, argument, _ in pickletools.genops(content):  # also refuses lengths that the file does not have
        if opcode.name in _EXTENSIONS or (opcode.name in _MEMO and int(argument or 0) > len(content)):
            raise ModelError(f"uses pickle opcode {opcode.name}, expected a file of torch.save")
    table = _Unpickler(io.BytesIO(content)).load()
    if not isinstance(table, dict):
        raise ModelError(f"holds {type(table).__name__}, expected a dictionary")
    budget = [MAX_BYTES]
    return {key: _with_arrays(value, member, budget) for key, value in table.items()}


def _with_arrays(value: Any, member: Callable[[str], bytes], budget: list[int]) -> Any:
    """A table's tensors as arrays; other values as they are."""
    if not isinstance(value, dict):
        return value
    table = {}
    for key, entry in value.items():
        table[key] = entry
        if isinstance(entry, _Tensor):
            table[key] = array = _array(entry, member)
            budget[0] -= array.nbytes
            if budget[0] < 0:  # many tensors may share one storage
                raise ModelError(f"tensors of more than {MAX_BYTES} bytes")
    return table


def _array(tensor: _Tensor, member: Callable[[str], bytes]) -> npt.NDArray[Any]:
    """A copy of the tensor's elements; the bytes it reaches have to be there."""
    values = np.frombuffer(member(f"data/{tensor.storage.key}"), dtype=tensor.storage.dtype)
    if len(values) != tensor.storage.elements:
        raise ModelError(f"storage {tensor.storage.key} has {len(values)} elements, expected {tensor.storage.elements}")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, values.dtype)
    if len(tensor.shape) > 8 or last >= len(values) or math.prod(tensor.shape) > len(values):
        raise ModelError(f"a tensor of shape {tensor.shape} reaches past its storage of {len(values)} elements")
    steps = tuple(step * values.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()
