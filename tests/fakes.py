# SPDX-License-Identifier: BSD-3-Clause
"""A microscope that fails on request, for tests of everything above the instrument.

    fake = FakeInstrument(faults=[Fault("read_into", "late", call=3)])

`faults` names a verb, what goes wrong there and at which of its calls (0 is the first; None is every call). The fake
keeps the state of its beam, refuses calls from a second thread as a COM driver does, and records every command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from probewise.errors import ScanError, ScanTimeout
from probewise.instrument import session
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan

VERBS = ("describe", "arm", "start", "read_into", "abort", "park", "blank", "close")
Kind = Literal[
    "raise",  # `error` instead of the effect of the verb
    "raise-after",  # `error` after the effect
    "hang",  # the call does not return until `release()`
    "hang-until-abort",  # the call ends with ScanError when `abort` comes
    "late",  # read_into: this frame is kept back (ScanTimeout) and handed out by the next read, old sequence and all
    "duplicate",  # read_into: the frame of the scan before comes once more, then the right one
    "shape",  # read_into: one column is missing
    "dtype",  # read_into: float64
    "nan",  # read_into: not finite
    "short",  # read_into: only half of the samples were acquired
    "constant",  # read_into: one value everywhere
    "saturated",  # read_into: everything at the detector's ceiling
    "not-a-frame",  # read_into: None
]

CAPABILITY = (
    Capability.VECTOR
    | Capability.POINT_DWELL
    | Capability.BLANK
    | Capability.ABORT
    | Capability.SHIFT
    | Capability.ROTATED_ROI
)
SATURATION = 65535.0
ROI = RasterROI(shape=(4, 6), dwell_ns=1000)
SITE = Context(fov_nm=(8.0, 8.0))
SAFE = ("blanked", "parked")  # states of the beam


@dataclass(frozen=True)
class Fault:
    verb: str
    kind: Kind
    call: int | None = 0
    error: BaseException | None = None


@dataclass(frozen=True)
class Command:
    """One call as it reached the hardware."""

    verb: str
    arguments: dict[str, Any]
    thread: int
    beam: str  # after the call


def gradient(armed: Armed, sequence: int) -> Float32Array:
    """(channels, samples): a ramp that differs from frame to frame and in y and x."""
    rows, cols = armed.scan.shape
    if isinstance(armed.scan, RasterROI):
        y, x = np.divmod(np.arange(rows * cols), cols)
    else:
        y, x = (armed.scan.yx * (rows, cols)).T
    return np.stack([10.0 + 2.0 * y + x + sequence + channel for channel in range(len(armed.channels))]).astype("f4")


class FakeInstrument:
    """The eight verbs. beam: "blanked", "parked", "scanning" or "on"; commands: list of Command; closed: bool."""

    source = "fake:"
    truth = None

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        limits: Limits | None = None,
        capability: Capability = CAPABILITY,
        counts: Callable[[Armed, int], Float32Array] = gradient,
    ) -> None:
        self.faults = list(faults)
        self.limits = limits or Limits(channels=("HAADF", "BF"))
        self.capability = capability
        self.counts = counts
        self.beam = "on"
        self.closed = False
        self.commands: list[Command] = []
        self.clock_ns = 0
        self._sequence = 0
        self._owner: int | None = None
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._aborted = threading.Event()
        self._kept: list[Frame] = []
        self._last: Frame | None = None

    def release(self) -> None:
        """End all hanging calls, now and later (tests call it at their end)."""
        self._released.set()

    def calls(self, verb: str) -> int:
        return sum(command.verb == verb for command in self.commands)

    def describe(self) -> tuple[Capability, Limits]:
        self._enter("describe")
        return self._leave("describe", (self.capability, self.limits))

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        self._enter("arm", scan=scan, context=context, channels=tuple(channels))
        self._sequence += 1
        self._aborted.clear()
        return self._leave("arm", Armed(self._sequence, scan, context, tuple(channels), scan.duration_ns))

    def start(self, armed: Armed) -> None:
        self._enter("start", sequence=armed.sequence)
        if self.beam != "on":
            raise ScanError(f"start with the beam {self.beam}")
        self._set_beam("start", "scanning")
        self._leave("start")

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        fault = self._enter("read_into", sequence=armed.sequence, timeout_s=timeout_s)
        if self._kept:
            return self._kept.pop()
        if self._aborted.is_set():
            raise ScanError("aborted")
        if self.beam == "scanning":
            self._set_beam("read_into", "on")
        started_ns = self.clock_ns
        self.clock_ns += armed.duration_ns
        out[:] = self.counts(armed, armed.sequence)
        shape = (len(armed.channels), *armed.scan.shape) if isinstance(armed.scan, RasterROI) else out.shape
        frame = Frame(
            counts=out.reshape(shape),
            channels=armed.channels,
            context=armed.context,
            scan=armed.scan,
            sequence=armed.sequence,
            started_ns=started_ns,
            duration_ns=armed.duration_ns,
            valid=out.shape[1],
        )
        previous, self._last = self._last, frame
        if fault is not None:
            frame = self._spoil(frame, fault.kind, previous)
        return self._leave("read_into", frame)

    def abort(self) -> None:
        self._enter("abort")
        self._aborted.set()
        self._set_beam("abort", "blanked" if Capability.BLANK in self.capability else "parked")
        self._leave("abort")

    def park(self, yx: tuple[float, float] | None) -> None:
        self._enter("park", yx=yx)
        if self.beam != "blanked":
            self._set_beam("park", "on" if yx is None else "parked")
        self._leave("park")

    def blank(self, on: bool) -> None:
        self._enter("blank", on=on)
        self._set_beam("blank", "blanked" if on else "on")
        self._leave("blank")

    def close(self) -> None:
        self._enter("close")
        self._set_beam("close", "blanked" if Capability.BLANK in self.capability else "parked")
        self.closed = True
        self._leave("close")

    def checkpoint(self) -> dict[str, int]:
        return {"clock_ns": self.clock_ns, "sequence": self._sequence}

    def restore(self, state: dict[str, int]) -> None:
        self.clock_ns, self._sequence = state["clock_ns"], state["sequence"]

    def _enter(self, verb: str, **arguments: Any) -> Fault | None:
        thread = threading.get_ident()
        with self._lock:
            if verb != "abort":
                self._owner = self._owner or thread
                if thread != self._owner:
                    raise RuntimeError(f"{verb} was marshalled for a different thread")
            call = self.calls(verb)
            self.commands.append(Command(verb, arguments, thread, self.beam))
        fault = next((f for f in self.faults if f.verb == verb and f.call in (None, call)), None)
        if fault is not None and fault.kind == "raise":
            raise fault.error or OSError(f"{verb} broke")
        if fault is not None and fault.kind == "hang":
            self._released.wait()
        if fault is not None and fault.kind == "hang-until-abort":
            while not (self._aborted.wait(0.01) or self._released.is_set()):
                pass
            raise ScanError(f"{verb} was aborted")
        return fault

    def _leave(self, verb: str, value: Any = None) -> Any:
        call = self.calls(verb) - 1
        for fault in self.faults:
            if fault.verb == verb and fault.kind == "raise-after" and fault.call in (None, call):
                raise fault.error or OSError(f"{verb} broke after its effect")
        return value

    def _set_beam(self, verb: str, state: str) -> None:
        with self._lock:
            self.beam = state
            last = max(index for index, command in enumerate(self.commands) if command.verb == verb)
            self.commands[last] = replace(self.commands[last], beam=state)

    def _spoil(self, frame: Frame, kind: str, previous: Frame | None) -> Frame:
        if kind == "late":
            self._kept.append(frame)
            raise ScanTimeout("no data until the timeout")
        if kind == "duplicate" and previous is not None:
            self._kept.append(frame)
            return previous
        if kind == "not-a-frame":
            return None  # type: ignore[return-value]
        if kind == "shape":
            return replace(frame, counts=frame.counts[..., :-1])
        if kind == "dtype":
            return replace(frame, counts=frame.counts.astype(np.float64))
        if kind == "short":
            half = frame.valid // 2
            frame.counts.reshape(len(frame.channels), -1)[:, half:] = 0
            return replace(frame, valid=half)
        spoilt = {"nan": np.nan, "constant": 7.0, "saturated": SATURATION}
        if kind in spoilt:
            frame.counts.flat[0 : 1 if kind == "nan" else None] = spoilt[kind]
        return frame


def scan_some(fake: FakeInstrument, scans: int = 2, **options: Any) -> list[Frame]:
    """Frames of a session of their own."""
    with session(fake, **options) as opened:
        return [opened.acquire(ROI, SITE, ["HAADF"]) for _ in range(scans)]
