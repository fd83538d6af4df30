# SPDX-License-Identifier: BSD-3-Clause
"""Is the beam safe by whatever way a scan ends?"""

from __future__ import annotations

import numpy as np

from probewise.errors import ScanTimeout
from probewise.instrument.conformance.result import Failed, NotApplicable, said
from probewise.instrument.conformance.subject import SCAN_REFUSED, Subject, refused
from probewise.types import Capability


def blanker(subject: Subject) -> str:
    """blank(True) blanks: as reported, and as counts without unblanking say."""
    if Capability.BLANK not in subject.capability:
        raise NotApplicable("BLANK is not claimed")
    states: list[str | None] = []
    for on in (False, True):
        subject.instrument.blank(on)
        states.append(subject.reported())
    if states[1] is not None:
        if states[0] == "blanked" or states[1] != "blanked":
            raise Failed(
                f"the beam is reported {states[0]} after blank(False) and {states[1]} after blank(True), "
                "expected it blanked after the second alone"
            )
        return f"reported {states[0]} and {states[1]}"
    lit = subject.take(subject.arm(subject.small())).counts
    dark_armed = subject.arm(subject.small())
    try:
        dark = subject.take(dark_armed, unblank=False).counts
    except Exception as error:  # noqa: BLE001  any refusal shows that nothing is scanned
        return f"a scan with the beam blanked is refused ({said(error)})"
    lit_mean, dark_mean = float(lit.mean()), float(dark.mean())
    spread = float(np.std(lit)) + float(np.std(dark))
    if lit_mean - dark_mean < 0.1 * max(spread, 1e-12):
        raise Failed(
            f"counts are {dark_mean:.4g} on average with the beam blanked and {lit_mean:.4g} when it is not, "
            "expected fewer when blanked"
        )
    subject.dark_mean, subject.lit_mean = dark_mean, lit_mean
    return f"counts are {dark_mean:.4g} on average with the beam blanked, {lit_mean:.4g} when it is not"


def normal(subject: Subject) -> str:
    subject.take(subject.arm(subject.small()))
    return subject.require_safe("a frame and blank(True)" if _blanks(subject) else "a frame and park")


def failure(subject: Subject) -> str:
    """read_into that raises has made the beam safe before."""
    armed = subject.arm(subject.small())
    subject.start(armed)
    wrong = np.empty((1, 1), dtype=np.float64)
    reason = refused(
        lambda: subject.read(armed, wrong),  # type: ignore[arg-type]
        "read_into with a buffer of one float64",
        SCAN_REFUSED,
        "done",
    )
    return f"{reason}; " + subject.require_safe("read_into has raised")


def timeout(subject: Subject) -> str:
    """read_into that runs out of time raises ScanTimeout with the beam safe."""
    armed = subject.arm(subject.long())
    subject.start(armed)
    try:
        subject.read(armed, timeout_s=0.2)
    except ScanTimeout as error:
        return f"{said(error)}; " + subject.require_safe("a timeout")
    except Exception as error:
        raise Failed(f"read_into past its time raises {said(error)}, expected a ScanTimeout") from error
    raise NotApplicable(f"a frame of {armed.duration_ns * 1e-9:.3g} s came within 0.2 s")


def park(subject: Subject) -> str:
    """park rests the beam without an error and None leaves the parked state, so that scans go on."""
    subject.instrument.park((0.25, 0.75))
    state = subject.reported()
    if state in ("scanning", "on"):
        raise Failed(f"after park((0.25, 0.75)) the beam is reported {state}, expected parked or blanked")
    subject.instrument.park(None)
    frame = subject.take(subject.arm(subject.small()))
    if not np.isfinite(frame.counts).all():
        raise Failed("a frame after park(None) is not finite, expected a frame as before")
    return "a corner is parked at and left" if state is None else f"the beam is reported {state}, and is left"


def close(subject: Subject) -> str:
    """close makes the beam safe, may come twice, and ends the verbs; abort goes on to be harmless."""
    armed = subject.arm(subject.small())
    subject.start(armed)
    instrument = subject.instrument
    state = None
    for which in ("first", "second"):
        try:
            instrument.close()
        except Exception as error:
            raise Failed(f"the {which} close raises {said(error)}, expected none") from error
        state = subject.reported()
        if state in ("scanning", "on"):
            raise Failed(f"after the {which} close the beam is reported {state}, expected blanked or parked")
    call = subject.elsewhere(instrument.abort)
    if not call.returned or call.error is not None:
        came = "did not return" if call.error is None else f"raises {said(call.error)}"
        raise Failed(f"abort after close {came}, expected nothing to happen")
    refused(lambda: subject.arm(subject.small()), "arm after close", (Exception,))
    return "twice; " + ("nothing tells the state of the beam" if state is None else f"the beam is reported {state}")


def _blanks(subject: Subject) -> bool:
    return Capability.BLANK in subject.capability
