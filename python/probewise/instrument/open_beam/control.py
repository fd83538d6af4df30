# SPDX-License-Identifier: BSD-3-Clause
"""Scan and blanker of a microscope in the hands of an Open Beam Interface: taken over, blanked, connected again."""

from __future__ import annotations

import time

from probewise._core import open_beam as _core
from probewise.errors import InstrumentError, ScanError
from probewise.instrument.open_beam.line import Line

OPEN_S = 5.0
SAFE_S = 0.5  # for a blank to be answered; the beam time that may lie before it is 0.03 of this
RECONNECT_S = 1.0
HANDOVER_NS = 20_000_000  # of the relays that switch the microscope to external control
MOST_COOKIES = 0xFFFF  # 0xFFFF itself announces a cookie


class Control:
    """One connection at a time, made at once: the beam is blanked from then on. Used by one thread at a time.

    line    None when it was lost and could not be made again
    beam    "blanked", "on", or "unknown" when a blank was not answered
    raises  InstrumentError when nobody answers there
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._cookie = 0
        self.line: Line | None = None
        self.beam = "unknown"
        self._connect(OPEN_S)

    @property
    def name(self) -> str:
        host, port = self._address
        return f"obi://[{host}]:{port}" if ":" in host else f"obi://{host}:{port}"

    def wake(self) -> None:
        """Make whoever waits for an answer look up; from any thread."""
        line = self.line
        if line is not None:
            line.wake()

    def next_cookie(self) -> int:
        self._cookie = (self._cookie + 1) % MOST_COOKIES
        return self._cookie

    def blank(self) -> None:
        """End the raster region and blank, over a new connection where this one does not answer.

        raises  InstrumentError when that does not work either: the beam may be on
        """
        if self.line is not None:
            try:
                self.ask(_core.abort_region() + _core.blank(True, False))
            except ScanError:
                self.drop()
            else:
                self.beam = "blanked"
                return
        self.beam = "unknown"
        try:
            self._connect(RECONNECT_S)
        except InstrumentError as error:
            raise InstrumentError(f"{error}: the beam could not be blanked and may be on") from error

    def unblank(self) -> None:
        self._connected().send(_core.blank(False, False) + _core.flush())
        self.beam = "on"

    def ask(self, commands: bytes) -> None:
        """Send `commands` and wait until all is done.

        raises  ScanError, ScanTimeout; InstrumentError when there is no connection
        """
        self._ask(self._connected(), commands, SAFE_S)

    def _ask(self, line: Line, commands: bytes, seconds: float) -> None:
        cookie = self.next_cookie()
        line.send(commands + _core.synchronize(False, True, cookie))
        line.settle(cookie, time.monotonic() + seconds)

    def drop(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.close()

    def _connected(self) -> Line:
        if self.line is None:
            self._connect(RECONNECT_S)
        assert self.line is not None
        return self.line

    def _connect(self, seconds: float) -> None:
        self.line = line = Line(self.name, self._address, seconds)
        waits = -(-HANDOVER_NS * 48 // (0xFFFF * 1000))  # of the longest Delay, 65,535 cycles of 48 MHz
        taken = _core.select_electron_beam() + _core.blank(True, False) + _core.external_control(True)
        try:
            self._ask(line, taken + _core.delay(0xFFFF) * waits, seconds)
        except ScanError as error:
            self.drop()
            raise InstrumentError(
                f"{line.name} did not answer a Synchronize within {seconds:g} s ({error}), "
                "expected a server of the Open Beam Interface"
            ) from error
        self.beam = "blanked"
