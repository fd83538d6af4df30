# SPDX-License-Identifier: BSD-3-Clause
"""One call at a time on the thread that owns the hardware, each with a deadline after which the beam is made safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from probewise.errors import Error, InstrumentError, ScanTimeout
from probewise.instrument.watchdog import Job, Owner, Watchdog

T = TypeVar("T")

ABORT_GRACE_S = 0.05  # a call that follows `abort` returns within this, or is left behind


class Calls:
    """What is asked of the hardware, from `start` to `close`.

    abort     makes the beam safe; called from the watchdog's thread
    on_late   called on the owner's thread after a call that was given up has returned
    margin_s  what a call may take; one that moves its job's deadline has longer
    clock     seconds, monotonic
    """

    def __init__(
        self, abort: Callable[[], None], on_late: Callable[[], None], margin_s: float, clock: Callable[[], float]
    ) -> None:
        self._margin_s = margin_s
        self._clock = clock
        self._owner = Owner(on_late)
        self._watchdog = Watchdog(abort, clock)
        self._busy = threading.Lock()
        self._job: Job | None = None
        self._closing: Job | None = None
        self._started = False

    @property
    def started(self) -> bool:
        return self._started

    @property
    def open(self) -> bool:
        return self._started and self._closing is None

    def start(self) -> None:
        self._started = True
        self._watchdog.start()
        self._owner.start()

    def run(self, function: Callable[[Job], T], failure: type[InstrumentError]) -> T:
        """What `function` returns on the owner's thread.

        failure  what an error that is none of ours is raised as
        raises   ScanTimeout past the deadline, InstrumentError when the instrument hangs
        """
        return self.begin(function, failure)()

    def begin(self, function: Callable[[Job], T], failure: type[InstrumentError]) -> Callable[[], T]:
        """`run` in two parts: returns as soon as the owner has the call; calling what it gives waits."""
        if not self.open:
            raise InstrumentError("the session is not open, expected a call inside its `with` block")
        if not self._busy.acquire(blocking=False):
            raise InstrumentError("another thread is using the session, expected one call at a time")
        with ExitStack() as undone:
            undone.callback(self._busy.release)
            job = self._job = self._new_job(function)
            undone.callback(self._cancel, job)
            self._watchdog.watch(job)
            self._owner.put(job)
            undone.pop_all()

        def end() -> T:
            try:
                self._wait(job)
            except InstrumentError:
                raise
            except BaseException:  # Ctrl-C while waiting: no scan goes on without its caller
                self._cancel(job)
                raise
            finally:
                self._busy.release()
            value: T = _outcome(job, failure)
            return value

        return end

    def abort(self) -> None:
        """Make the beam safe now, from any thread.

        raises  InstrumentError when the instrument does not do it in time: the beam may be on
        """
        if not self._watchdog.ask().wait(self._margin_s):
            raise InstrumentError(f"abort has not returned within {self._margin_s} s: the beam may be on")
        error = self._watchdog.error
        if error is not None:
            raise InstrumentError(f"abort failed, the beam may be on: {said(error)}") from error

    def close(self, function: Callable[[Job], Any]) -> bool:
        """Have `function` run as the last call, once; whether there is something to wait for in `finish`."""
        if self._closing is not None:
            return not self._closing.finished.is_set()

        def last(job: Job) -> None:
            try:
                function(job)
            finally:
                self._owner.stop()

        closing = Job(last, self._clock() + self._margin_s)
        self._owner.put(closing)  # from here on the owner does it, even when this thread is interrupted
        self._closing = closing
        return True

    def finish(self) -> None:
        """Wait for the last call; raises what it raised, or InstrumentError when the instrument hangs."""
        closing, interruption = self._closing, None
        assert closing is not None
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
            raise InstrumentError(f"close failed, the beam is safe: {said(closing.error)}") from closing.error

    def _new_job(self, function: Callable[[Job], Any]) -> Job:
        if not self._watchdog.latest.wait(self._margin_s):
            raise InstrumentError("an earlier abort has not returned: the beam may be on")
        if self._job is not None and not self._job.finished.wait(self._margin_s):
            raise InstrumentError(f"{self._job.stage} of an earlier call has not returned, the instrument hangs")
        return Job(function, self._clock() + self._margin_s)

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
            raise InstrumentError(f"{job.stage} hangs and abort failed, the beam may be on: {said(error)}")
        raise ScanTimeout(f"{job.stage} passed its deadline and was aborted") from job.error

    def _cancel(self, job: Job) -> None:
        try:
            self._watchdog.ask().wait(self._margin_s)
            job.finished.wait(ABORT_GRACE_S)
        finally:
            job.give_up()


def _outcome(job: Job, failure: type[InstrumentError]) -> Any:
    error = job.error
    if error is None:
        return job.value
    if isinstance(error, Error) or not isinstance(error, Exception):
        raise error
    raise failure(f"{job.stage} failed: {said(error)}") from error


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
