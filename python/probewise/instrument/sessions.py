# SPDX-License-Identifier: BSD-3-Clause
"""Working with an instrument so that the beam is safe whatever happens.

Safe means blanked, or parked where there is no blanker. That state is restored after every scan (idle rule), after
every error, on leaving the `with` block for any reason, at interpreter exit, and on SIGTERM and SIGHUP unless the
program handles those itself. A process that dies at once (SIGKILL, a crash inside a driver) cannot do it.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.calls import Calls, said
from probewise.instrument.checks import check_position, check_request
from probewise.instrument.watchdog import Job
from probewise.types import (
    Armed,
    Capability,
    Context,
    Frame,
    Instrument,
    Limits,
    RasterROI,
    Scan,
    Spectrum,
    SpectrumInstrument,
)

Idle = Literal["blank", "park", "scan"]
T = TypeVar("T")

DURATION_FACTOR = 1.5  # of a scan's predicted duration; retrace that is not predicted takes about a fifth (pytemscript)
STALE_FRAMES = 8  # frames of earlier, cancelled scans that one read may drop


def session(
    instrument: Instrument,
    *,
    idle: Idle = "blank",
    park_yx: tuple[float, float] | None = None,
    margin_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> Session:
    """A session with `instrument`, to be used in a `with` block.

    idle      where the beam is between scans: blanked, parked at `park_yx`, or left to scan
    park_yx   fractions (y, x) of the survey field, a point to sacrifice; None is its first corner
    margin_s  what any call may take beyond the scan's own time before it is aborted
    clock     seconds, monotonic
    raises    ConfigurationError for an idle rule that the instrument cannot keep, when the block is entered
    """
    return Session(instrument, idle=idle, park_yx=park_yx, margin_s=margin_s, clock=clock)


class Session:
    """One instrument in use: `acquire` scans, `abort` stops from any thread. Made by `session`."""

    def __init__(
        self,
        instrument: Instrument,
        *,
        idle: Idle,
        park_yx: tuple[float, float] | None,
        margin_s: float,
        clock: Callable[[], float],
    ) -> None:
        if idle not in ("blank", "park", "scan"):
            raise ConfigurationError(f"idle is {idle!r}, expected blank, park or scan")
        if park_yx is not None:
            check_position("park_yx", park_yx)
        if not 0 < margin_s < threading.TIMEOUT_MAX / 4:
            raise ValueError(f"margin_s is {margin_s}, expected a positive finite number of seconds")
        self._instrument = instrument
        self._idle: Idle = idle
        self._park_yx = (0.0, 0.0) if park_yx is None else park_yx
        self._margin_s = margin_s
        self._clock = clock
        self._calls = Calls(instrument.abort, self._make_safe, margin_s, clock)
        self._parked = False
        self._capability = Capability.NONE
        self._limits = Limits()
        self._handled: list[signal.Signals] = []
        self._last_pixel_ns = 0

    @property
    def instrument(self) -> Instrument:
        """The instrument itself; its verbs belong to the owner thread (see `call`)."""
        return self._instrument

    @property
    def capability(self) -> Capability:
        return self._capability

    @property
    def limits(self) -> Limits:
        return self._limits

    def __enter__(self) -> Session:
        if self._calls.started:
            raise InstrumentError("the session was entered before, expected a new one")
        atexit.register(self.close)
        try:
            self._calls.start()
            self._install_signal_handlers()
            self._capability, self._limits = self.call(self._instrument.describe)
            if self._idle == "blank" and Capability.BLANK not in self._capability:
                raise ConfigurationError("idle is 'blank', expected 'park' or 'scan': the instrument has no blanker")
            self._call(self._rest, f"idle = {self._idle}")
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave(error)
        except BaseException:
            self._leave(error)  # Ctrl-C may have come before the first one could begin or wait
            raise

    def acquire(self, scan: Scan, context: Context, channels: Sequence[str]) -> Frame:
        """Arm, scan and read one frame; afterwards the beam is where the idle rule says.

        scan      RasterROI or ScanPath within the instrument's limits
        context   the field that its fractions refer to
        channels  names from `limits.channels`
        returns   the frame of this scan; frames of earlier, cancelled ones are dropped
        raises    ConfigurationError before the beam moves; ScanTimeout past the deadline, ScanError when the scan
                  failed or was aborted, InstrumentError when the instrument hangs: the beam is safe in each case
                  unless the message says otherwise
        """
        return self.begin(scan, context, channels)()

    def begin(self, scan: Scan, context: Context, channels: Sequence[str]) -> Callable[[], Frame]:
        """As `acquire`, in two parts: returns as soon as the owner thread has the scan; calling what it gives waits.

        In between nothing else may be asked of the session but `abort` and `close`, which cut the scan.
        """
        check_request(scan, context, channels, capability=self._capability, limits=self._limits)
        wanted = tuple(channels)
        return self._calls.begin(lambda job: self._scan(job, scan, context, wanted), ScanError)

    def begin_spectrum(self, scan: RasterROI, context: Context, channels: Sequence[str]) -> Callable[[], Spectrum]:
        """As `begin`, with a spectrum at each pixel; `scan.dwell_ns` is the exposure of one.

        raises  ConfigurationError too where the instrument is no SpectrumInstrument
        """
        instrument = self._instrument
        if not isinstance(instrument, SpectrumInstrument):
            raise ConfigurationError(
                f"a {type(instrument).__name__} measures no spectra, expected a SpectrumInstrument"
            )
        check_request(scan, context, channels, capability=self._capability, limits=self._limits)
        wanted = tuple(channels)
        return self._calls.begin(lambda job: self._spectrum(job, instrument, scan, context, wanted), ScanError)

    @property
    def last_pixel_ns(self) -> int:
        """When the last frame was read, on `time.perf_counter_ns`; 0 before the first."""
        return self._last_pixel_ns

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the thread that owns the hardware (state to journal, a vendor's own setting)."""

        return self._call(function, getattr(function, "__name__", "call"))

    def make_safe(self) -> None:
        """Blank the beam between scans, or park it where it cannot be blanked, whatever the idle rule says.

        raises  InstrumentError when neither works: the beam is on
        """
        failures = self.call(self._blank_or_park)
        if failures:
            raise InstrumentError(f"the beam could neither be blanked nor parked: {said(failures[-1])}")

    def abort(self) -> None:
        """Stop whatever runs and make the beam safe; from any thread, returns when done.

        raises  InstrumentError when the instrument does not do it in time: the beam may be on
        """
        if self._calls.open:
            self._calls.abort()

    def close(self) -> None:
        """Make the beam safe and close the instrument; the `with` block does this. Idempotent."""
        self._leave(None)

    # On the owner thread

    def _scan(self, job: Job, scan: Scan, context: Context, channels: tuple[str, ...]) -> Frame:
        instrument = self._instrument
        with contextlib.ExitStack() as unsafe:
            unsafe.callback(self._make_safe)
            armed = self._armed(job, lambda: instrument.arm(scan, context, channels=channels))
            out = np.empty((len(channels), _samples(armed.scan)), dtype=np.float32)
            self._refuse_if_cancelled(job)
            job.stage = "start"
            self._light()
            instrument.start(armed)
            self._refuse_if_cancelled(job)  # an abort that came just before `start` did not stop it
            job.stage = "read_into"
            limit_s = self._set_deadline(job, armed)
            frame = self._read(armed, out, limit_s, job)
            self._last_pixel_ns = time.perf_counter_ns()
            job.stage = "end of the scan"
            self._rest()
            unsafe.pop_all()
            return frame

    def _spectrum(
        self,
        job: Job,
        instrument: SpectrumInstrument,
        scan: RasterROI,
        context: Context,
        channels: tuple[str, ...],
    ) -> Spectrum:
        with contextlib.ExitStack() as unsafe:
            unsafe.callback(self._make_safe)
            armed = self._armed(job, lambda: instrument.arm_spectrum(scan, context, channels=channels))
            self._refuse_if_cancelled(job)
            job.stage = "measure_spectrum"
            self._light()
            limit_s = self._set_deadline(job, armed)
            spectrum = instrument.measure_spectrum(armed, timeout_s=limit_s)
            if spectrum.frame.sequence != armed.sequence:
                raise ScanError(f"a spectrum of scan {spectrum.frame.sequence} came, expected one of {armed.sequence}")
            self._refuse_if_cancelled(job)
            self._last_pixel_ns = time.perf_counter_ns()
            job.stage = "end of the scan"
            self._rest()
            unsafe.pop_all()
            return spectrum

    def _armed(self, job: Job, arm: Callable[[], Armed]) -> Armed:
        job.stage = "arm"
        try:
            return arm()
        except ConfigurationError:
            raise
        except ValueError as error:  # the backend's own limits, refused before the beam moved
            raise ConfigurationError(str(error)) from error

    def _light(self) -> None:
        if self._parked:
            self._instrument.park(None)
            self._parked = False
        if Capability.BLANK in self._capability:
            self._instrument.blank(False)

    def _set_deadline(self, job: Job, armed: Armed) -> float:
        limit_s = DURATION_FACTOR * armed.duration_ns * 1e-9 + self._margin_s
        job.deadline = self._clock() + limit_s
        return limit_s

    def _read(self, armed: Armed, out: np.ndarray[Any, np.dtype[np.float32]], limit_s: float, job: Job) -> Frame:
        for _ in range(STALE_FRAMES):
            frame = self._instrument.read_into(armed, out, timeout_s=limit_s)
            if not isinstance(frame, Frame):
                raise ScanError(f"read_into gave a {type(frame).__name__}, expected a Frame")
            if frame.sequence == armed.sequence:
                return frame
            limit_s = job.deadline - self._clock()
            if limit_s <= 0:
                raise ScanTimeout(f"only frames of other scans came until the deadline, the last of {frame.sequence}")
        raise ScanError(f"{STALE_FRAMES} frames of other scans came running, expected sequence {armed.sequence}")

    def _refuse_if_cancelled(self, job: Job) -> None:
        if job.cancelled or job.timed_out or job.given_up:
            raise ScanError(f"aborted during {job.stage}")

    def _rest(self) -> None:
        """The idle rule."""
        if self._idle == "blank":
            self._instrument.blank(True)
        elif self._idle == "park":
            self._park()

    def _park(self) -> None:
        self._instrument.park(self._park_yx)
        self._parked = True

    def _make_safe(self) -> None:
        with contextlib.suppress(BaseException):  # what follows is safe by itself
            self._instrument.abort()
        self._blank_or_park()

    def _blank_or_park(self) -> list[BaseException]:
        """Try every means there is; returns what failed when nothing worked."""
        failures: list[BaseException] = []
        means: list[Callable[[], None]] = [self._park]
        if Capability.BLANK in self._capability:
            means = [lambda: self._instrument.blank(True)] * 2 + means  # one more try costs less than a lit sample
        for mean in means:
            try:
                mean()
            except BaseException as error:  # noqa: BLE001  the next means is tried
                failures.append(error)
            else:
                return []
        return failures

    def _close_instrument(self, job: Job) -> None:
        job.stage = "close"
        failures = self._blank_or_park()
        self._instrument.close()
        if failures:
            raise InstrumentError(f"the beam could neither be blanked nor parked: {said(failures[-1])}")

    # On the caller's thread

    def _call(self, function: Callable[[], T], stage: str) -> T:
        def run(job: Job) -> T:
            job.stage = stage
            return function()

        return self._calls.run(run, InstrumentError)

    def _leave(self, error: BaseException | None) -> None:
        """Close once; what goes wrong is added to `error` when there is one, raised otherwise."""
        if not self._calls.started or not self._calls.close(self._close_instrument):
            return
        atexit.unregister(self.close)
        self._restore_signal_handlers()
        try:
            self._calls.finish()
        except InstrumentError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _install_signal_handlers(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit_on_signal)
                self._handled.append(number)

    def _restore_signal_handlers(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        while self._handled:
            number = self._handled.pop()
            if signal.getsignal(number) is _exit_on_signal:
                signal.signal(number, signal.SIG_DFL)


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds the `with` block, where the beam is made safe


def _samples(scan: Scan) -> int:
    return scan.shape[0] * scan.shape[1] if isinstance(scan, RasterROI) else len(scan.yx)
