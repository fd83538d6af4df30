# SPDX-License-Identifier: BSD-3-Clause
"""An Instrument as a driver in plain data, so that a server can give it to another process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from probewise.errors import InstrumentError, ScanError, ScanTimeout
from probewise.instrument.plain import plain_description, plain_scan, typed_context, typed_scan
from probewise.types import Armed, Float32Array, Frame, Instrument
from probewise_agent.driver import DriverError, ScanFailed, ScanLate

STALE_FRAMES = 8  # frames of earlier, cancelled scans that one read may drop


class InstrumentDriver:
    """The verbs of `instrument`; its errors as those of a driver."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._armed: Armed | None = None

    def describe(self) -> dict[str, Any]:
        with _errors():
            return {"name": type(self._instrument).__name__, **plain_description(*self._instrument.describe())}

    def arm(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        self._armed = None
        with _errors():
            armed = self._instrument.arm(typed_scan(scan), typed_context(context), channels=tuple(channels))
        self._armed = armed
        return {"scan": plain_scan(armed.scan), "duration_ns": int(armed.duration_ns)}

    def start(self) -> None:
        with _errors():
            self._instrument.start(self._the_armed())

    def read_into(self, out: Float32Array, timeout_s: float) -> dict[str, Any]:
        armed = self._the_armed()
        for _ in range(STALE_FRAMES):
            with _errors():
                frame = self._instrument.read_into(armed, out, timeout_s=timeout_s)
            if not isinstance(frame, Frame):
                raise ScanFailed(f"read_into gave a {type(frame).__name__}, expected a Frame")
            if frame.sequence == armed.sequence:
                return _read(frame, out)
        raise ScanFailed(f"{STALE_FRAMES} frames of other scans came running, expected sequence {armed.sequence}")

    def abort(self) -> None:
        with _errors():
            self._instrument.abort()

    def park(self, yx: tuple[float, float] | None) -> None:
        with _errors():
            self._instrument.park(yx)

    def blank(self, on: bool) -> None:
        with _errors():
            self._instrument.blank(on)

    def close(self) -> None:
        with _errors():
            self._instrument.close()

    def _the_armed(self) -> Armed:
        if self._armed is None:
            raise ScanFailed("no scan is armed")
        return self._armed


def _read(frame: Frame, out: Float32Array) -> dict[str, Any]:
    counts = frame.counts
    if counts.dtype != np.float32 or counts.size != out.size:
        raise ScanFailed(f"a frame of {counts.dtype} {counts.shape} came, expected float32 of {out.size} values")
    if not np.may_share_memory(counts, out):
        out[:] = counts.reshape(out.shape)
    return {
        "valid": int(frame.valid),
        "started_ns": int(frame.started_ns),
        "duration_ns": int(frame.duration_ns),
        "notices": list(frame.notices),
    }


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ScanTimeout as error:
        raise ScanLate(str(error)) from error
    except ScanError as error:
        raise ScanFailed(str(error)) from error
    except InstrumentError as error:
        raise DriverError(str(error)) from error
