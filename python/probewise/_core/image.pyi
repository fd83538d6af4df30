"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

import numpy as np
import numpy.typing as npt

def frame_statistics(
    counts: npt.NDArray[np.float32], saturation: float
) -> tuple[int, int, float, float, float, float, int]: ...
def to_image(pixel: npt.NDArray[np.int32], values: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None: ...
def network_input(image: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> tuple[float, float]: ...
def resample(image: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None: ...
def extract_patches(
    image: npt.NDArray[np.float32],
    centres: npt.NDArray[np.float64],
    subpixel: bool,
    circular: bool,
    out: npt.NDArray[np.float32],
    kept: npt.NDArray[np.int64],
) -> int: ...
def find_atoms(
    probability: npt.NDArray[np.float32], threshold: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]: ...
def label_atoms(
    yx: npt.NDArray[np.float64],
    maps: npt.NDArray[np.float32],
    stride: float,
    label: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
) -> None: ...
def rescaled(
    yx: npt.NDArray[np.float64], scale: tuple[float, float], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]: ...
def judge_columns(
    yx: npt.NDArray[np.float64],
    shape: tuple[int, int],
    width_px: float,
    amplitude: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    growth: float,
    share: npt.NDArray[np.float64],
    hosts: list[tuple[int, int]],
    vacancy: int,
    dopant: int,
    label: npt.NDArray[np.int64],
) -> None: ...
def input_statistics(
    image: npt.NDArray[np.float32],
) -> tuple[float, float, float, list[float], float]: ...
def answer_statistics(
    input: npt.NDArray[np.float32],
    presence: npt.NDArray[np.float32],
    classes: npt.NDArray[np.float32],
    stride: float,
    yx: npt.NDArray[np.float64],
) -> tuple[float, float, float, list[float], float, float]: ...
def estimate_noise(image: npt.NDArray[np.float32]) -> tuple[float, float]: ...
def refine_atoms(
    image: npt.NDArray[np.float32],
    yx: npt.NDArray[np.float64],
    noise: tuple[float, float],
    width_px: float,
    limit_px: float,
    least_width_px: float,
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.bool_],
    float,
    float,
]: ...
