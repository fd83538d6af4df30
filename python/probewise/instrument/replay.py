# SPDX-License-Identifier: BSD-3-Clause
"""Replay: measure overlapping windows of a picture, or the values of a told map, site by site.

It compares choices on a map that is already known; it makes no claim about exposed area or dose.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError
from probewise.instrument.readers import read_picture
from probewise.types import BoolArray, Context, Float32Array, FloatArray, Frame, RasterROI


@dataclass(frozen=True, eq=False)
class Replay:
    """Sites whose measurement is already known; flat index row * cols + col.

    shape    (rows, cols) of sites
    source   "replay:<file name>"
    picture  (rows, cols) float32 that the windows are cut from, None for a told map
    corners  (sites, 2) int64 first (row, col) of each window, None for a told map
    target   (sites,) float64 told values, foi (sites,) bool features of interest, objects (sites,) int64 labels
             from 1, 0 for none; None where the file does not hold them
    notices  what was assumed or done to the data
    """

    shape: tuple[int, int]
    source: str
    window_px: int
    step_px: int
    picture: Float32Array | None
    corners: npt.NDArray[np.int64] | None
    pixel_nm: tuple[float, float]
    target: FloatArray | None = None
    foi: BoolArray | None = None
    objects: npt.NDArray[np.int64] | None = None
    notices: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def measure(self, index: int) -> Frame | float:
        """The window of site `index` as a frame (sequence index, no beam time), or the told value.

        raises  ValueError when there is no such site
        """
        if not 0 <= index < self.size:
            raise ValueError(f"index is {index}, expected a site from 0 to {self.size - 1}")
        if self.picture is None or self.corners is None:
            assert self.target is not None
            return float(self.target[index])
        rows, cols = self.picture.shape
        row, col = (int(value) for value in self.corners[index])
        side = self.window_px
        return Frame(
            counts=np.ascontiguousarray(self.picture[None, row : row + side, col : col + side]),
            channels=("picture",),
            context=Context((rows * self.pixel_nm[0], cols * self.pixel_nm[1])),
            scan=RasterROI(
                shape=(side, side),
                dwell_ns=1,
                centre_yx=((row + side / 2) / rows, (col + side / 2) / cols),
                size_yx=(side / rows, side / cols),
            ),
            sequence=int(index),
            started_ns=0,
            duration_ns=0,
            valid=side * side,
        )


def open_replay(path: str | os.PathLike[str], window_px: int, step_px: int) -> Replay:
    """Open a picture (windows of `window_px` every `step_px`) or a told map (an npz file with `value`).

    Windows start at arange(0, W - window_px, step_px) on both axes, the study's rule: a last window that would
    end exactly at the edge is left out. A told map (rows, cols) has one site a value; window and step are unused.
    raises  ConfigurationError naming the file or setting, what came and what was expected
    source  Creange et al., Mach. Learn.: Sci. Technol. 3 (2022) 015024, notebooks
    """
    settings: tuple[tuple[str, object], ...] = (("sites.window_px", window_px), ("sites.step_px", step_px))
    for name, value in settings:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"{name} is {value!r}, expected a positive whole number of pixels")
    file = Path(path)
    if file.suffix.lower() == ".npz":
        return _told_map(file, window_px, step_px)
    picture = read_picture(file)
    starts = [np.arange(0, length - window_px, step_px) for length in picture.data.shape]
    if not all(len(s) for s in starts):
        raise ConfigurationError(
            f"sites.window_px is {window_px}, expected less than the sides of {file.name}, "
            f"{picture.data.shape[0]} x {picture.data.shape[1]}"
        )
    grid = np.stack(np.meshgrid(starts[0], starts[1], indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    notices = list(picture.notices)
    if picture.pixel_nm is None:
        notices.append(f"{file.name} has no calibration: lengths of this replay take one pixel as 1 nm")
    return Replay(
        shape=(len(starts[0]), len(starts[1])),
        source=f"replay:{file.name}",
        window_px=window_px,
        step_px=step_px,
        picture=picture.data,
        corners=grid,
        pixel_nm=picture.pixel_nm or (1.0, 1.0),
        notices=tuple(notices),
    )


def _told_map(file: Path, window_px: int, step_px: int) -> Replay:
    if not file.is_file():
        raise ConfigurationError(f"{file}: no such file, expected a told map (npz with `value`)")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as store:
            held = {name: store[name] for name in ("value", "foi", "objects") if name in store.files}
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"{file}: cannot be read ({said}), expected a told map (npz with `value`)") from error
    value = held.get("value")
    if value is None or value.ndim != 2 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        came = "no `value`" if value is None else f"`value` is {value.dtype} of shape {value.shape}"
        raise ConfigurationError(f"{file}: {came}, expected finite real `value` of shape (rows, cols)")
    for name, kinds in (("foi", "b"), ("objects", "iu")):
        other = held.get(name)
        if other is not None and (other.shape != value.shape or other.dtype.kind not in kinds):
            expected = "bool" if kinds == "b" else "integer"
            raise ConfigurationError(
                f"{file}: `{name}` is {other.dtype} of shape {other.shape}, expected {expected} of shape {value.shape}"
            )
    return Replay(
        shape=(value.shape[0], value.shape[1]),
        source=f"replay:{file.name}",
        window_px=window_px,
        step_px=step_px,
        picture=None,
        corners=None,
        pixel_nm=(1.0, 1.0),
        target=value.astype(np.float64).ravel(),
        foi=held["foi"].ravel() if "foi" in held else None,
        objects=held["objects"].astype(np.int64).ravel() if "objects" in held else None,
    )
