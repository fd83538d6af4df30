# SPDX-License-Identifier: BSD-3-Clause
"""A driver in plain data (`probewise_agent.driver`) as an Instrument, in this process or behind a wire."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.errors import InstrumentError, ScanError, ScanTimeout
from probewise.instrument.plain import plain_context, plain_scan, typed_description, typed_scan
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan

if TYPE_CHECKING:
    from probewise_agent.driver import Driver


def from_driver(driver: Driver, *, source: str = "driver:") -> DrivenInstrument:
    """The Instrument whose verbs are those of `driver`.

    driver  made on the thread that will call the verbs, where the vendor ties objects to a thread
    source  what a run says it was measured with
    """
    return DrivenInstrument(driver, source)


class DrivenInstrument:
    """The eight verbs over a driver. It numbers the scans; a driver knows one armed scan at a time.

    Errors of a driver come as ours: ScanLate as ScanTimeout, ScanFailed as ScanError, DriverError as InstrumentError;
    a ValueError (a refused argument) stays what it is, and so does anything that is no error of a driver.
    """

    truth = None

    def __init__(self, driver: Driver, source: str) -> None:
        self._driver = driver
        self.source = source
        self._armed: Armed | None = None
        self._running: Armed | None = None
        self._sequence = 0

    def describe(self) -> tuple[Capability, Limits]:
        with _errors():
            return typed_description(self._driver.describe())

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        plain = plain_scan(scan)
        self._armed = None
        with _errors():
            gave = self._driver.arm(plain, plain_context(context), list(channels))
        executed, duration_ns = _executed(gave)
        self._sequence += 1
        self._armed = Armed(self._sequence, executed, context, tuple(channels), duration_ns)
        return self._armed

    def start(self, armed: Armed) -> None:
        if armed is not self._armed:
            raise ScanError(f"scan {armed.sequence} is not the armed one: arm it before start")
        self._running, self._armed = armed, None
        with _errors():
            self._driver.start()

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        running, self._running = self._running, None
        if armed is not running:
            self.abort()
            raise ScanError(f"scan {armed.sequence} is not being scanned: start it first, or it was read or aborted")
        samples = armed.scan.shape[0] * armed.scan.shape[1] if isinstance(armed.scan, RasterROI) else len(armed.scan.yx)
        expected = (len(armed.channels), samples)
        usable = out.flags.c_contiguous and out.flags.writeable
        if out.shape != expected or out.dtype != np.float32 or not usable:
            self.abort()
            raise ValueError(
                f"out is a {out.dtype} array of shape {out.shape}, expected contiguous writeable float32 {expected}"
            )
        with _errors():
            gave = self._driver.read_into(out, timeout_s)
        try:
            valid, started_ns, duration_ns = (int(gave[name]) for name in ("valid", "started_ns", "duration_ns"))
            notices = tuple(str(notice) for notice in gave["notices"])
        except (KeyError, TypeError, ValueError) as error:
            raise ScanError(f"read_into gave {gave!r}: {type(error).__name__} {error}") from error
        return Frame(
            counts=out.reshape(len(armed.channels), *armed.scan.shape) if isinstance(armed.scan, RasterROI) else out,
            channels=armed.channels,
            context=armed.context,
            scan=armed.scan,
            sequence=armed.sequence,
            started_ns=started_ns,
            duration_ns=duration_ns,
            valid=valid,
            notices=notices,
        )

    def abort(self) -> None:
        with _errors():
            self._driver.abort()

    def park(self, yx: tuple[float, float] | None) -> None:
        with _errors():
            self._driver.park(yx)

    def blank(self, on: bool) -> None:
        with _errors():
            self._driver.blank(on)

    def close(self) -> None:
        with _errors():
            self._driver.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Errors of the driver as ours."""
    from probewise_agent.driver import DriverError, ScanFailed, ScanLate

    try:
        yield
    except ScanLate as error:
        raise ScanTimeout(str(error)) from error
    except ScanFailed as error:
        raise ScanError(str(error)) from error
    except DriverError as error:
        raise InstrumentError(str(error)) from error


def _executed(gave: Any) -> tuple[Scan, int]:
    try:
        executed, duration_ns = typed_scan(gave["scan"]), int(gave["duration_ns"])
    except (KeyError, TypeError, ValueError) as error:
        raise InstrumentError(f"arm gave no executed scan: {type(error).__name__} {error}") from error
    if duration_ns < 0:
        raise InstrumentError(f"arm gave duration_ns = {duration_ns}, expected none below 0")
    return executed, duration_ns
