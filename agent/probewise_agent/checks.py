# SPDX-License-Identifier: BSD-3-Clause
"""What a controller asks, checked once more where the hardware is: nothing outside the limits reaches the driver.

All raise ValueError naming what came and what was expected. Nothing is clamped or rounded.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

EDGE = 1e-9  # fractions of the frame; what rounding of centre +- size/2 may add
INTEGERS = {
    "dwell_min_ns": 100,
    "dwell_max_ns": 1000000000,
    "dwell_step_ns": 1,
    "max_points": 1 << 26,
    "flyback_ns": 0,
}  # defaults of probewise's Limits
PATH_ARRAYS = {"yx": np.dtype("f8"), "dwell_ns": np.dtype("i8"), "active": np.dtype("?"), "pixel": np.dtype("i4")}


class Limits:
    """What a driver's `describe` says that it can do."""

    def __init__(self, description: dict[str, Any]) -> None:
        given = description["limits"]
        self.capabilities = frozenset(description["capabilities"])
        self.channels = tuple(given.get("channels", ("HAADF",)))
        self.numbers = {name: given.get(name, default) for name, default in INTEGERS.items()}
        self.max_fov_nm = given.get("max_fov_nm", math.inf)

    def check_channels(self, channels: Any) -> None:
        if not (isinstance(channels, list) and channels and all(isinstance(name, str) for name in channels)):
            raise ValueError(f"channels is {channels!r}, expected a list of names")
        for name in channels:
            if name not in self.channels or channels.count(name) > 1:
                raise ValueError(f"channels is {channels!r}, expected each of {self.channels} at most once")

    def check_context(self, context: Any) -> None:
        _check_keys("context", context, ("fov_nm", "shift_nm", "rotation_rad"))
        fov, shift = _pair("fov_nm", context["fov_nm"]), _pair("shift_nm", context["shift_nm"])
        rotation = _finite("rotation_rad", context["rotation_rad"])
        if min(fov) <= 0 or max(fov) > self.max_fov_nm:
            raise ValueError(f"fov_nm is {fov!r}, expected more than 0, at most {self.max_fov_nm!r} nm")
        if any(shift) and "SHIFT" not in self.capabilities:
            raise ValueError(f"shift_nm is {shift!r}, expected 0: the instrument cannot shift a scan")
        if rotation != 0 and "ROTATED_ROI" not in self.capabilities:
            raise ValueError(f"rotation_rad is {rotation!r}, expected 0: the instrument cannot rotate a scan")

    def check_scan(self, scan: Any) -> None:
        kind = scan.get("kind") if isinstance(scan, dict) else None
        if kind == "raster":
            self._check_raster(scan)
        elif kind == "path":
            self._check_path(scan)
        else:
            raise ValueError(f"scan is of kind {kind!r}, expected raster or path")

    def _check_raster(self, scan: dict[str, Any]) -> None:
        names = ("kind", "shape", "dwell_ns", "centre_yx", "size_yx", "discard_lines", "flyback_ns")
        _check_keys("scan", scan, names)
        rows, cols = _shape(scan["shape"])
        lines, flyback = _whole("discard_lines", scan["discard_lines"]), _whole("flyback_ns", scan["flyback_ns"])
        self._check_samples((rows + lines) * cols)
        dwell = _whole("dwell_ns", scan["dwell_ns"])
        self._check_dwell(dwell, dwell, dwell % max(self.numbers["dwell_step_ns"], 1))
        if flyback < self.numbers["flyback_ns"]:
            raise ValueError(f"flyback_ns is {flyback}, expected at least {self.numbers['flyback_ns']}")
        centre, size = _pair("centre_yx", scan["centre_yx"]), _pair("size_yx", scan["size_yx"])
        for middle, side in zip(centre, size):
            if not (side > 0 and middle - side / 2 >= -EDGE and middle + side / 2 <= 1 + EDGE):
                raise ValueError(f"centre_yx {centre!r} with size_yx {size!r} leaves the frame, expected within 0..1")

    def _check_path(self, scan: dict[str, Any]) -> None:
        if "VECTOR" not in self.capabilities:
            raise ValueError("scan is a list of positions, expected a raster: the instrument knows no vector scan")
        _check_keys("scan", scan, ("kind", "shape", *PATH_ARRAYS))
        rows, cols = _shape(scan["shape"])
        count = len(scan["dwell_ns"]) if isinstance(scan["dwell_ns"], np.ndarray) else 0
        self._check_samples(count)
        for name, dtype in PATH_ARRAYS.items():
            values = scan[name]
            shape = (count, 2) if name == "yx" else (count,)
            if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape != shape:
                raise ValueError(f"{name} is no {dtype} array of shape {shape!r}")
        yx, dwell, pixel = scan["yx"], scan["dwell_ns"], scan["pixel"]
        inside = (yx >= 0) & (yx <= 1)  # also refuses NaN
        if not inside.all():
            first = int(np.argmin(inside.all(axis=1)))
            raise ValueError(f"yx[{first}] is {tuple(yx[first].tolist())}, expected fractions within 0..1")
        least, most = int(dwell.min()), int(dwell.max())
        self._check_dwell(least, most, int((dwell % max(self.numbers["dwell_step_ns"], 1)).max()))
        if least != most and "POINT_DWELL" not in self.capabilities:
            raise ValueError(f"dwell_ns runs from {least} to {most}, expected one value")
        if int(pixel.min()) < -1 or int(pixel.max()) >= rows * cols:
            raise ValueError(f"pixel runs from {pixel.min()} to {pixel.max()}, expected -1 to {rows * cols - 1}")

    def _check_samples(self, samples: int) -> None:
        if not 1 <= samples <= self.numbers["max_points"]:
            raise ValueError(f"scan has {samples} samples, expected 1 to {self.numbers['max_points']}")

    def _check_dwell(self, least: int, most: int, remainder: int) -> None:
        low, high = self.numbers["dwell_min_ns"], self.numbers["dwell_max_ns"]
        if least < low or most > high or remainder:
            raise ValueError(
                f"dwell_ns is {least} to {most}, expected {low} to {high} in steps of {self.numbers['dwell_step_ns']}"
            )


def check_park(yx: Any) -> None:
    if yx is not None and not all(0 <= value <= 1 for value in _pair("yx", yx)):
        raise ValueError(f"yx is {yx!r}, expected fractions within 0..1, or None")


def check_timeout(timeout_s: Any) -> float:
    value = _finite("timeout_s", timeout_s)
    if not 0 < value <= 86400:
        raise ValueError(f"timeout_s is {value!r}, expected more than 0 and at most a day")
    return value


def _check_keys(name: str, value: Any, keys: Sequence[str]) -> None:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"{name} has {sorted(value) if isinstance(value, dict) else value!r}, expected {keys}")


def _finite(name: str, value: Any) -> float:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62
    if not (whole or (isinstance(value, float) and math.isfinite(value))):
        raise ValueError(f"{name} is {value!r}, expected a finite number")
    return float(value)


def _pair(name: str, value: Any) -> Sequence[float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{name} is {value!r}, expected two numbers (y, x)")
    return [_finite(name, part) for part in value]


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise ValueError(f"{name} is {value!r}, expected a whole number from 0")
    return value


def _shape(value: Any) -> Sequence[int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"shape is {value!r}, expected [rows, cols]")
    rows, cols = _whole("shape", value[0]), _whole("shape", value[1])
    if rows < 1 or cols < 1:
        raise ValueError(f"shape is {value!r}, expected at least one row and one column")
    return rows, cols
