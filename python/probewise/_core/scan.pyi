"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

import numpy as np
import numpy.typing as npt

def raster(
    shape: tuple[int, int],
    dwell_ns: int,
    centre_yx: tuple[float, float],
    size_yx: tuple[float, float],
    discard_lines: int,
    flyback_ns: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int32]]: ...
def codes(yx: npt.NDArray[np.float64], bits: int, out: npt.NDArray[np.uint16]) -> None: ...
def check_pattern(kind: str, shape: tuple[int, int], points: int, a: float, b: float, seed: int) -> None: ...
def pattern_points(
    kind: str, shape: tuple[int, int], points: int, a: float, b: float, seed: int
) -> npt.NDArray[np.float64]: ...
def pattern_pixels(
    kind: str, shape: tuple[int, int], points: int, a: float, b: float, seed: int
) -> npt.NDArray[np.int32]: ...
def pattern_codes(
    kind: str,
    shape: tuple[int, int],
    points: int,
    a: float,
    b: float,
    seed: int,
    bits: int,
    out: npt.NDArray[np.uint16],
) -> None: ...
def pattern_extremes(
    kind: str, shape: tuple[int, int], points: int, a: float, b: float, seed: int
) -> tuple[float, float]: ...
def pixels(yx: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.int32]: ...
def join(
    yx: npt.NDArray[np.float64],
    step: float,
    bend: float,
    near_yx: tuple[float, float],
    settle_samples: int,
    max_points: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]: ...
def tour(
    yx: npt.NDArray[np.float64], start: tuple[float, float], settle_s: float, velocity_per_s: float
) -> npt.NDArray[np.int64]: ...
