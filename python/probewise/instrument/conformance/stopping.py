# SPDX-License-Identifier: BSD-3-Clause
"""Is a scan that is cut short over, soon, with the beam safe, and does its frame never come as another's?"""

from __future__ import annotations

import time

import numpy as np

from probewise.errors import ScanError
from probewise.instrument.conformance.expected import correlation
from probewise.instrument.conformance.geometry import LIKE, two_places
from probewise.instrument.conformance.result import Failed, NotApplicable, said
from probewise.instrument.conformance.scanning import DURATION_SLACK
from probewise.instrument.conformance.subject import PATIENCE_S, Subject
from probewise.types import Capability

ABORT_S = 0.5  # for abort to return, and for a read that was cut by an instrument that claims ABORT
CUT_AFTER_S = 0.3


def idle(subject: Subject) -> str:
    """abort twice with nothing running, from another thread."""
    for which in ("first", "second"):
        call = subject.elsewhere(subject.instrument.abort)
        if not call.returned or call.seconds > ABORT_S:
            raise Failed(f"the {which} abort took {call.seconds:.3g} s, expected at most {ABORT_S} s")
        if call.error is not None:
            raise Failed(f"the {which} abort raises {said(call.error)}, expected none: nothing runs")
    return f"returns after {call.seconds * 1e3:.3g} ms; " + subject.require_safe("an abort when idle")


def before_read(subject: Subject) -> str:
    """abort between start and read_into: there is no frame to read."""
    armed = subject.arm(subject.small(20_000.0))
    subject.start(armed)
    call = subject.elsewhere(subject.instrument.abort)
    if call.error is not None:
        raise Failed(f"abort raises {said(call.error)}, expected none")
    try:
        subject.read(armed)
    except ScanError as error:
        return f"read_into raises {said(error)}; " + subject.require_safe("an abort before the read")
    raise Failed("read_into gave a frame of a scan that was aborted before, expected a ScanError")


def mid_scan(subject: Subject) -> str:
    """abort from another thread while read_into waits."""
    armed = subject.arm(subject.long())
    duration_s = armed.duration_ns * 1e-9
    subject.start(armed)
    wait = subject.begin_elsewhere(subject.instrument.abort, CUT_AFTER_S)
    begun = time.perf_counter()
    try:
        subject.read(armed)
    except ScanError as error:
        outcome = said(error)
    else:
        took = time.perf_counter() - begun
        wait(ABORT_S)
        if took < 0.8 * duration_s:  # computed, not scanned
            raise NotApplicable(f"a frame of {duration_s:.3g} s came after {took:.3g} s, before it could be cut")
        raise Failed(f"read_into gave a frame {took:.3g} s after an abort in mid-scan was due, expected a ScanError")
    ended = time.perf_counter() - begun - CUT_AFTER_S
    call = wait(PATIENCE_S)
    if call.error is not None:
        raise Failed(f"abort in mid-scan raises {said(call.error)}, expected none")
    stops = Capability.ABORT in subject.capability  # what cannot stop a frame is safe when it has ended
    limit_s = ABORT_S if stops else (1 + DURATION_SLACK) * duration_s + ABORT_S
    if not call.returned or call.seconds > limit_s:
        raise Failed(
            f"abort of a frame of {duration_s:.3g} s took {call.seconds:.3g} s, expected at most {limit_s:.3g} s"
        )
    if stops and ended > ABORT_S:
        raise Failed(f"read_into ended {ended:.3g} s after the abort, expected at most {ABORT_S} s as ABORT is claimed")
    safe = subject.require_safe("an abort in mid-scan")
    return f"abort took {call.seconds * 1e3:.3g} ms, read_into ended {ended * 1e3:.3g} ms after it: {outcome}; {safe}"


def late(subject: Subject) -> str:
    """The frame of a cancelled scan does not come as the answer to the next one."""
    reference, first, second = two_places(subject)
    cancelled = subject.arm(*first.request)
    subject.start(cancelled)
    subject.elsewhere(subject.instrument.abort)
    armed = subject.arm(*second.request)
    if armed.sequence == cancelled.sequence:
        raise Failed(f"the scan after a cancelled one has its sequence, {armed.sequence}, expected a new one")
    frame = subject.take(armed)
    picture = frame.image().astype(np.float64)
    own, other = (correlation(picture, place.expected(reference)) for place in (second, first))
    if other > own:
        raise Failed(
            f"the scan after a cancelled one shows the place of the cancelled one (correlation {other:.2f}), "
            f"expected its own ({own:.2f})"
        )
    if own < LIKE:
        raise Failed(f"the scan after a cancelled one correlates by {own:.2f} with its own place, expected {LIKE}")
    return f"the scan after a cancelled one shows its own place (correlation {own:.2f} against {other:.2f})"
