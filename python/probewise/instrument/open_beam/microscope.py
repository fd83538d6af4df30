# SPDX-License-Identifier: BSD-3-Clause
"""A scan generator that speaks the Open Beam Interface, over TCP: docs/how-to/open-beam-interface.md.

The hardware carries out every command after the ones before it, Abort and Blank too. So at most LEAD_NS of beam time is
ever sent ahead of the pixels that have answered: that bounds how long a blank waits. A Synchronize is answered once all
before it is done; a blank is believed when the Synchronize behind it has been answered, and a scan's data are those
between the answer to its own Synchronize and its last pixel.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from probewise._core import open_beam as _core
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import check_position, extent
from probewise.instrument.open_beam.control import RECONNECT_S, SAFE_S, Control
from probewise.instrument.open_beam.line import Line
from probewise.instrument.open_beam.program import Calibration, Encoder, Program
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan

LEAD_NS = 20_000_000
LEAD_SAMPLES = 1 << 16  # at the shortest dwells; 131 kB of answers, which fit the buffers of a connection
MAX_POINTS = 1 << 22
ECHO_BYTES = 4

CAPABILITY = (
    Capability.ROTATED_ROI
    | Capability.VECTOR
    | Capability.POINT_DWELL
    | Capability.PARTIAL_READ
    | Capability.BLANK
    | Capability.BLANK_INLINE
    | Capability.ABORT
    | Capability.SHIFT
)
CAST = "counts are detector codes of 14 bits, cast to float32"


@dataclass
class _Running:
    """A scan on its way: `fed` chunks were handed to the connection, `answered` samples have come back."""

    sequence: int
    program: Program
    cookie: int
    started_ns: int
    fed: int = 0
    answered: int = 0
    received: int = 0
    written: int = 0


class OpenBeamInstrument:
    """The eight verbs of probewise.types.Instrument. Made by `open_open_beam`; the beam is blanked from then on.

    source      "obi://HOST:PORT"
    fov_nm      (y, x) of the survey field, the DACs' full range
    saturation  the detector's last code
    beam        "blanked", "parked", "scanning", "on", or "unknown" when a blank was not answered
    """

    truth: None = None
    saturation = float(_core.TOP_CODE)
    notices = (CAST,)

    def __init__(
        self, host: str, port: int, calibration: Calibration, *, channel: str, flyback_ns: int, settle_ns: int
    ) -> None:
        self.fov_nm = calibration.fov_nm
        self._calibration = calibration
        self._encoder = Encoder(calibration)
        self._limits = Limits(
            channels=(channel,),
            dwell_min_ns=_core.DWELL_UNIT_NS,
            dwell_max_ns=_core.LONGEST_DWELL_NS,
            dwell_step_ns=_core.DWELL_UNIT_NS,
            dac_bits=_core.DAC_BITS,
            max_points=MAX_POINTS,
            flyback_ns=flyback_ns,
            settle_ns=settle_ns,
            max_fov_nm=max(self.fov_nm),
        )
        self._answers = np.empty(0, dtype=np.uint8)
        self._opened_ns = time.monotonic_ns()
        self._sequence = 0
        self._armed: tuple[Armed, Program] | None = None
        self._running: _Running | None = None
        self._parked = False
        self._closed = False
        self._lock = threading.RLock()  # whoever holds it has the connection; `abort` makes the owner leave it
        self._stop = threading.Event()
        self._control = Control(host, port)
        self.source = self._control.name

    @property
    def beam(self) -> str:
        state = self._control.beam
        if state != "on":
            return state
        return "scanning" if self._running is not None else "parked" if self._parked else "on"

    def describe(self) -> tuple[Capability, Limits]:
        return CAPABILITY, self._limits

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Check, quantise and encode; nothing is sent. A path comes back with the positions the DACs will take."""
        with self._lock:
            self._require_idle()
            self._calibration.check(scan, extent(scan, channels, self._limits), context)
            program = self._encoder.encode(scan, context)
            self._sequence += 1
            armed = Armed(self._sequence, program.executed, context, tuple(channels), scan.duration_ns)
            self._armed = armed, program
            return armed

    def start(self, armed: Armed) -> None:
        with self._lock:
            self._require_open()
            if self._armed is None or self._armed[0].sequence != armed.sequence:
                raise ScanError(f"scan {armed.sequence} is not the one armed last, expected to start that one")
            line = self._control.line
            if line is None:
                raise ScanError(f"{self.source} was lost, expected blank(False) to connect again before a scan")
            self._stop.clear()
            _, program = self._armed
            self._armed = None
            cookie = self._control.next_cookie()
            program.synchronize(cookie)
            self._running = _Running(armed.sequence, program, cookie, time.monotonic_ns() - self._opened_ns)
            try:
                self._feed(self._running, line)
            except ScanError as error:
                raise self._made_safe(error) from error

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """The frame of the scan that runs, in `out` (1, samples) float32, which fills while the scan goes on.

        raises  ScanError, ScanTimeout after blanking; ValueError for another `out`, after blanking
        """
        until_s = time.monotonic() + timeout_s
        with self._lock:
            self._require_open()
            running, scan = self._running, armed.scan
            if running is None or running.sequence != armed.sequence:
                raise self._made_safe(ScanError(f"scan {armed.sequence} does not run: never started, or aborted"))
            samples = math.prod(scan.shape) if isinstance(scan, RasterROI) else len(scan.yx)
            if out.dtype != np.float32 or out.shape != (1, samples) or not out.flags.c_contiguous:
                self._make_safe()
                raise ValueError(
                    f"out is {out.dtype} of shape {out.shape}, expected C-contiguous float32 (1, {samples})"
                )
            try:
                self._collect(running, out[0], until_s)
            except ScanError as error:
                raise self._made_safe(error) from error
            self._running = None
        return Frame(
            counts=out.reshape(1, *scan.shape) if isinstance(scan, RasterROI) else out,
            channels=armed.channels,
            context=armed.context,
            scan=scan,
            sequence=armed.sequence,
            started_ns=running.started_ns,
            duration_ns=armed.duration_ns,
            valid=samples,
            notices=(CAST,),
        )

    def abort(self) -> None:
        """Blank, over a new connection where the old one does not answer; returns within 5 s, mostly at once.

        raises  InstrumentError when the blank was not answered: the beam may be on
        """
        self._stop.set()
        self._control.wake()
        if not self._lock.acquire(timeout=SAFE_S + 2 * RECONNECT_S):
            raise InstrumentError(f"{self.source} is held by a call that does not return: the beam may be on")
        try:
            if not self._closed:
                self._make_safe()
        finally:
            self._lock.release()

    def park(self, yx: tuple[float, float] | None) -> None:
        """Move the beam to fractions (y, x) of the DACs' range; the blanker stays as it is."""
        if yx is not None:
            check_position("yx", yx)
        with self._lock:
            self._require_idle()
            self._parked = yx is not None
            if yx is not None:
                codes = np.empty((1, 2), dtype=np.uint16)
                _core.vector_codes(np.array([yx]), self._calibration.placement(Context(self.fov_nm)), codes)
                pixel = _core.vector_pixel_least_dwell(*codes[0].tolist())
                self._control.ask(_core.synchronize(False, False, self._control.next_cookie()) + pixel)

    def blank(self, on: bool) -> None:
        """Blank, or let the beam through; blanking returns when it is done, whatever was scanned before."""
        with self._lock:
            self._require_open()
            if on:
                self._make_safe()
            else:
                self._control.unblank()

    def close(self) -> None:
        """Blank and leave. The server of the project then gives the scan back to the microscope."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._make_safe()
            finally:
                self._control.drop()

    # With the lock held

    def _require_open(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.source} is closed, expected it to be open")

    def _require_idle(self) -> None:
        self._require_open()
        if self._running is not None:
            raise ScanError(f"scan {self._running.sequence} still runs, expected it to be read or aborted first")

    def _feed(self, running: _Running, line: Line) -> None:
        """Hand over the chunks that may be on their way now: those within the lead, one at least."""
        program = running.program
        if running.fed == len(program.ns_end):
            return
        done = int(np.searchsorted(program.samples_end, running.answered, side="right"))
        done_ns = int(program.ns_end[done - 1]) if done else 0
        within = int(np.searchsorted(program.ns_end, done_ns + LEAD_NS, side="right"))
        few = int(np.searchsorted(program.samples_end, running.answered + LEAD_SAMPLES, side="right"))
        most = max(done + 1, min(within, few))
        if most > running.fed:
            begin = int(program.bytes_end[running.fed - 1]) if running.fed else 0
            running.fed = most
            line.send(program.data[begin : int(program.bytes_end[most - 1])].data)

    def _collect(self, running: _Running, out: Float32Array, until_s: float) -> None:
        line, program = self._control.line, running.program
        assert line is not None
        expected = ECHO_BYTES + 2 * program.samples
        if len(self._answers) < expected:
            self._answers = np.empty(expected, dtype=np.uint8)
        answers = self._answers.data
        while running.received < expected:
            try:
                came = line.receive(answers[running.received : expected], until_s, self._stop.is_set)
            except ScanTimeout as error:
                raise ScanTimeout(
                    f"{self.source}: {running.answered} of {program.samples} samples came before the timeout"
                ) from error
            if came == 0:
                raise ScanError(f"scan {running.sequence} was aborted after {running.answered} samples")
            running.received += came
            if running.received >= ECHO_BYTES:
                self._decode(running, out)
                self._feed(running, line)

    def _decode(self, running: _Running, out: Float32Array) -> None:
        """Counts of the samples that have come since."""
        if running.answered == 0:
            echo = bytes(self._answers[:ECHO_BYTES])
            wanted = _core.SYNCHRONIZED.to_bytes(2, "big") + running.cookie.to_bytes(2, "big")
            if echo != wanted:
                raise self._violated(f"{echo.hex()} came before the first sample, expected {wanted.hex()}")
        first, end = running.answered, (running.received - ECHO_BYTES) // 2
        keep = running.program.keep
        try:
            running.written += _core.decode_counts(
                self._answers[ECHO_BYTES + 2 * first : ECHO_BYTES + 2 * end],
                None if keep is None else keep[first:end],
                out[running.written :],
            )
        except ValueError as error:
            raise self._violated(f"after {first} samples {error}") from error
        running.answered = end

    def _violated(self, what: str) -> ScanError:
        self._control.drop()  # what else is on its way cannot be told apart
        return ScanError(f"{self.source} broke the protocol: {what}")

    def _made_safe(self, error: ScanError) -> ScanError:
        """`error` once the beam is blanked; when it could not be, saying so."""
        try:
            self._make_safe()
        except InstrumentError as failure:
            return type(error)(f"{error}; {failure}")
        return error

    def _make_safe(self) -> None:
        """End what runs and blank."""
        self._running = None
        self._control.blank()


def open_open_beam(
    rest: str,
    *,
    fov_nm: float | Sequence[float] | None = None,
    flip: str = "",
    channel: str = "HAADF",
    flyback_ns: int = 0,
    settle_ns: int = 0,
) -> OpenBeamInstrument:
    """Open "obi://HOST:PORT": connect, take scan and blanker over, blank.

    fov_nm      side of the sample under the DACs' full range, code 0 to 16,383: a length, or two (y, x)
    flip        axes of which code 0 is the bottom or the right edge: "", "y", "x" or "yx"
    channel     what the detector input carries
    flyback_ns  that the coils need after a line, settle_ns after a jump; multiples of 125
    raises      ConfigurationError for a wrong option; InstrumentError when nobody answers there
    """
    host, port = _address(rest)
    if flip not in ("", "y", "x", "yx"):
        raise ConfigurationError(f'instrument.options.flip is {flip!r}, expected "", "y", "x" or "yx"')
    if type(channel) is not str or not channel:
        raise ConfigurationError(f"instrument.options.channel is {channel!r}, expected a name")
    for name, value in (("flyback_ns", flyback_ns), ("settle_ns", settle_ns)):
        if type(value) is not int or not 0 <= value <= _core.LONGEST_DWELL_NS or value % _core.DWELL_UNIT_NS:
            raise ConfigurationError(
                f"instrument.options.{name} is {value!r}, expected a multiple of {_core.DWELL_UNIT_NS} ns "
                f"from 0 to {_core.LONGEST_DWELL_NS}"
            )
    calibration = Calibration(_field(fov_nm), "y" in flip, "x" in flip)
    return OpenBeamInstrument(host, port, calibration, channel=channel, flyback_ns=flyback_ns, settle_ns=settle_ns)


def _address(rest: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"obi:{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or not port or parts.netloc.partition("@")[1] or parts.path or parts.query or parts.fragment:
        raise ConfigurationError(f"instrument.uri is 'obi:{rest}', expected obi://HOST:PORT")
    return host, port


def _field(fov_nm: float | Sequence[float] | None) -> tuple[float, float]:
    sides = (fov_nm, fov_nm) if isinstance(fov_nm, int | float) else fov_nm
    if not isinstance(sides, tuple | list) or len(sides) != 2 or not all(map(_is_length, sides)):
        raise ConfigurationError(
            f"instrument.options.fov_nm is {fov_nm!r}, expected the nm of sample that the DACs' full range spans: "
            "a positive length, or two (y, x)"
        )
    return float(sides[0]), float(sides[1])


def _is_length(side: object) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and math.isfinite(side) and side > 0
