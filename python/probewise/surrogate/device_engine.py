# SPDX-License-Identifier: BSD-3-Clause
"""The surrogate's engine on a CUDA device, which goes on on the CPU when the device is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probewise._core.surrogate import Engine
from probewise.errors import CudaError


class DeviceEngine:
    """The calls of `Engine` that a device answers; the maps come to the host when they are asked for.

    A CudaError of a call tells an engine on the CPU all that was told, repeats the call there and stays there;
    `notices` then says so. Draws are the CPU's: `sample` is refused.
    """

    def __init__(self, device: Any, on_cpu: Callable[[], Engine]) -> None:
        self._device = device
        self._on_cpu = on_cpu
        self._engine: Engine | None = None
        self._maps: dict[str, npt.NDArray[Any]] = {}
        self.notices: tuple[str, ...] = ()

    @property
    def on_device(self) -> bool:
        return self._engine is None

    def tell_one(self, index: int, value: float, noise: float) -> None:
        self.tell_many(np.array([index], dtype=np.int64), np.array([value]), np.array([noise]))

    def tell_many(
        self, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]
    ) -> None:
        self._change("tell_many", indices, values, noise)

    def set_values(self, values: npt.NDArray[np.float64]) -> None:
        self._change("set_values", values)

    def set_hyperparameters(self, lengthscale: npt.NDArray[np.float64], variance: float, noise: float) -> None:
        self._change("set_hyperparameters", lengthscale, variance, noise)

    def reset(self) -> None:
        self._change("reset")

    def choose(self, *arguments: Any) -> npt.NDArray[np.int64]:
        return np.asarray(self._call("choose", *arguments))

    def sample(self, key: tuple[int, int]) -> npt.NDArray[np.float64]:
        raise ValueError(f"a draw of key {key} was asked for on a CUDA device, expected device='cpu'")

    def mean_at(self, index: int) -> float:
        return float(self.mean[index])

    def largest_told_mean(self) -> float:
        """Of all candidates when none is told."""
        told = self.indices
        return float(self.mean[told].max() if len(told) else self.mean.max())

    def copy(self) -> Engine:
        """On the CPU."""
        return self._moved() if self._engine is None else self._engine.copy()

    def log_marginal_likelihood(self) -> float:
        return float(self._host.log_marginal_likelihood())

    def level(self) -> float:
        return float(self._host.level())

    @property
    def mean(self) -> npt.NDArray[Any]:
        return self._map("mean")

    @property
    def std(self) -> npt.NDArray[Any]:
        return self._map("std")

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        return np.asarray(self._host.indices)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        return np.asarray(self._host.values)

    @property
    def noises(self) -> npt.NDArray[np.float64]:
        return np.asarray(self._host.noises)

    @property
    def told(self) -> int:
        return len(self.indices)

    @property
    def size(self) -> int:
        return int(self._host.size)

    @property
    def lengthscale(self) -> list[float]:
        return list(self._host.lengthscale)

    @property
    def variance(self) -> float:
        return float(self._host.variance)

    @property
    def noise(self) -> float:
        return float(self._host.noise)

    @property
    def plan(self) -> Literal["separable", "cached", "lazy"]:
        plan: Literal["separable", "cached", "lazy"] = self._host.plan
        return plan

    @property
    def jitter(self) -> float:
        return float(self._host.jitter)

    @property
    def _host(self) -> Any:
        """What holds the told values and the factor, which no failing device takes away."""
        return self._device if self._engine is None else self._engine

    def _change(self, call: str, *arguments: Any) -> None:
        self._maps.clear()
        self._call(call, *arguments)

    def _call(self, call: str, *arguments: Any) -> Any:
        if self._engine is None:
            try:
                return getattr(self._device, call)(*arguments)
            except CudaError as problem:
                self._leave(problem)
        return getattr(self._engine, call)(*arguments)

    def _map(self, name: str) -> npt.NDArray[Any]:
        if self._engine is None and name not in self._maps:
            try:
                found = np.asarray(getattr(self._device, name))
                found.flags.writeable = False
                self._maps[name] = found
            except CudaError as problem:
                self._leave(problem)
        return self._maps[name] if self._engine is None else np.asarray(getattr(self._engine, name))

    def _leave(self, problem: CudaError) -> None:
        self._engine = self._moved()
        self._maps.clear()
        self.notices += (f"the surrogate moved to the CPU after an error on the device: {problem}",)

    def _moved(self) -> Engine:
        """An engine on the CPU that was told the same."""
        engine = self._on_cpu()
        engine.set_hyperparameters(np.array(self._device.lengthscale), self._device.variance, self._device.noise)
        engine.tell_many(self._device.indices, self._device.values, self._device.noises)
        return engine
