# SPDX-License-Identifier: BSD-3-Clause
"""Where and how the beam is scanned."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from probewise.types.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Lattice:
    """Candidates on a rectangular lattice: point (r, c) lies at (r * dy, c * dx), flat index r * cols + c.

    shape    (rows, cols), each at least 1
    spacing  (dy, dx), positive, in the unit of the lengthscale
    """

    shape: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        rows, cols = self.shape
        if rows < 1 or cols < 1:
            raise ValueError(f"shape is {self.shape}, expected at least one row and one column")
        if not all(math.isfinite(step) and step > 0 for step in self.spacing):
            raise ValueError(f"spacing is {self.spacing}, expected two positive finite numbers")

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def points(self) -> FloatArray:
        """Coordinates of all candidates, (c, 2) as (y, x)."""
        rows, cols = np.indices(self.shape, dtype=np.float64)
        return np.stack([rows.ravel() * self.spacing[0], cols.ravel() * self.spacing[1]], axis=1)


@functools.lru_cache(maxsize=16)  # asked for several times a step
def _centres_nm(shape: tuple[int, int], pitch_nm: tuple[float, float]) -> FloatArray:
    centres = Lattice(shape, pitch_nm).points() + np.array(pitch_nm) / 2
    centres.flags.writeable = False
    return centres


@dataclass(frozen=True, slots=True)
class SiteLattice:
    """Where a sub-scan can be taken: (rows, cols) squares of `side_nm` spread over the survey field.

    Site (r, c) has its centre at ((r + 0.5)/rows, (c + 0.5)/cols) of the field; flat index r * cols + c.
    """

    shape: tuple[int, int]
    side_nm: float
    fov_nm: tuple[float, float]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def pitch_nm(self) -> tuple[float, float]:
        return (self.fov_nm[0] / self.shape[0], self.fov_nm[1] / self.shape[1])

    @property
    def centres_nm(self) -> FloatArray:
        """(sites, 2) float64 (y, x) from the field's top left corner; read only."""
        return _centres_nm(self.shape, self.pitch_nm)


@dataclass(frozen=True, slots=True)
class Context:
    """The field that is armed: what a frame of fractions 0..1 means on the sample.

    fov_nm        (y, x) sides of the field
    shift_nm      (y, x) of the field's centre from the centre of the survey field
    rotation_rad  of the scan, counter-clockwise
    """

    fov_nm: tuple[float, float]
    shift_nm: tuple[float, float] = (0.0, 0.0)
    rotation_rad: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(side) and side > 0 for side in self.fov_nm):
            raise ValueError(f"fov_nm is {self.fov_nm}, expected two positive finite lengths (y, x)")
        if not all(math.isfinite(value) for value in (*self.shift_nm, self.rotation_rad)):
            raise ValueError(f"shift_nm is {self.shift_nm}, rotation_rad {self.rotation_rad}, expected finite numbers")


@dataclass(frozen=True, eq=False)
class ScanPath:
    """An ordered list of probe positions, as planned or as executed.

    yx        (n, 2) float64 fractions of the context's frame
    dwell_ns  (n,) int64
    active    (n,) bool; settling, flyback and discarded samples are kept here and are False
    pixel     (n,) int32 flat pixel of `shape` that a sample belongs to, -1 on masked samples
    shape     (rows, cols) of the image that `pixel` indexes
    """

    yx: FloatArray
    dwell_ns: IntArray
    active: BoolArray
    pixel: npt.NDArray[np.int32]
    shape: tuple[int, int]

    @property
    def duration_ns(self) -> int:
        return int(self.dwell_ns.sum())

    def codes(self, bits: int, out: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """DAC codes (n, 2) uint16 = round(fraction * (2**bits - 1)), into `out` when given."""
        from probewise._core import scan

        if out is None:
            out = np.empty(self.yx.shape, dtype=np.uint16)
        scan.codes(self.yx, bits, out)
        return out


@dataclass(frozen=True)
class RasterROI:
    """A rectangle scanned line by line in one direction: the special case that every instrument knows.

    yx, active, pixel and codes are those of `path`, the same scan as a list; dwell_ns is one number for all pixels.

    shape          (rows, cols) pixels
    dwell_ns       per pixel
    centre_yx      of the rectangle, fractions of the context's frame
    size_yx        of the rectangle, fractions of the context's frame
    discard_lines  lines scanned above the first one and thrown away (distorted by settling); along the first line
                   where the frame has no room above it
    flyback_ns     per line, beam on
    """

    shape: tuple[int, int]
    dwell_ns: int
    centre_yx: tuple[float, float] = (0.5, 0.5)
    size_yx: tuple[float, float] = (1.0, 1.0)
    discard_lines: int = 0
    flyback_ns: int = 0

    def __post_init__(self) -> None:
        if self.shape[0] < 1 or self.shape[1] < 1:
            raise ValueError(f"shape is {self.shape}, expected at least one row and one column")
        if self.dwell_ns < 1:
            raise ValueError(f"dwell_ns is {self.dwell_ns}, expected at least 1")
        if self.discard_lines < 0 or self.flyback_ns < 0:
            raise ValueError(
                f"discard_lines is {self.discard_lines}, flyback_ns {self.flyback_ns}, expected neither negative"
            )
        for centre, size in zip(self.centre_yx, self.size_yx, strict=True):
            inside = size > 0 and centre - size / 2 >= -1e-9 and centre + size / 2 <= 1 + 1e-9
            if not inside:  # also refuses NaN
                raise ValueError(
                    f"centre_yx {self.centre_yx} with size_yx {self.size_yx} leaves the frame, expected within 0..1"
                )

    @property
    def duration_ns(self) -> int:
        rows, cols = self.shape
        return (rows + self.discard_lines) * (cols * self.dwell_ns + self.flyback_ns)

    @property
    def yx(self) -> FloatArray:
        return self.path.yx

    @property
    def active(self) -> BoolArray:
        return self.path.active

    @property
    def pixel(self) -> npt.NDArray[np.int32]:
        return self.path.pixel

    def codes(self, bits: int, out: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """As `ScanPath.codes`."""
        return self.path.codes(bits, out)

    @cached_property
    def path(self) -> ScanPath:
        """The same scan as an ordered list, flyback and discarded lines masked."""
        from probewise._core import scan

        yx, dwell_ns, active, pixel = scan.raster(
            self.shape, self.dwell_ns, self.centre_yx, self.size_yx, self.discard_lines, self.flyback_ns
        )
        return ScanPath(yx=yx, dwell_ns=dwell_ns, active=active, pixel=pixel, shape=self.shape)


Scan: TypeAlias = ScanPath | RasterROI
