# SPDX-License-Identifier: BSD-3-Clause
"""Which device is taken, and why."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

from probewise.errors import ConfigurationError, CudaError

BUILD = "PROBEWISE_CUDA=1 pip install ."


@dataclass(frozen=True)
class Chosen:
    """name  "cpu" or "cuda:N"
    why   in words
    """

    name: str
    why: str

    @property
    def number(self) -> int | None:
        """Of the CUDA device, None for the CPU."""
        return None if self.name == "cpu" else int(self.name.removeprefix("cuda:"))


def parse_device(device: object, field: str = "device") -> int | str:
    """The names auto and cpu as they are, or the number of a CUDA device; ConfigurationError for anything else."""
    if isinstance(device, str):
        if device in ("auto", "cpu"):
            return device
        if found := re.fullmatch(r"cuda(?::(\d{1,3}))?", device):
            return int(found[1] or 0)
    raise ConfigurationError(f"{field} is {device!r}, expected one of auto, cpu, cuda, cuda:0, cuda:1, ...")


def cuda_module() -> Any:
    """The extension probewise._cuda, loaded on first use; None where it was not built."""
    try:
        return importlib.import_module("probewise._cuda")
    except ModuleNotFoundError:
        return None


def devices_found() -> tuple[list[str], str]:
    """Names of the CUDA devices, and why there are none."""
    module = cuda_module()
    if module is None:
        return [], f"this installation has no CUDA code; type: {BUILD}"
    try:
        names = [str(module.device_name(number)) for number in range(module.device_count())]
    except CudaError as problem:
        return [], f"CUDA does not work here: {problem}"
    return names, "" if names else "no CUDA device or no driver was found"


def choose_device(device: str, field: str = "device") -> Chosen:
    """What is taken for "auto", "cpu", "cuda" or "cuda:N".

    field   what errors call it
    raises  ConfigurationError for another name, and for a CUDA device that is not there
    """
    asked = parse_device(device, field)
    if asked == "cpu":
        return Chosen("cpu", "asked for")
    names, problem = devices_found()
    if isinstance(asked, int):
        if asked >= len(names):
            raise ConfigurationError(
                f"{field} is {device!r}, but {problem or f'there are {len(names)} CUDA devices'}; expected a device "
                f"that is there, 'auto' or 'cpu'"
            )
        return Chosen(f"cuda:{asked}", f"asked for: {names[asked]}")
    if problem:
        return Chosen("cpu", problem)
    if cuda_module().emulated():
        return Chosen("cpu", "the CUDA code of this installation is an emulation on the CPU")
    return Chosen("cuda:0", f"the first that was found: {names[0]}")
