# SPDX-License-Identifier: BSD-3-Clause
"""The frame gate: a bad frame is named as such before anything is computed from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probewise._core import image as _image
from probewise.types import Armed, Frame, RasterROI, Scan


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """The verdict on a frame.

    ok                  no reason against it
    reasons             plain sentences, empty when ok
    finite_fraction     of all samples of all channels
    saturated_fraction  of the channel with most of them
    mean, variance, minimum, maximum  of the first channel's finite counts, NaN when the counts could not be read
    digest              of the counts, for the comparison with the next frame
    place               of the scan and its context, likewise
    """

    ok: bool
    reasons: tuple[str, ...]
    finite_fraction: float
    saturated_fraction: float
    variance: float
    mean: float
    minimum: float = math.nan
    maximum: float = math.nan
    digest: int = 0
    place: int = 0


def gate(
    frame: Frame,
    expected: Armed,
    *,
    saturation: float | None = None,
    min_finite: float = 1.0,
    max_saturated: float = 0.05,
    previous: FrameQuality | None = None,
) -> FrameQuality:
    """Judge a frame against the scan that was armed, in one pass over its counts.

    saturation     count at which the detector saturates; None: unknown, nothing is called saturated
    min_finite     least fraction of finite counts
    max_saturated  largest fraction of saturated counts in any channel
    previous       quality of the frame before: equal counts at another place mean a stale buffer (at the same
                   place a noise-free source may well repeat itself)

    A reason is given for a wrong shape or dtype, counts not finite, saturated or constant (16 samples or more, all
    equal), a frame out of sequence, cut short, of other channels, or a duplicate. A clean frame at a dose so low that
    every sample is zero cannot be told from a dead detector and is called constant.
    raises  ValueError when a limit is not a fraction, or saturation is not a finite number
    """
    for name, value in (("min_finite", min_finite), ("max_saturated", max_saturated)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}, expected a fraction from 0 to 1")
    if saturation is not None and not math.isfinite(saturation):
        raise ValueError(f"saturation is {saturation}, expected a finite count or None")
    reasons: list[str] = []
    if frame.sequence != expected.sequence:
        reasons.append(f"frame is out of sequence: number {frame.sequence}, expected {expected.sequence}")
    if tuple(frame.channels) != tuple(expected.channels):
        reasons.append(f"frame has channels {tuple(frame.channels)}, expected {tuple(expected.channels)}")
    samples = _samples(expected.scan)
    if frame.valid != math.prod(samples):
        word = "cut short" if frame.valid < math.prod(samples) else "too long"
        reasons.append(f"frame is {word}: {frame.valid} samples acquired, expected {math.prod(samples)}")
    shape = (len(expected.channels), *samples)
    counts: object = frame.counts  # a backend may have put anything there
    if not isinstance(counts, np.ndarray) or counts.dtype != np.float32:
        came = counts.dtype if isinstance(counts, np.ndarray) else type(counts).__name__
        reasons.append(f"counts have the wrong dtype: {came}, expected float32")
        return _unread(reasons)
    if counts.shape != shape or counts.size == 0:
        reasons.append(f"counts have the wrong shape: {counts.shape}, expected {shape}")
        return _unread(reasons)

    limit = math.inf if saturation is None else saturation
    channels = [_image.frame_statistics(np.ascontiguousarray(c).reshape(-1), limit) for c in counts]
    size = counts[0].size
    finite = sum(c[0] for c in channels) / counts.size
    saturated = max(c[1] for c in channels) / size
    if finite < min_finite:
        reasons.append(f"counts are not finite: {1 - finite:.3g} of them, expected at most {1 - min_finite:.3g}")
    if saturated > max_saturated:
        reasons.append(
            f"detector is saturated: {saturated:.3g} of the counts at {limit:g} or above, "
            f"expected at most {max_saturated:.3g}"
        )
    for name, statistics in zip(expected.channels, channels, strict=True):
        if size >= 16 and statistics[4] == statistics[5]:
            reasons.append(f"channel {name} is constant: all counts are {statistics[4]:g}")
    digest = hash(tuple(c[6] for c in channels))
    place = _place(frame)
    if previous is not None and previous.digest == digest and previous.place != place:
        reasons.append("frame is a duplicate of the previous one, which was taken at another place")
    first = channels[0]
    return FrameQuality(
        not reasons, tuple(reasons), finite, saturated, first[3], first[2], first[4], first[5], digest, place
    )


def _samples(scan: Scan) -> tuple[int, ...]:
    return scan.shape if isinstance(scan, RasterROI) else (len(scan.yx),)


def _unread(reasons: list[str]) -> FrameQuality:
    return FrameQuality(False, tuple(reasons), math.nan, math.nan, math.nan, math.nan)


def _place(frame: Frame) -> int:
    scan, context = frame.scan, frame.context
    if isinstance(scan, RasterROI):
        where: tuple[object, ...] = (scan.shape, scan.centre_yx, scan.size_yx)
    else:
        bits = np.ascontiguousarray(scan.yx).reshape(-1).view(np.float32)
        where = (scan.shape, _image.frame_statistics(bits, math.inf)[6])
    return hash((where, context.fov_nm, context.shift_nm, context.rotation_rad))
