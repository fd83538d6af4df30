"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

import numpy as np
import numpy.typing as npt

def taper_windows(
    image: npt.NDArray[np.float32],
    corners: npt.NDArray[np.int64],
    taper: npt.NDArray[np.float32],
    scale: float,
    subtract_mean: bool,
    out: npt.NDArray[np.float32],
    means: npt.NDArray[np.float64],
) -> None: ...
def window_spectra(
    image: npt.NDArray[np.float32],
    corners: npt.NDArray[np.int64],
    taper: npt.NDArray[np.float32],
    keep: int,
    scale: float,
    subtract_mean: bool,
    out: npt.NDArray[np.float32],
    means: npt.NDArray[np.float64],
) -> None: ...
def refine_peaks(
    windows: npt.NDArray[np.float32],
    reach: float,
    peaks: npt.NDArray[np.float64],
    power: npt.NDArray[np.float64],
    phase_step: npt.NDArray[np.float64],
) -> None: ...
def project(
    spectra: npt.NDArray[np.float32],
    basis: npt.NDArray[np.float64],
    products: npt.NDArray[np.float64],
    norms: npt.NDArray[np.float64],
) -> None: ...
def solve_abundances(
    gram: npt.NDArray[np.float64],
    products: npt.NDArray[np.float64],
    constraint: str,
    abundances: npt.NDArray[np.float64],
) -> None: ...
def surroundings(
    yx: npt.NDArray[np.float64],
    label: npt.NDArray[np.int64],
    shape: tuple[float, float],
    neighbours: int,
    together: int,
    fewest: int,
    least_spread: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.float64]]: ...
def nearest(
    points: npt.NDArray[np.float64], queries: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]: ...
def discord(
    yx: npt.NDArray[np.float64], label: npt.NDArray[np.int64], terms: npt.NDArray[np.float64], neighbours: int
) -> npt.NDArray[np.float64]: ...
