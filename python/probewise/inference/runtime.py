# SPDX-License-Identifier: BSD-3-Clause
"""ONNX Runtime: which distribution is there, which provider is taken, sessions with no surprises."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

from probewise.device import parse_device
from probewise.errors import ConfigurationError, ModelError
from probewise.inference.deadline import Deadline

if TYPE_CHECKING:
    import onnxruntime as ort

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
INSTALL_CPU = "pip install 'onnxruntime>=1.20,<2'"
INSTALL_CUDA = "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]>=1.20,<2'"

# What all sessions together may hold: 16 maps of 16 channels at 2048 x 2048 in float32.
MAX_ARENA_BYTES = 4 << 30
_SAME_AS_REQUESTED = 1  # arena_extend_strategy; the default, the next power of two, would waste up to half of the limit

SPINS = False  # a thread that waits for the next call must not hold a core that the loop, a fit or a driver needs
_SILENT = 4  # log severity: only what ends the process; errors arrive as exceptions
_OPTIONS = {
    "session.load_model_format": "ONNX",  # otherwise bytes 4 to 7 could make it read another format, unexamined
    "session.use_env_allocators": "1",
    "session.intra_op.allow_spinning": str(int(SPINS)),
    "session.inter_op.allow_spinning": str(int(SPINS)),
}
# It computes with what the file holds while the session is made, where no deadline reaches (268 million ones: 30 s).
_DISABLED = ["ConstantFolding"]


def version(distribution: str) -> str | None:
    """The installed version, None where absent."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed() -> dict[str, str | None]:
    """Version of each distribution of ONNX Runtime, None where absent."""
    return {name: version(name) for name in DISTRIBUTIONS}


def conflict(found: dict[str, str | None]) -> str | None:
    """What is wrong with the distributions, and what to type; None where exactly one is there."""
    if all(found.values()):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; type: "
            f"pip uninstall -y {' '.join(DISTRIBUTIONS)} && {INSTALL_CPU}"
        )
    if not any(found.values()):
        return f"onnxruntime is missing; type: {INSTALL_CPU}"
    return None


def load_runtime() -> Any:
    """The module onnxruntime; ConfigurationError when it is missing or there twice."""
    problem = conflict(installed())
    if problem:
        raise ConfigurationError(problem)
    import onnxruntime

    return onnxruntime


def providers() -> tuple[str, ...]:
    """Execution providers of the installed runtime; none without exactly one distribution."""
    if conflict(installed()):
        return ()
    return tuple(load_runtime().get_available_providers())


def default_threads() -> int:
    """PROBEWISE_THREADS, or 1."""
    given = os.environ.get("PROBEWISE_THREADS", "1")
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 1024):
        raise ConfigurationError(f"PROBEWISE_THREADS is {given!r}, expected a whole number from 1 to 1024")
    return int(given)


def choose_provider(device: str) -> tuple[str, tuple[str, ...]]:
    """The provider for a device, and what there is to say about the choice."""
    asked = parse_device(device)
    if asked == "cpu":
        return CPU, ()
    if CUDA in load_runtime().get_available_providers():
        return CUDA, ()
    if asked != "auto":
        raise ConfigurationError(f"device is {device!r}, but this onnxruntime knows no CUDA; type: {INSTALL_CUDA}")
    return CPU, ("device auto: the models run on the CPU, this onnxruntime knows no CUDA",)


def open_session(
    content: bytes, source: str, *, provider: str, threads: int, deadline_s: float, device_id: int = 0
) -> ort.InferenceSession:
    """A session from the bytes of a model; ModelError when the runtime refuses them or is not done in time."""
    ort = load_runtime()
    _limit_memory(ort)
    if provider == CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in _OPTIONS.items():
        options.add_session_config_entry(key, value)

    def stop() -> None:
        if hasattr(options, "set_load_cancellation_flag"):  # since onnxruntime 1.21
            options.set_load_cancellation_flag(True)

    with Deadline(deadline_s, stop) as deadline:
        try:
            session = ort.InferenceSession(
                content,
                options,
                providers=[(provider, {"device_id": str(device_id)} if provider == CUDA else {})],
                disabled_optimizers=_DISABLED,
                enable_fallback=0,
            )
        except Exception as problem:  # the runtime's exceptions have no common base but this
            if deadline.expired:
                raise ModelError(f"{source}: not loaded within {deadline_s:g} s") from problem
            raise ModelError(f"{source}: refused by onnxruntime: {brief(problem)}") from problem
    if deadline.expired:
        raise ModelError(f"{source}: not loaded within {deadline_s:g} s")
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        taken = session.get_providers()[0]
        raise ConfigurationError(f"{provider} could not be used, {taken} was taken; probewise doctor says more")
    return session


def new_run_options() -> ort.RunOptions:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = _SILENT
    return options


def brief(problem: BaseException) -> str:
    """First 400 characters of the runtime's message, on one line."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= 400 else text[:397] + "..."


def _limit_memory(ort: Any) -> None:
    """One arena of bounded size for all sessions that ask for it, which ours do and others do not."""
    information = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    arena = ort.OrtArenaCfg({"max_mem": MAX_ARENA_BYTES, "arena_extend_strategy": _SAME_AS_REQUESTED})
    ort.create_and_register_allocator(information, arena)
