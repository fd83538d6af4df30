# SPDX-License-Identifier: BSD-3-Clause
"""A loaded model: hash, structure and interface checked, every call under a deadline, every result checked."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise import models
from probewise._core import all_finite
from probewise.device import parse_device
from probewise.errors import ConfigurationError, ModelError
from probewise.inference import runtime
from probewise.inference.card import MAX_MODEL_BYTES, POSE, Card
from probewise.inference.deadline import Deadline
from probewise.inference.files import read_regular
from probewise.inference.structure import Structure, examine
from probewise.types import Float32Array

if TYPE_CHECKING:
    import onnxruntime as ort

_WARM_UP_PX = 64


def locate(model: str | Path) -> Path:
    """The .onnx file of a path, or of the name of a shipped model."""
    if isinstance(model, str) and not model.endswith(".onnx"):
        return models.path(model)
    return Path(model)


def read_model(path: Path) -> tuple[Card, bytes, Structure]:
    """Card, bytes and structure of a model, nothing run yet; ModelError when hash, size or structure is wrong."""
    content = read_regular(path, MAX_MODEL_BYTES)
    beside = path.with_suffix(".json")
    if not beside.exists():
        raise ModelError(f"{path}: has no card, expected {beside.name} beside it")
    card = Card.load(beside)
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (card.size_bytes, card.sha256):
        raise ModelError(
            f"{path}: sha256 {digest[:12]} with {len(content)} bytes, expected {card.sha256[:12]} with "
            f"{card.size_bytes} as in {beside.name}"
        )
    structure = examine(content, str(path))
    if structure.opset != card.opset:
        raise ModelError(f"{path}: got opset {structure.opset}, expected {card.opset} as in {beside.name}")
    return card, content, structure


def examine_model(path: Path) -> Structure:
    """What the file of a model holds, its hash, size and structure checked; nothing is run."""
    return read_model(path)[2]


def load_model(
    model: str | Path, *, threads: int | None = None, deadline_s: float = 10.0, device: str = "cpu"
) -> Model:
    """Load a shipped model by its name, or NAME.onnx with NAME.json beside it by its path.

    threads     of one call; default PROBEWISE_THREADS or 1. They sleep between calls.
    deadline_s  for loading and for each call
    device      "cpu", "cuda", "cuda:N" or "auto": CUDA where onnxruntime has it and it works
    raises      ModelError when it is refused, ConfigurationError when onnxruntime or the device is not there

    A device that is lost later moves the model to the CPU, where the call is repeated; its notices say so.
    """
    if threads is None:
        threads = runtime.default_threads()
    if type(threads) is not int or threads < 1:
        raise ValueError(f"threads is {threads!r}, expected a whole number from 1")
    if not (math.isfinite(deadline_s) and 0 < deadline_s <= 3600):
        raise ValueError(f"deadline_s is {deadline_s!r}, expected a number of seconds up to 3600")
    provider, notices = runtime.choose_provider(device)
    path = locate(model)
    card, content, _ = read_model(path)
    asked = parse_device(device)
    number = asked if isinstance(asked, int) else 0
    return Model(
        card, content, str(path), provider, notices, threads, deadline_s, device_id=number, insists=asked != "auto"
    )


class Model:
    """Runs on float32 arrays; made by `load_model`.

    card      what it takes and gives
    provider  of ONNX Runtime: CPUExecutionProvider or CUDAExecutionProvider
    notices   what was decided for the caller
    """

    def __init__(
        self,
        card: Card,
        content: bytes,
        source: str,
        provider: str,
        notices: tuple[str, ...],
        threads: int,
        deadline_s: float,
        *,
        device_id: int,
        insists: bool,
    ) -> None:
        self.card = card
        self.provider = provider
        self.notices = notices
        self._source = source
        self._content = b"" if provider == runtime.CPU else content  # to go on from where a device is lost
        self._device_id = device_id
        self._threads = threads
        self._deadline_s = deadline_s
        self._outputs = [output.name for output in card.outputs]
        self._starting = True
        try:
            self._session = self._open(content)
            self.run(self._ramp())
        except (ConfigurationError, ModelError) as problem:
            if insists or self.provider == runtime.CPU:
                raise
            self._leave_device(f"as CUDA cannot be used: {problem}")
            self.run(self._ramp())
        self._starting = False

    def run(self, x: Float32Array) -> tuple[Float32Array, ...]:
        """All outputs, in the card's order.

        x       C-contiguous float32 with the axes of the card: (N, 1, H, W), (N, h, w) or (N, f)
        raises  ModelError when the call fails, passes its deadline, or gives wrong shapes or non-finite numbers
        """
        self._check(x)
        expected = self.card.output_shapes(x.shape)
        for output, name, shape in zip(results := self._call(x), self._outputs, expected, strict=True):
            if output.dtype != np.float32 or output.shape != shape:
                raise ModelError(
                    f"{self._source}: output {name!r} is {output.dtype} {output.shape}, expected float32 {shape}"
                )
            if not all_finite(output):
                raise ModelError(f"{self._source}: output {name!r} holds non-finite numbers")
        return tuple(results)

    def _call(self, x: Float32Array) -> list[Any]:
        try:
            return self._call_session(x)
        except ModelError as problem:
            if self._starting or self.provider == runtime.CPU or isinstance(problem, _Late):
                raise
            self._leave_device(f"after an error on CUDA: {problem}")
            return self._call_session(x)

    def _leave_device(self, why: str) -> None:
        self.provider = runtime.CPU
        self.notices += (f"{self.card.name}: moved to the CPU {why}",)
        self._session = self._open(self._content)
        self._content = b""

    def run_on_device(self, x: object) -> tuple[Any, ...]:
        """As `run`, for an array where the model runs: nothing but whether the outputs are finite comes to the host.

        x        on CUDA anything that CuPy takes without a copy (CuPy, PyTorch, DeviceArray), else a NumPy array
        returns  CuPy arrays, which own their memory; NumPy arrays on the CPU
        raises   as `run`; ModelError too when the device is lost: `run` on the host's frame then goes on on the CPU
        """
        on_cpu = self.provider == runtime.CPU
        module = np if on_cpu else importlib.import_module("cupy")
        given = module.asarray(x)
        self._check(given)
        shapes = self.card.output_shapes(given.shape)
        results = tuple(module.empty(shape, dtype=np.float32) for shape in shapes)
        binding = self._session.io_binding()
        kind = "cpu" if on_cpu else "cuda"
        name = self.card.input.name
        binding.bind_input(name, kind, self._device_id, np.float32, given.shape, _address(given, on_cpu))
        for result, output in zip(results, self._outputs, strict=True):
            binding.bind_output(output, kind, self._device_id, np.float32, result.shape, _address(result, on_cpu))
        if not on_cpu:
            module.cuda.get_current_stream().synchronize()  # the runtime has a stream of its own

        def call(options: ort.RunOptions) -> None:
            self._session.run_with_iobinding(binding, options)
            binding.synchronize_outputs()

        self._under_deadline(call)
        for result, output in zip(results, self._outputs, strict=True):
            if not bool(module.isfinite(result).all()):
                raise ModelError(f"{self._source}: output {output!r} holds non-finite numbers")
        return results

    def _call_session(self, x: Float32Array) -> list[Any]:
        results: list[Any] = self._under_deadline(
            lambda options: self._session.run(self._outputs, {self.card.input.name: x}, options)
        )
        return results

    def _under_deadline(self, call: Callable[[ort.RunOptions], Any]) -> Any:
        options = runtime.new_run_options()

        def stop() -> None:
            options.terminate = True

        with Deadline(self._deadline_s, stop) as deadline:
            try:
                results = call(options)
            except Exception as problem:  # the runtime's exceptions have no common base but this
                if deadline.expired:
                    raise _Late(f"{self._source}: no result within {self._deadline_s:g} s") from problem
                raise ModelError(f"{self._source}: failed: {runtime.brief(problem)}") from problem
        if deadline.expired:
            raise _Late(f"{self._source}: no result within {self._deadline_s:g} s")
        return results

    def _check(self, x: Float32Array) -> None:
        axes = self.card.input.axes
        kind = getattr(x, "dtype", type(x).__name__)
        if kind != np.float32:
            raise TypeError(f"x is {kind}, expected a float32 array")
        if x.ndim != len(axes) or 0 in x.shape or not x.flags.c_contiguous:
            layout = "C-contiguous" if x.flags.c_contiguous else "strided"
            raise ValueError(f"x is {layout} of shape {x.shape}, expected C-contiguous ({', '.join(axes)}), none empty")
        for axis, length in zip(axes, x.shape, strict=True):
            expected = self._length(axis)
            if expected is not None and length != expected:
                raise ValueError(f"x has shape {x.shape}, expected {expected} along {axis}")
            if axes == "N1HW" and axis in "HW" and length % self.card.input.multiple_of:
                raise ValueError(
                    f"x has shape {x.shape}, expected H and W to be multiples of {self.card.input.multiple_of}"
                )
        if not all_finite(x):
            raise ValueError(f"x holds {int((~np.isfinite(x)).sum())} non-finite numbers, expected finite ones")

    def _length(self, axis: str) -> int | None:
        """What an axis of the input has to measure, None where it is free."""
        shape = self.card.input
        if axis in "HW":
            return shape.patch_px
        if axis == "F":
            assert self.card.latent is not None
            return POSE + self.card.latent.content
        return 1 if axis == "1" else None

    def _ramp(self) -> Float32Array:
        """A smallest input with values from 0 to 1."""
        multiple = self.card.input.multiple_of
        side = -(-_WARM_UP_PX // multiple) * multiple
        shape = tuple(self._length(axis) or (1 if axis == "N" else side) for axis in self.card.input.axes)
        return np.linspace(0, 1, math.prod(shape), dtype=np.float32).reshape(shape)

    def _open(self, content: bytes) -> ort.InferenceSession:
        session = runtime.open_session(
            content,
            self._source,
            provider=self.provider,
            threads=self._threads,
            deadline_s=self._deadline_s,
            device_id=self._device_id,
        )
        lengths = [self._length(axis) for axis in self.card.input.axes]
        self._check_interface("input", session.get_inputs(), [self.card.input.name], [lengths])
        frames = self.card.input.axes == "N1HW"
        shapes = self.card.output_shapes(self._ramp().shape)
        fixed = [[None, shape[1], None, None] if frames else [None, *shape[1:]] for shape in shapes]
        self._check_interface("output", session.get_outputs(), self._outputs, fixed)
        return session

    def _check_interface(
        self, what: str, found: Sequence[ort.NodeArg], names: list[str], lengths: list[list[int | None]]
    ) -> None:
        """Names, types, ranks, and each length that is fixed; None: it has to be free."""
        try:
            given = [(one.name, one.type, one.shape) for one in found]
        except UnicodeDecodeError as problem:  # names are decoded when they are asked for
            raise ModelError(f"{self._source}: an {what} has a name that is no text") from problem
        if [name for name, *_ in given] != names:
            raise ModelError(f"{self._source}: {what}s are {[name for name, *_ in given]}, expected {names}")
        for (name, kind, shape), wanted in zip(given, lengths, strict=True):
            said = f"{self._source}: {what} {name!r}"
            if kind != "tensor(float)":
                raise ModelError(f"{said} is {kind}, expected tensor(float)")
            if len(shape) != len(wanted):
                raise ModelError(f"{said} has shape {shape}, expected {len(wanted)} axes")
            for axis, (length, one) in enumerate(zip(shape, wanted, strict=True)):
                if isinstance(length, int) and length != one:
                    raise ModelError(
                        f"{said} has shape {shape}, expected axis {axis} to be {'free' if one is None else one}"
                    )


def _address(array: Any, on_cpu: bool) -> int:
    return int(array.ctypes.data if on_cpu else array.data.ptr)


class _Late(ModelError):
    """The deadline was passed."""
