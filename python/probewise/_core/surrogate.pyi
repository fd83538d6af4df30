"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

class Engine:
    @staticmethod
    def lattice(
        rows: int,
        cols: int,
        dy: float,
        dx: float,
        kernel: str,
        lengthscale: npt.NDArray[np.float64],
        variance: float,
        noise: float,
        mean: float,
        alpha: float,
        precision: str,
        plan: str = "",
    ) -> Engine: ...
    @staticmethod
    def points(
        points: npt.NDArray[np.float64],
        kernel: str,
        lengthscale: npt.NDArray[np.float64],
        variance: float,
        noise: float,
        mean: float,
        alpha: float,
        precision: str,
        plan: str = "",
    ) -> Engine: ...
    def copy(self) -> Engine: ...
    def tell_one(self, index: int, value: float, noise: float) -> None: ...
    def tell_many(
        self, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]
    ) -> None: ...
    def set_values(self, values: npt.NDArray[np.float64]) -> None: ...
    def set_hyperparameters(self, lengthscale: npt.NDArray[np.float64], variance: float, noise: float) -> None: ...
    def reset(self) -> None: ...
    def reserve(self, rows: int) -> None: ...
    def log_marginal_likelihood(self) -> float: ...
    def level(self) -> float: ...
    def sample(self, key: tuple[int, int]) -> npt.NDArray[np.float64]: ...
    def choose(
        self,
        policy: str,
        parameters: dict[str, float],
        q: int,
        visited: npt.NDArray[np.bool_] | None,
        allow_told: bool,
        cost: npt.NDArray[np.float64] | None,
        cost_weight: float,
        key: tuple[int, int],
        believer: bool,
    ) -> npt.NDArray[np.int64]: ...
    def step(
        self,
        index: int,
        value: float,
        policy: str,
        parameters: dict[str, float],
        visited: npt.NDArray[np.bool_] | None,
        allow_told: bool,
        cost: npt.NDArray[np.float64] | None,
        cost_weight: float,
        key: tuple[int, int],
    ) -> int: ...
    def set_path(self, offsets_yx: npt.NDArray[np.float64], centres_yx: npt.NDArray[np.float64]) -> None: ...
    def path(self, index: int) -> npt.NDArray[np.float64]: ...
    @property
    def mean(self) -> npt.NDArray[Any]: ...
    @property
    def std(self) -> npt.NDArray[Any]: ...
    @property
    def indices(self) -> npt.NDArray[np.int64]: ...
    @property
    def values(self) -> npt.NDArray[np.float64]: ...
    @property
    def noises(self) -> npt.NDArray[np.float64]: ...
    @property
    def told(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def lengthscale(self) -> list[float]: ...
    @property
    def variance(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def jitter(self) -> float: ...
    @property
    def plan(self) -> Literal["separable", "cached", "lazy"]: ...
    def mean_at(self, index: int) -> float: ...
    def largest_told_mean(self) -> float: ...
    @property
    def exact_samples(self) -> bool: ...

class Likelihood:
    def __init__(
        self,
        points: npt.NDArray[np.float64],
        residuals: npt.NDArray[np.float64],
        kernel: str,
        alpha: float,
        noise: npt.NDArray[np.float64],
    ) -> None: ...
    def evaluate(
        self, lengthscale: npt.NDArray[np.float64], variance: float, noise: float
    ) -> tuple[float, npt.NDArray[np.float64]]: ...
