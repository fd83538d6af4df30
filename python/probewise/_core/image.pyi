"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""

import numpy as np
import numpy.typing as npt

def frame_statistics(
    counts: npt.NDArray[np.float32], saturation: float
) -> tuple[int, int, float, float, float, float, int]: ...
def to_image(pixel: npt.NDArray[np.int32], values: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None: ...
