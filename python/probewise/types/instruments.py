# SPDX-License-Identifier: BSD-3-Clause
"""What an instrument is, what it is told and what it gives."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from probewise.shown import Shown, axes_or_new
from probewise.types.arrays import Float32Array
from probewise.types.scans import Context, RasterROI, Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Capability(enum.Flag):
    """What a backend can do."""

    NONE = 0
    ROTATED_ROI = enum.auto()
    VECTOR = enum.auto()
    POINT_DWELL = enum.auto()
    PARTIAL_READ = enum.auto()
    BLANK = enum.auto()
    BLANK_INLINE = enum.auto()
    ABORT = enum.auto()
    SHIFT = enum.auto()
    SIMULTANEOUS = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the coils, the DAC and the detector allow. Velocities in fields per second."""

    channels: tuple[str, ...] = ("HAADF",)
    dwell_min_ns: int = 100
    dwell_max_ns: int = 1_000_000_000
    dwell_step_ns: int = 1
    dac_bits: int = 16
    max_points: int = 1 << 26
    flyback_ns: int = 0
    settle_ns: int = 0
    max_velocity_per_s: float = math.inf
    max_acceleration_per_s2: float = math.inf
    max_fov_nm: float = math.inf


@dataclass(frozen=True, slots=True)
class Armed:
    """A validated, quantised scan that waits for `start`. `sequence` ties the frame to it."""

    sequence: int
    scan: Scan
    context: Context
    channels: tuple[str, ...]
    duration_ns: int


@dataclass(frozen=True, eq=False, repr=False)
class Frame(Shown):
    """What one scan gave.

    counts       (channels, rows, cols) float32 for a RasterROI, (channels, n) for a ScanPath (masked samples too)
    scan         the executed geometry
    sequence     of the Armed it answers
    started_ns   on the instrument's clock
    duration_ns  beam-on time, flyback and discarded lines included
    valid        samples that were really acquired (all of them unless cut short)
    notices      what was done to the data on the way (a cast, a resampling)
    """

    counts: Float32Array
    channels: tuple[str, ...]
    context: Context
    scan: Scan
    sequence: int
    started_ns: int
    duration_ns: int
    valid: int
    notices: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.scan.shape

    @property
    def pixel_nm(self) -> tuple[float, float]:
        """(y, x) size of a pixel."""
        size = self.scan.size_yx if isinstance(self.scan, RasterROI) else (1.0, 1.0)
        rows, cols = self.scan.shape
        return (self.context.fov_nm[0] * size[0] / rows, self.context.fov_nm[1] * size[1] / cols)

    def image(self, channel: int = 0) -> Float32Array:
        """One channel as (rows, cols); a vector path is binned to its pixels, NaN where no sample fell."""
        if isinstance(self.scan, RasterROI):
            picture: Float32Array = self.counts[channel]
            return picture
        from probewise._core import image

        out = np.empty(self.scan.shape, dtype=np.float32)
        image.to_image(self.scan.pixel, np.ascontiguousarray(self.counts[channel]), out)
        return out

    def plot(self, channel: int = 0, *, axes: Axes | None = None) -> Axes:
        """Draw one channel in nm from the top left corner; returns the axes."""
        size = self.scan.size_yx if isinstance(self.scan, RasterROI) else (1.0, 1.0)
        height, width = (side * share for side, share in zip(self.context.fov_nm, size, strict=True))
        axes = axes_or_new(axes)
        axes.imshow(self.image(channel), extent=(0.0, width, height, 0.0), cmap="gray")
        axes.set(xlabel="x, nm", ylabel="y, nm", title=self.channels[channel])
        return axes

    def _facts(self) -> dict[str, str]:
        rows, cols = self.shape
        return {
            "shape": f"{rows} x {cols}",
            "channels": ", ".join(self.channels),
            "pixel_nm": f"{self.pixel_nm[0]:.4g} x {self.pixel_nm[1]:.4g}",
            "centre_nm": f"{self.context.shift_nm[0]:.4g}, {self.context.shift_nm[1]:.4g}",
            "duration_s": f"{self.duration_ns * 1e-9:.4g}",
            "notices": str(len(self.notices)),
        }


@runtime_checkable
class Instrument(Protocol):
    """The eight verbs. `abort` may be called from any thread; all others from the owner thread."""

    def describe(self) -> tuple[Capability, Limits]:
        """Static flags and limits."""
        ...

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Validate, quantise and upload; the beam does not move. ValueError names what is out of limits."""
        ...

    def start(self, armed: Armed) -> None:
        """Begin the scan; returns at once."""
        ...

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """Fill `out` (channels, samples) and return the frame that views it; ScanError after making the beam safe."""
        ...

    def abort(self) -> None:
        """Stop whatever runs and end in the safe state. Idempotent, bounded, from any thread."""
        ...

    def park(self, yx: tuple[float, float] | None) -> None:
        """Rest the beam at fractions (y, x) of the survey field; None leaves the parked state."""
        ...

    def blank(self, on: bool) -> None:
        """Blank or unblank the beam."""
        ...

    def close(self) -> None:
        """Make the beam safe, then release the hardware. Idempotent."""
        ...


@runtime_checkable
class Checkpointed(Protocol):
    """An instrument whose own state (simulated clock, frame counter) can be journalled and put back."""

    def checkpoint(self) -> dict[str, int]: ...

    def restore(self, state: dict[str, int]) -> None: ...
