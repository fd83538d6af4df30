# SPDX-License-Identifier: BSD-3-Clause
"""What is outside the limits is refused before the beam moves: nothing is clamped, rounded or replaced."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from probewise.instrument.conformance.result import Failed, NotApplicable, said
from probewise.instrument.conformance.subject import SCAN_REFUSED, Subject, refused
from probewise.types import Capability, Context, ScanPath


def buffers(subject: Subject) -> str:
    """read_into does not fill what has another shape or type, or cannot be written in one piece."""
    good = subject.buffer(subject.arm(subject.small()))
    locked = good.copy()
    locked.flags.writeable = False
    wrong: dict[str, Any] = {
        "a buffer one sample short": np.empty((good.shape[0], good.shape[1] - 1), dtype=np.float32),
        "a buffer with one more channel": np.empty((good.shape[0] + 1, good.shape[1]), dtype=np.float32),
        "a float64 buffer": np.empty(good.shape, dtype=np.float64),
        "a buffer with gaps": np.empty((good.shape[0], 2 * good.shape[1]), dtype=np.float32)[:, ::2],
        "a read-only buffer": locked,
    }
    for what, out in wrong.items():
        armed = subject.arm(subject.small())
        subject.start(armed)
        refused(lambda: subject.read(armed, out), f"read_into with {what}", SCAN_REFUSED, "done")  # noqa: B023
        subject.recover()
        try:
            subject.take(subject.arm(subject.small()))
        except Exception as error:
            raise Failed(f"after read_into with {what} a frame raises {said(error)}, expected one as before") from error
    return f"{len(wrong)} refused"


def _unmoved(subject: Subject, requests: dict[str, Callable[[], Any]]) -> str:
    """Each request is refused and leaves the beam as it was."""
    last = ""
    for what, request in requests.items():
        before = subject.reported()
        last = refused(request, what)
        after = subject.reported()
        if after != before:
            raise Failed(f"refusing {what} leaves the beam {after}, expected {before} as before")
    return f"{len(requests)} refused, the last with {last}"


def channels(subject: Subject) -> str:
    scan = subject.small()

    def arm(names: list[str]) -> Any:
        return subject.instrument.arm(scan, subject.survey, channels=names)

    return _unmoved(
        subject,
        {
            "an empty list of channels": lambda: arm([]),
            "a channel that is not in the limits": lambda: arm(["no such detector"]),
        },
    )


def dwell(subject: Subject) -> str:
    limits, scan = subject.limits, subject.small()
    wrong = [limits.dwell_max_ns + limits.dwell_step_ns]
    wrong += [limits.dwell_min_ns - 1] if limits.dwell_min_ns > 1 else []
    wrong += [scan.dwell_ns + 1] if limits.dwell_step_ns > 1 else []
    return _unmoved(
        subject,
        {
            f"a dwell of {ns} ns (limits {limits.dwell_min_ns} to {limits.dwell_max_ns} in steps of "
            f"{limits.dwell_step_ns})": lambda ns=ns: subject.arm(dataclasses.replace(scan, dwell_ns=ns))  # type: ignore[misc]
            for ns in wrong
        },
    )


def points(subject: Subject) -> str:
    side = math.isqrt(subject.limits.max_points) + 1
    scan = subject.raster((side, side), dwell_ns=subject.limits.dwell_min_ns)
    what = f"a frame of {side} x {side} (max_points {subject.limits.max_points})"
    return _unmoved(subject, {what: lambda: subject.arm(scan)})


def positions(subject: Subject) -> str:
    """Fields and positions outside, in a scan and for the parked beam."""
    scan, (fov_y, fov_x) = subject.small(), subject.fov_nm
    requests: dict[str, Callable[[], Any]] = {
        f"park at {yx}": lambda yx=yx: subject.instrument.park(yx)  # type: ignore[misc]
        for yx in ((-0.01, 0.5), (0.5, 1.01), (math.nan, 0.5))
    }
    for centre, size in (((0.0, 0.5), (1.0, 1.0)), ((0.5, 0.9), (0.5, 0.5)), ((0.5, -3.0), (0.1, 0.1))):
        outside = _unchecked(scan, centre_yx=centre, size_yx=size)
        requests[f"a raster about {centre} with sides {size} of the frame"] = lambda s=outside: subject.arm(s)  # type: ignore[misc]
    if math.isfinite(subject.limits.max_fov_nm):
        wide = Context((2 * subject.limits.max_fov_nm, 2 * subject.limits.max_fov_nm))
        requests[f"a field of {wide.fov_nm[0]:g} nm (max_fov_nm {subject.limits.max_fov_nm:g})"] = lambda: subject.arm(
            scan, wide
        )
        if Capability.SHIFT in subject.capability and subject.limits.max_fov_nm <= max(subject.fov_nm):
            far = Context(subject.fov_nm, (2 * fov_y, 2 * fov_x))
            requests[f"a field shifted by {far.shift_nm} nm, out of the survey field"] = lambda: subject.arm(scan, far)
    if Capability.VECTOR in subject.capability:
        for yx in ((-0.1, 0.5), (0.5, 1.1)):
            requests[f"a position {yx}"] = lambda yx=yx: subject.arm(path([yx], subject.dwell_ns(1000)))  # type: ignore[misc]
    return _unmoved(subject, requests)


def not_finite(subject: Subject) -> str:
    scan = subject.small()
    requests: dict[str, Callable[[], Any]] = {
        "a raster about (nan, 0.5)": lambda: subject.arm(_unchecked(scan, centre_yx=(math.nan, 0.5))),
        "a raster of size (inf, 1)": lambda: subject.arm(_unchecked(scan, size_yx=(math.inf, 1.0))),
        "a field of (nan, nan) nm": lambda: subject.arm(scan, _unchecked(subject.survey, fov_nm=(math.nan, math.nan))),
        "a shift of (inf, 0) nm": lambda: subject.arm(scan, _unchecked(subject.survey, shift_nm=(math.inf, 0.0))),
        "a rotation of nan": lambda: subject.arm(scan, _unchecked(subject.survey, rotation_rad=math.nan)),
    }
    if Capability.VECTOR in subject.capability:
        for bad in (math.nan, math.inf):
            requests[f"a position ({bad}, 0.5)"] = lambda bad=bad: subject.arm(  # type: ignore[misc]
                path([(0.5, 0.5), (bad, 0.5)], subject.dwell_ns(1000))
            )
    return _unmoved(subject, requests)


def unclaimed(subject: Subject) -> str:
    """A capability that is not claimed is refused, so that nobody believes it was obeyed."""
    scan, survey = subject.small(), subject.survey
    half = (survey.fov_nm[0] / 2, survey.fov_nm[1] / 2)
    has, dwell_ns = subject.capability, subject.dwell_ns(1000)
    requests: dict[str, Callable[[], Any]] = {}
    if Capability.ROTATED_ROI not in has:
        requests["a rotation without ROTATED_ROI"] = lambda: subject.arm(scan, Context(half, rotation_rad=0.3))
    if Capability.SHIFT not in has:
        requests["a shift without SHIFT"] = lambda: subject.arm(scan, Context(half, (half[0] / 4, 0.0)))
    if Capability.VECTOR not in has:
        requests["a list of positions without VECTOR"] = lambda: subject.arm(path([(0.2, 0.7), (0.5, 0.5)], dwell_ns))
    elif Capability.POINT_DWELL not in has:
        mixed = path([(0.2, 0.7), (0.5, 0.5)], dwell_ns)
        mixed.dwell_ns[1] = subject.dwell_ns(2.0 * dwell_ns)
        requests["two dwells without POINT_DWELL"] = lambda: subject.arm(mixed)
    sentence = _unmoved(subject, requests) if requests else ""
    if Capability.BLANK not in has:
        kinds = (ValueError, TypeError, Exception)
        sentence = refused(lambda: subject.instrument.blank(True), "blank(True) without BLANK", kinds, "done")
    if not sentence:
        raise NotApplicable("everything that the verbs can ask for is claimed")
    return sentence


def path(yx: list[tuple[float, float]] | np.ndarray[Any, Any], dwell_ns: int) -> ScanPath:
    """A list of positions with one pixel a sample."""
    n = len(yx)
    return ScanPath(
        yx=np.array(yx, dtype=np.float64),
        dwell_ns=np.full(n, dwell_ns, dtype=np.int64),
        active=np.ones(n, dtype=bool),
        pixel=np.arange(n, dtype=np.int32),
        shape=(1, n),
    )


def _unchecked(value: Any, **changes: Any) -> Any:
    """A copy with fields that its own checks would refuse, as a driver may get them over a wire."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    made = object.__new__(type(value))
    for name, content in {**fields, **changes}.items():
        object.__setattr__(made, name, content)
    return made
