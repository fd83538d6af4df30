# SPDX-License-Identifier: BSD-3-Clause
"""Is a frame what was asked for: its types, its buffer, its units, and who may ask?"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from probewise.errors import Error
from probewise.instrument.conformance.result import Failed, said
from probewise.instrument.conformance.subject import Subject
from probewise.types import Armed, Capability, Frame, RasterROI

TIMED_NS = (200_000_000, 600_000_000)  # durations of the frames whose wall time is looked at
DURATION_SLACK = 0.2  # retrace that is not predicted takes about a fifth (pytemscript)


def frame(subject: Subject) -> str:
    """Types and fields of what arm and read_into give."""
    scan = subject.small()
    armed = subject.arm(scan)
    if armed.scan.shape != scan.shape or armed.context != subject.survey or armed.channels != subject.channels:
        raise Failed(
            f"arm of {scan.shape} of {subject.survey}, {subject.channels} gave {armed.scan.shape} of {armed.context}, "
            f"{armed.channels}, expected what was asked"
        )
    came = subject.take(armed)
    _check_frame(came, armed)
    other = subject.arm(scan)
    if other.sequence == armed.sequence:
        raise Failed(f"two scans have sequence {armed.sequence}, expected a new one with each arm")
    return f"{scan.shape[0]} x {scan.shape[1]}, sequence {came.sequence}, {came.duration_ns * 1e-6:.3g} ms"


def _check_frame(came: Frame, armed: Armed) -> None:
    expected = (len(armed.channels), *armed.scan.shape)
    if came.counts.shape != expected or came.counts.dtype != np.float32:
        raise Failed(f"frame.counts is {came.counts.dtype} of shape {came.counts.shape}, expected float32 {expected}")
    if came.channels != armed.channels or came.context != armed.context or came.scan.shape != armed.scan.shape:
        raise Failed(
            f"the frame is of {came.channels}, {came.context}, {came.scan.shape}, expected those of its Armed: "
            f"{armed.channels}, {armed.context}, {armed.scan.shape}"
        )
    samples = math.prod(armed.scan.shape)
    if came.valid != samples:
        raise Failed(f"frame.valid is {came.valid}, expected {samples}, all samples of a scan that was not cut")
    times: tuple[Any, Any] = (came.started_ns, came.duration_ns)
    if not all(isinstance(time_ns, int) for time_ns in times):
        raise Failed(f"frame times are {times} ns, expected whole numbers")


def channels(subject: Subject) -> str:
    """Each channel alone, and all together where that is claimed."""
    scan = subject.small()
    for channel in subject.limits.channels:
        came = subject.take(subject.arm(scan, channels=[channel]))
        if came.channels != (channel,) or not np.isfinite(came.counts).all():
            raise Failed(f"a scan of channel {channel} gave {came.channels}, expected finite counts of {channel}")
    if Capability.SIMULTANEOUS in subject.capability and len(subject.limits.channels) > 1:
        came = subject.take(subject.arm(scan, channels=subject.limits.channels))
        if came.counts.shape[0] != len(subject.limits.channels) or not np.isfinite(came.counts).all():
            raise Failed(
                f"a scan of {len(subject.limits.channels)} channels gave counts of shape {came.counts.shape}, "
                "expected each of them filled"
            )
    return f"{len(subject.limits.channels)} scanned"


def buffer(subject: Subject) -> str:
    """Every sample of the caller's buffer is filled, and the frame views it."""
    armed = subject.arm(subject.small())
    out = subject.buffer(armed)
    subject.start(armed)
    came = subject.read(armed, out)
    subject.rest()
    empty = int((~np.isfinite(out)).sum())
    if empty:
        raise Failed(f"{empty} of {out.size} samples are not finite after read_into, expected all of them filled")
    if not np.shares_memory(came.counts, out):
        raise Failed("frame.counts is an array of its own, expected a view of the buffer that read_into was given")
    return f"all {out.size} samples filled"


def dwell(subject: Subject) -> str:
    """The executed dwell is the one asked for, to the stated step."""
    asked = [subject.dwell_ns(ns) for ns in (1000, 2000, 5000)]
    for dwell_ns in asked:
        scan = subject.arm(subject.small(dwell_ns)).scan
        executed = scan.dwell_ns if isinstance(scan, RasterROI) else int(scan.dwell_ns[scan.active][0])
        if executed != dwell_ns:
            raise Failed(
                f"a dwell of {dwell_ns} ns is executed as {executed} ns, expected {dwell_ns} ns: "
                "it is within the limits and a multiple of dwell_step_ns"
            )
    return f"{', '.join(str(ns) for ns in asked)} ns as asked"


def duration(subject: Subject) -> str:
    """Stated durations are those of pixels times dwell, and frames really take them."""
    base = subject.small()
    pixels = math.prod(base.shape)
    first = base.dwell_ns
    second = subject.dwell_ns(4.0 * first)
    stated = [subject.arm(subject.small(dwell_ns)).duration_ns for dwell_ns in (first, second)]
    grown, expected = stated[1] - stated[0], pixels * (second - first)
    if second > first and not 0.999 * expected <= grown <= (1 + DURATION_SLACK) * expected:
        raise Failed(
            f"{pixels} pixels of {second} instead of {first} ns are stated to take {grown} ns more, "
            f"expected {expected} ns"
        )
    for dwell_ns, duration_ns in zip((first, second), stated, strict=True):
        least = pixels * dwell_ns
        most = subject.small(dwell_ns).duration_ns * (1 + DURATION_SLACK) + 1e9
        if not 0.999 * least <= duration_ns <= most:
            raise Failed(
                f"{pixels} pixels of {dwell_ns} ns are stated to take {duration_ns} ns, "
                f"expected {least} ns and overhead, at most {most:.0f} ns"
            )
    return "stated durations are pixels times dwell; " + _wall_time(subject, pixels)


def _wall_time(subject: Subject, pixels: int) -> str:
    """A simulation that does not wait computes a long frame as fast as a short one."""
    took = []
    stated = []
    for nominal_ns in TIMED_NS:
        asked = subject.small(nominal_ns / pixels)
        armed = subject.arm(asked)
        subject.start(armed)
        begun = time.perf_counter()
        came = subject.read(armed)
        took.append(time.perf_counter() - begun)
        stated.append(armed.duration_ns * 1e-9)
        subject.rest()
        if came.duration_ns < 0.999 * pixels * asked.dwell_ns:
            raise Failed(f"a frame of {pixels} x {asked.dwell_ns} ns says {came.duration_ns} ns, expected no less")
    grown, expected = took[1] - took[0], stated[1] - stated[0]
    seen = f"frames of {stated[0]:.3g} and {stated[1]:.3g} s came after {took[0]:.3g} and {took[1]:.3g} s"
    if took[1] < 0.9 * stated[1] and grown < 0.5 * expected:
        return f"{seen}, as from a simulation that does not wait"
    if took[1] < 0.9 * stated[1] or took[1] > 3 * stated[1] + 1.0:
        raise Failed(f"{seen}, expected about as long as stated")
    return seen


def another_thread(subject: Subject) -> str:
    """A verb from a thread that does not own the instrument works or is refused with a reason; it never hangs."""
    scan = subject.small()
    call = subject.elsewhere(lambda: subject.arm(scan))
    if not call.returned:
        raise Failed("arm from another thread did not return in time, expected an Armed or an error")
    if call.error is None:
        outcome = "works"
    elif str(call.error).strip():
        outcome = f"refused: {said(call.error)}"
    else:
        raise Failed(f"arm from another thread raises {type(call.error).__name__} without a text, expected a reason")
    try:
        came = subject.take(subject.arm(scan))
    except Error as error:
        raise Failed(f"after it the owner's scan raises {said(error)}, expected a frame") from error
    if not np.isfinite(came.counts).all():
        raise Failed("after it the owner's frame is not finite, expected a frame as before")
    return outcome
