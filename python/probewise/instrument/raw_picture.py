# SPDX-License-Identifier: BSD-3-Clause
"""What a file reader hands over before anything is checked or cast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError

# 8192 x 8192, the largest frame that scan generators commonly make; 256 MiB as float32.
MAX_PIXELS = 1 << 26
_NM = {"m": 1e9, "mm": 1e6, "um": 1e3, "micron": 1e3, "nm": 1.0, "a": 0.1, "angstrom": 0.1, "pm": 1e-3}


@dataclass(frozen=True, eq=False)
class RawPicture:
    """`data` as stored, any shape and type; `pixel_nm` (y, x) or None."""

    data: npt.NDArray[Any]
    pixel_nm: tuple[float, float] | None = None
    notices: tuple[str, ...] = ()


def check_size(file: Path, shape: Sequence[int]) -> None:
    """Refuse, before it is read, what would not fit."""
    values = 1
    for length in shape:
        values *= int(length)
    if values > MAX_PIXELS:
        raise ConfigurationError(
            f"{file}: {' x '.join(str(n) for n in shape)} values, expected at most {MAX_PIXELS} (8192 x 8192)"
        )


def length_in_nm(unit: str) -> float | None:
    """How many nm one `unit` is; None when it is no length (pixels, 1/nm, an empty string)."""
    plain = unit.strip()
    for micro in ("\u00b5", "\u03bc", "\\u00B5"):  # micro sign, Greek mu, and ImageJ's escape
        plain = plain.replace(micro, "u")
    for ring in ("\u00c5", "\u212b"):  # A with ring, angstrom sign
        plain = plain.replace(ring, "a")
    return _NM.get(plain.lower())


def pixel_of_axes(axes: Sequence[tuple[int, Any, Any]]) -> tuple[float, float] | None:
    """Pixel size (y, x) from the (size, scale, unit) of the two image axes: those longer than one sample."""
    image_axes = [axis for axis in axes if axis[0] > 1]
    if len(image_axes) != 2:
        return None
    sides = []
    for _, scale, unit in image_axes:
        nm = length_in_nm(unit) if isinstance(unit, str) else None
        if nm is None or scale is None:
            return None
        sides.append(abs(float(np.asarray(scale))) * nm)
    return (sides[0], sides[1])
