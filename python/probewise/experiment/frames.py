# SPDX-License-Identifier: BSD-3-Clause
"""Frames and scans as a JSON header and arrays, for the journal."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.types import Context, Frame, RasterROI, Scan, ScanPath


def frame_header(frame: Frame) -> dict[str, Any]:
    context = frame.context
    return {
        "channels": list(frame.channels),
        "fov_nm": list(context.fov_nm),
        "shift_nm": list(context.shift_nm),
        "rotation_rad": context.rotation_rad,
        "sequence": frame.sequence,
        "started_ns": frame.started_ns,
        "duration_ns": frame.duration_ns,
        "valid": frame.valid,
        "notices": list(frame.notices),
    }


def frame_of(header: dict[str, Any], scan: Scan, counts: npt.NDArray[np.float32]) -> Frame:
    context = Context(_pair(header["fov_nm"]), _pair(header["shift_nm"]), header["rotation_rad"])
    return Frame(
        counts=counts,
        channels=tuple(header["channels"]),
        context=context,
        scan=scan,
        sequence=header["sequence"],
        started_ns=header["started_ns"],
        duration_ns=header["duration_ns"],
        valid=header["valid"],
        notices=tuple(header["notices"]),
    )


def scan_header(scan: Scan) -> tuple[dict[str, Any], int]:
    """The header, and a key that equal scans share."""
    if isinstance(scan, RasterROI):
        header: dict[str, Any] = {
            "kind": "raster",
            "shape": list(scan.shape),
            "dwell_ns": scan.dwell_ns,
            "centre_yx": list(scan.centre_yx),
            "size_yx": list(scan.size_yx),
            "discard_lines": scan.discard_lines,
            "flyback_ns": scan.flyback_ns,
        }
    else:
        header = {"kind": "path", "shape": list(scan.shape)}
    key = zlib.crc32(json.dumps(header).encode())
    for array in scan_arrays(scan).values():
        key = key << 32 | zlib.crc32(array.tobytes())
    return header, key


def scan_arrays(scan: Scan) -> dict[str, npt.NDArray[Any]]:
    if isinstance(scan, RasterROI):
        return {}
    return {"yx": scan.yx, "dwell_ns": scan.dwell_ns, "active": scan.active, "pixel": scan.pixel}


def scan_of(header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Scan:
    shape = (int(header["shape"][0]), int(header["shape"][1]))
    if header["kind"] == "path":
        return ScanPath(**arrays, shape=shape)
    return RasterROI(
        shape,
        header["dwell_ns"],
        _pair(header["centre_yx"]),
        _pair(header["size_yx"]),
        header["discard_lines"],
        header["flyback_ns"],
    )


def _pair(values: list[float]) -> tuple[float, float]:
    return (float(values[0]), float(values[1]))
