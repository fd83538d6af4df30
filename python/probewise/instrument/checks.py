# SPDX-License-Identifier: BSD-3-Clause
"""What is refused before the beam moves: a scan, a context or a channel outside the instrument's limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from probewise.errors import ConfigurationError
from probewise.types import Capability, Context, FloatArray, Limits, RasterROI, Scan, ScanPath

# What a microscope that is computed can do.
COMPUTED = (
    Capability.ROTATED_ROI
    | Capability.VECTOR
    | Capability.POINT_DWELL
    | Capability.BLANK
    | Capability.ABORT
    | Capability.SHIFT
)


def check_request(
    scan: Scan, context: Context, channels: Sequence[str], *, capability: Capability, limits: Limits
) -> None:
    """Refuse what the instrument cannot do; nothing is clamped or rounded.

    raises  ConfigurationError naming the field, what came and what was expected; TypeError for a scan of another type
    """
    _check_channels(channels, limits)
    _check_context(context, capability, limits)
    if isinstance(scan, RasterROI):
        _check_raster(scan, limits)
    elif isinstance(scan, ScanPath):
        _check_path(scan, capability, limits)
    else:
        raise TypeError(f"scan is a {type(scan).__name__}, expected RasterROI or ScanPath")


def extent(scan: Scan, channels: Sequence[str], limits: Limits) -> FloatArray:
    """(n, 2) positions, fractions of the frame, that a computed scan reaches: a raster's corners, a path's samples.

    raises  ValueError for other channels than all of them, too many samples or none, and a dwell outside the limits
    """
    if tuple(channels) != limits.channels:
        raise ValueError(f"channels is {tuple(channels)}, expected {limits.channels}")
    if isinstance(scan, RasterROI):
        (y, x), (height, width) = scan.centre_yx, scan.size_yx
        reached = np.array([(y + a * height / 2, x + b * width / 2) for a in (-1, 1) for b in (-1, 1)])
        samples, dwell_ns = scan.shape[0] * scan.shape[1], np.array([scan.dwell_ns])
    else:
        reached, samples, dwell_ns = scan.yx, len(scan.yx), scan.dwell_ns
    if not 1 <= samples <= limits.max_points:
        raise ValueError(f"scan has {samples} samples, expected 1 to {limits.max_points}")
    if dwell_ns.min() < limits.dwell_min_ns or dwell_ns.max() > limits.dwell_max_ns:
        raise ValueError(
            f"dwell_ns is {dwell_ns.min()} to {dwell_ns.max()}, expected {limits.dwell_min_ns} to {limits.dwell_max_ns}"
        )
    return reached


def check_position(name: str, yx: tuple[float, float]) -> None:
    """Refuse a position outside the frame (also NaN and infinities)."""
    if not all(0.0 <= value <= 1.0 for value in yx):
        raise ConfigurationError(f"{name} is {yx}, expected fractions (y, x) within 0..1")


def _check_channels(channels: Sequence[str], limits: Limits) -> None:
    known = ", ".join(limits.channels)
    if isinstance(channels, str) or not channels:
        raise ConfigurationError(f"channels is {channels!r}, expected a non-empty list from {known}")
    for index, channel in enumerate(channels):
        if channel not in limits.channels:
            raise ConfigurationError(f"channels holds {channel!r}, expected names from {known}")
        if channel in channels[:index]:
            raise ConfigurationError(f"channels holds {channel!r} twice, expected each once")


def _check_context(context: Context, capability: Capability, limits: Limits) -> None:
    if not all(0 < side <= limits.max_fov_nm for side in context.fov_nm):  # also refuses NaN, here and below
        raise ConfigurationError(f"fov_nm is {context.fov_nm}, expected at most {limits.max_fov_nm} nm")
    if not all(map(math.isfinite, (*context.shift_nm, context.rotation_rad))):
        raise ConfigurationError(
            f"shift_nm is {context.shift_nm}, rotation_rad {context.rotation_rad}, expected finite numbers"
        )
    if context.rotation_rad != 0 and Capability.ROTATED_ROI not in capability:
        raise ConfigurationError(
            f"rotation_rad is {context.rotation_rad}, expected 0: the instrument cannot rotate a scan"
        )
    if any(context.shift_nm) and Capability.SHIFT not in capability:
        raise ConfigurationError(f"shift_nm is {context.shift_nm}, expected (0, 0): the instrument cannot shift a scan")


def _check_dwell(least: int, most: int, step_breaker: int | None, limits: Limits) -> None:
    if least < limits.dwell_min_ns or most > limits.dwell_max_ns:
        raise ConfigurationError(
            f"dwell_ns is {least if least < limits.dwell_min_ns else most}, "
            f"expected {limits.dwell_min_ns} to {limits.dwell_max_ns}"
        )
    if step_breaker is not None:
        below = step_breaker // limits.dwell_step_ns * limits.dwell_step_ns
        raise ConfigurationError(
            f"dwell_ns is {step_breaker}, expected a multiple of {limits.dwell_step_ns} "
            f"such as {below} or {below + limits.dwell_step_ns}"
        )


def _check_raster(roi: RasterROI, limits: Limits) -> None:
    for centre, size in zip(roi.centre_yx, roi.size_yx, strict=True):
        if not (size > 0 and centre - size / 2 >= -1e-9 and centre + size / 2 <= 1 + 1e-9):
            raise ConfigurationError(
                f"centre_yx {roi.centre_yx} with size_yx {roi.size_yx} leaves the frame, expected within 0..1"
            )
    rows, cols = roi.shape
    samples = (rows + roi.discard_lines) * cols
    if samples > limits.max_points:
        raise ConfigurationError(f"shape is {roi.shape}, {samples} samples, expected at most {limits.max_points}")
    _check_dwell(roi.dwell_ns, roi.dwell_ns, roi.dwell_ns if roi.dwell_ns % limits.dwell_step_ns else None, limits)
    if roi.flyback_ns < limits.flyback_ns:
        raise ConfigurationError(f"flyback_ns is {roi.flyback_ns}, expected at least {limits.flyback_ns}")


def _check_path(path: ScanPath, capability: Capability, limits: Limits) -> None:
    if Capability.VECTOR not in capability:
        raise ConfigurationError("scan is a list of positions, expected a raster: the instrument knows no vector scan")
    n = len(path.yx)
    if n < 1 or n > limits.max_points:
        raise ConfigurationError(f"scan has {n} samples, expected 1 to {limits.max_points}")
    if path.yx.shape != (n, 2) or path.yx.dtype != np.float64:
        raise ConfigurationError(f"yx is {path.yx.dtype} of shape {path.yx.shape}, expected float64 of shape (n, 2)")
    for name, dtype in (("dwell_ns", np.int64), ("active", np.bool_), ("pixel", np.int32)):
        values = getattr(path, name)
        if values.dtype != dtype or values.shape != (n,):
            raise ConfigurationError(
                f"{name} is {values.dtype} of shape {values.shape}, expected {np.dtype(dtype)} of shape ({n},)"
            )
    inside = ((path.yx >= 0.0) & (path.yx <= 1.0)).all(axis=1)  # also refuses NaN
    if not inside.all():
        first = int(np.argmin(inside))
        raise ConfigurationError(f"yx[{first}] is {tuple(path.yx[first].tolist())}, expected fractions within 0..1")
    remainder = path.dwell_ns % limits.dwell_step_ns != 0
    breaker = int(path.dwell_ns[np.argmax(remainder)]) if remainder.any() else None
    least, most = int(path.dwell_ns.min()), int(path.dwell_ns.max())
    _check_dwell(least, most, breaker, limits)
    if least != most and Capability.POINT_DWELL not in capability:
        raise ConfigurationError(
            f"dwell_ns runs from {least} to {most}, expected one value: the instrument has one dwell a scan"
        )
    pixels = path.shape[0] * path.shape[1]
    if int(path.pixel.min()) < -1 or int(path.pixel.max()) >= pixels:
        raise ConfigurationError(
            f"pixel runs from {path.pixel.min()} to {path.pixel.max()}, expected -1 (masked) to {pixels - 1}"
        )
