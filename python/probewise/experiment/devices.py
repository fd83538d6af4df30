# SPDX-License-Identifier: BSD-3-Clause
"""Which device a run's networks and surrogate take, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from probewise.device import choose_device, parse_device
from probewise.errors import ConfigurationError
from probewise.experiment.config import Configuration
from probewise.inference import runtime

FIELD = "run.device"


def check_device(configuration: Configuration) -> None:
    """ConfigurationError when a CUDA device was asked for and is not there, or cannot do what the run needs."""
    asked = configuration.run.device
    choose_device(asked, FIELD)
    if isinstance(parse_device(asked, FIELD), int) and configuration.acquisition.policy == "thompson":
        raise ConfigurationError(
            f"acquisition.policy is 'thompson' with {FIELD} {asked!r}, expected another policy or {FIELD} 'auto': "
            f"draws are made on the CPU"
        )


def network_device(configuration: Configuration) -> str:
    """What the networks are opened for. "auto" without CUDA in ONNX Runtime is the CPU, and nothing to speak of."""
    asked = configuration.run.device
    return "cpu" if asked == "auto" and runtime.CUDA not in runtime.providers() else asked


def device_used(models: Iterable[Mapping[str, str]], surrogate: str) -> str:
    """The name cuda where anything ran on a device, else "cpu"."""
    return "cuda" if surrogate != "cpu" or any(row["provider"] == runtime.CUDA for row in models) else "cpu"


def taken(configuration: Configuration) -> str:
    """In words: what runs where, and why."""
    asked = configuration.run.device
    if asked != "auto":
        chosen = choose_device(asked, FIELD)
        return f"{chosen.name}, {chosen.why}"
    if runtime.CUDA in runtime.providers():
        return "networks on CUDA, which this onnxruntime knows; surrogate on the CPU"
    return f"cpu, as {FIELD} is 'auto' and no onnxruntime that knows CUDA is installed"
