# SPDX-License-Identifier: BSD-3-Clause
"""The one check of arrays that come from outside the room."""

from __future__ import annotations

import numpy as np


def check_float32(name: str, array: object, axes: str) -> None:
    """Refuse `array` unless it is float32, C-contiguous and has the axes written in `axes`, e.g. "(rows, cols)"."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}, expected a float32 array {axes}")
    if array.dtype != np.float32:
        raise TypeError(f"{name} is {array.dtype}, expected float32 {axes}")
    if array.ndim != axes.count(",") + 1 or 0 in array.shape or not array.flags.c_contiguous:
        layout = "" if array.flags.c_contiguous else ", not C-contiguous"
        raise ValueError(f"{name} has shape {array.shape}{layout}, expected a C-contiguous array {axes}")
