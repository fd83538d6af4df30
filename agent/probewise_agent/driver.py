# SPDX-License-Identifier: BSD-3-Clause
"""The verbs of a driver, in plain numbers, strings, lists and arrays, so that they go over a wire as they are.

They are the eight verbs of probewise's `Instrument`. Fractions are of the context's frame, from its outer edges; points
are (y, x). `abort` may be called from any thread, all others from the thread that made the driver.

A scan is a dictionary of the fields of probewise's RasterROI or ScanPath and its kind::

    {"kind": "raster", "shape": [rows, cols], "dwell_ns": int, "centre_yx": [y, x], "size_yx": [y, x],
     "discard_lines": int, "flyback_ns": int}
    {"kind": "path", "yx": float64 (n, 2), "dwell_ns": int64 (n,), "active": bool (n,), "pixel": int32 (n,),
     "shape": [rows, cols]}

A context is ``{"fov_nm": [y, x], "shift_nm": [y, x], "rotation_rad": float}``.
"""

from __future__ import annotations

from typing import Any, Protocol, Sequence

import numpy as np

# Names of probewise's Capability.
CAPABILITIES = (
    "ROTATED_ROI",
    "VECTOR",
    "POINT_DWELL",
    "PARTIAL_READ",
    "BLANK",
    "BLANK_INLINE",
    "ABORT",
    "SHIFT",
    "SIMULTANEOUS",
)


class DriverError(Exception):
    """Unreachable or faulty hardware. A refused argument is a ValueError instead."""


class ScanFailed(DriverError):
    """One scan failed; the beam was made safe before this was raised."""


class ScanLate(ScanFailed):
    """A scan passed its time; the beam was made safe before this was raised."""


class Driver(Protocol):
    def describe(self) -> dict[str, Any]:
        """``{"name": str, "capabilities": [...], "limits": {...}}``: names of CAPABILITIES, fields of Limits."""

    def arm(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        """Validate, quantise and upload; no beam motion.

        returns  ``{"scan": the executed scan, "duration_ns": int}``
        raises   ValueError naming what is out of limits, what came and what was expected
        """

    def start(self) -> None:
        """Begin the armed scan; returns at once."""

    def read_into(self, out: np.ndarray[Any, Any], timeout_s: float) -> dict[str, Any]:
        """Fill `out`, (channels, samples) float32 and contiguous.

        returns  ``{"valid": int, "started_ns": int, "duration_ns": int, "notices": [str]}``
        raises   ScanFailed or ScanLate, the beam safe
        """

    def abort(self) -> None:
        """Stop whatever runs and end in the safe state. Idempotent, bounded, from any thread."""

    def park(self, yx: tuple[float, float] | None) -> None:
        """Rest the beam at fractions of the survey field; None leaves the parked state."""

    def blank(self, on: bool) -> None:
        """Blank or unblank the beam."""

    def close(self) -> None:
        """Make the beam safe, then release the hardware. Idempotent."""


def samples_of(scan: dict[str, Any]) -> int:
    """How many values a channel of the scan has: pixels of a raster, samples of a path, masked ones too."""
    if scan["kind"] == "path":
        return len(scan["yx"])
    shape: list[int] = scan["shape"]
    return shape[0] * shape[1]
