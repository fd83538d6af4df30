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

from probewise.errors import ConfigurationError, Error, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import check_position, check_request
from probewise.instrument.watchdog import Job, Owner, Watchdog
from probewise.types import Armed, Capability, Context, Frame, Instrument, Limits, RasterROI, Scan

Idle = Literal["blank", "park", "scan"]
T = TypeVar("T")

DURATION_FACTOR = 1.5  # of a scan's predicted duration; retrace that is not predicted takes about a fifth (pytemscript)
ABORT_GRACE_S = 0.05  # a call that follows `abort` returns within this, or is left behind
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
        self._busy = threading.Lock()
        self._job: Job | None = None
        self._owner = Owner(self._after_late_call)
        self._watchdog = Watchdog(instrument.abort, clock)
        self._entered = False
        self._closing: Job | None = None
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
        if self._entered:
            raise InstrumentError("the session was entered before, expected a new one")
        atexit.register(self.close)
        self._entered = True
        try:
            self._watchdog.start()
            self._owner.start()
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
        return self._begin(lambda job: self._scan(job, scan, context, wanted), ScanError)

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
            raise InstrumentError(f"the beam could neither be blanked nor parked: {_said(failures[-1])}")

    def abort(self) -> None:
        """Stop whatever runs and make the beam safe; from any thread, returns when done.

        raises  InstrumentError when the instrument does not do it in time: the beam may be on
        """
        if not self._open:
            return
        if not self._watchdog.ask().wait(self._margin_s):
            raise InstrumentError(f"abort has not returned within {self._margin_s} s: the beam may be on")
        error = self._watchdog.error
        if error is not None:
            raise InstrumentError(f"abort failed, the beam may be on: {_said(error)}") from error

    def close(self) -> None:
        """Make the beam safe and close the instrument; the `with` block does this. Idempotent."""
        self._leave(None)

    # On the owner thread

    def _scan(self, job: Job, scan: Scan, context: Context, channels: tuple[str, ...]) -> Frame:
        instrument = self._instrument
        try:
            job.stage = "arm"
            try:
                armed = instrument.arm(scan, context, channels=channels)
            except ConfigurationError:
                raise
            except ValueError as error:  # the backend's own limits, refused before the beam moved
                raise ConfigurationError(str(error)) from error
            out = np.empty((len(channels), _samples(armed.scan)), dtype=np.float32)
            self._refuse_if_cancelled(job)
            job.stage = "start"
            if self._parked:
                instrument.park(None)
                self._parked = False
            if Capability.BLANK in self._capability:
                instrument.blank(False)
            instrument.start(armed)
            self._refuse_if_cancelled(job)  # an abort that came just before `start` did not stop it
            job.stage = "read_into"
            limit_s = DURATION_FACTOR * armed.duration_ns * 1e-9 + self._margin_s
            job.deadline = self._clock() + limit_s
            frame = self._read(armed, out, limit_s, job)
            self._last_pixel_ns = time.perf_counter_ns()
            job.stage = "end of the scan"
            self._rest()
            return frame
        except BaseException:
            self._make_safe()
            raise

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

    def _after_late_call(self) -> None:
        """A call that was given up came back: whatever it did to the beam is undone."""
        self._make_safe()

    def _close_instrument(self, job: Job) -> None:
        job.stage = "close"
        failures = self._blank_or_park()
        try:
            self._instrument.close()
        finally:
            self._owner.stop()
        if failures:
            raise InstrumentError(f"the beam could neither be blanked nor parked: {_said(failures[-1])}")

    # On the caller's thread

    def _call(self, function: Callable[[], T], stage: str) -> T:
        def run(job: Job) -> T:
            job.stage = stage
            return function()

        result: T = self._run(run, InstrumentError)
        return result

    def _run(self, function: Callable[[Job], Any], failure: type[InstrumentError]) -> Any:
        self._take()
        try:
            job = self._job = self._new_job(function)
            try:
                self._hand_over(job)
                self._wait(job)
            except InstrumentError:
                raise
            except BaseException:  # Ctrl-C while waiting: no scan goes on without its caller
                self._cancel(job)
                raise
        finally:
            self._busy.release()
        return _outcome(job, failure)

    def _begin(self, function: Callable[[Job], Any], failure: type[InstrumentError]) -> Callable[[], Any]:
        """`_run` in two parts: what is returned waits."""
        self._take()
        try:
            job = self._job = self._new_job(function)
            try:
                self._hand_over(job)
            except BaseException:
                self._cancel(job)
                raise
        except BaseException:
            self._busy.release()
            raise

        def end() -> Any:
            try:
                self._wait(job)
            except InstrumentError:
                raise
            except BaseException:
                self._cancel(job)
                raise
            finally:
                self._busy.release()
            return _outcome(job, failure)

        return end

    def _take(self) -> None:
        if not self._open:
            raise InstrumentError("the session is not open, expected a call inside its `with` block")
        if not self._busy.acquire(blocking=False):
            raise InstrumentError("another thread is using the session, expected one call at a time")

    def _new_job(self, function: Callable[[Job], Any]) -> Job:
        if not self._watchdog.latest.wait(self._margin_s):
            raise InstrumentError("an earlier abort has not returned: the beam may be on")
        if self._job is not None and not self._job.finished.wait(self._margin_s):
            raise InstrumentError(f"{self._job.stage} of an earlier call has not returned, the instrument hangs")
        return Job(function, self._clock() + self._margin_s)

    def _hand_over(self, job: Job) -> None:
        self._watchdog.watch(job)
        self._owner.put(job)

    def _wait(self, job: Job) -> None:
        """Return when `job` finished in time; otherwise raise once the beam is safe, within one margin."""
        while not job.finished.wait(job.deadline - self._clock()):
            if self._clock() >= job.deadline and job.expire():
                break
        if not job.timed_out:
            return
        self._watchdog.look()
        try:
            if not job.aborted.wait(self._margin_s):
                raise InstrumentError(f"{job.stage} hangs and so does abort: the beam may be on")
            back = job.finished.wait(ABORT_GRACE_S)
        finally:
            job.give_up()
        error = self._watchdog.error
        if error is not None and not back:
            raise InstrumentError(f"{job.stage} hangs and abort failed, the beam may be on: {_said(error)}")
        raise ScanTimeout(f"{job.stage} passed its deadline and was aborted") from job.error

    def _cancel(self, job: Job) -> None:
        try:
            self._watchdog.ask().wait(self._margin_s)
            job.finished.wait(ABORT_GRACE_S)
        finally:
            job.give_up()

    @property
    def _open(self) -> bool:
        return self._entered and self._closing is None

    def _leave(self, error: BaseException | None) -> None:
        """Close once; what goes wrong is added to `error` when there is one, raised otherwise."""
        if not self._entered:
            return
        if self._closing is None:
            closing = Job(self._close_instrument, self._clock() + self._margin_s)
            self._owner.put(closing)  # from here on the owner does it, even when this thread is interrupted
            self._closing = closing
        elif self._closing.finished.is_set():
            return
        atexit.unregister(self.close)
        self._restore_signal_handlers()
        try:
            self._finish(self._closing)
        except InstrumentError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _finish(self, closing: Job) -> None:
        interruption: BaseException | None = None
        if self._job is not None and not self._job.finished.is_set():
            self._watchdog.ask()  # the owner is inside the driver; the beam does not wait for it
        while not closing.finished.is_set() and self._clock() < closing.deadline:
            try:
                closing.finished.wait(closing.deadline - self._clock())
            except BaseException as raised:  # noqa: BLE001  a second Ctrl-C: raised below, when the beam is safe
                interruption = raised
        if not closing.finished.is_set():
            aborted = self._watchdog.ask().wait(self._margin_s) and self._watchdog.error is None
            state = "the beam was made safe by abort" if aborted else "the beam may be on"
            stage = closing.stage if self._job is None or self._job.finished.is_set() else self._job.stage
            raise InstrumentError(f"the instrument hangs in {stage} and was not closed; {state}")
        self._watchdog.stop()
        if interruption is not None:
            raise interruption
        if isinstance(closing.error, Error) or not isinstance(closing.error, Exception | None):
            raise closing.error
        if closing.error is not None:
            raise InstrumentError(f"close failed, the beam is safe: {_said(closing.error)}") from closing.error

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


def _outcome(job: Job, failure: type[InstrumentError]) -> Any:
    error = job.error
    if error is None:
        return job.value
    if isinstance(error, Error) or not isinstance(error, Exception):
        raise error
    raise failure(f"{job.stage} failed: {_said(error)}") from error


def _samples(scan: Scan) -> int:
    return scan.shape[0] * scan.shape[1] if isinstance(scan, RasterROI) else len(scan.yx)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
