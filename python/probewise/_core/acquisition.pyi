"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

from typing import Any

import numpy as np
import numpy.typing as npt

def score(
    policy: str,
    parameters: dict[str, float],
    mean: npt.NDArray[Any],
    std: npt.NDArray[Any],
    out: npt.NDArray[np.float64],
) -> None: ...
def choose_best(scores: npt.NDArray[np.float64], blocked: npt.NDArray[np.bool_], key: tuple[int, int]) -> int: ...
def keyed_permutation(size: int, key: tuple[int, int]) -> npt.NDArray[np.int64]: ...
def log_improvement(z: float) -> float: ...
