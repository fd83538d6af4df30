# SPDX-License-Identifier: BSD-3-Clause
"""Two threads beside the caller's: one owns the hardware, one aborts it when a call passes its deadline.

Drivers tie objects to the thread that made them (COM), so every verb but `abort` runs on the owner. A call that never
returns cannot be ended from Python; the watchdog makes the beam safe through `abort`, the one verb allowed from any
thread, and the caller gets its error while the owner stays inside the driver.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

ABORT_TRIES = 2  # a line that failed once may work the next time, and the beam is on meanwhile


class Job:
    """One call on the owner thread. `deadline` may be moved by the call itself once its duration is known."""

    def __init__(self, function: Callable[[Job], Any], deadline: float) -> None:
        self.function = function
        self.deadline = deadline
        self.stage = "start of the call"
        self.value: Any = None
        self.error: BaseException | None = None
        self.cancelled = False  # an abort was asked for while it ran
        self.timed_out = False  # it passed its deadline
        self.given_up = False  # the caller has left; the result is discarded
        self.finished = threading.Event()
        self.aborted = threading.Event()  # the watchdog's `abort` for it has returned
        self.lock = threading.Lock()

    def settle(self, error: BaseException | None) -> bool:
        """Mark as finished; returns whether the caller still waits."""
        with self.lock:
            self.error = error
            self.finished.set()
            return not self.given_up

    def give_up(self) -> None:
        """Stop waiting, unless the call finished in the meantime."""
        with self.lock:
            self.given_up = not self.finished.is_set()

    def expire(self) -> bool:
        """Mark as timed out, unless it finished in time; returns whether it is."""
        with self.lock:
            self.timed_out |= not self.finished.is_set()
            return self.timed_out


class Owner:
    """The thread that makes all calls but `abort`; `on_late` runs there after a call that was given up returned."""

    def __init__(self, on_late: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._on_late = on_late
        self.thread = threading.Thread(target=self._run, name="probewise-instrument", daemon=True)
        self.thread.start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the calls already queued."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            error: BaseException | None = None
            try:
                job.value = job.function(job)
            except BaseException as failure:  # noqa: BLE001  handed to the caller, who raises it
                error = failure
            if not job.settle(error):
                self._on_late()


class Watchdog:
    """Calls `abort` when the watched job passes its deadline, or at once when asked."""

    def __init__(self, abort: Callable[[], None], clock: Callable[[], float]) -> None:
        self._abort = abort
        self._clock = clock
        self._job: Job | None = None
        self._aborting: Job | None = None  # the expired job that the present abort is for
        self._wakes_at = -math.inf
        self._asked = False
        self._stopped = False
        self._condition = threading.Condition()
        self.idle = threading.Event()  # clear while an abort is asked for or runs
        self.idle.set()
        self.error: BaseException | None = None  # of the last abort
        self.thread = threading.Thread(target=self._run, name="probewise-watchdog", daemon=True)
        self.thread.start()

    def watch(self, job: Job) -> None:
        with self._condition:
            self._job = job
            if job.deadline < self._wakes_at:  # otherwise it wakes early and looks again: no thread switch per call
                self._condition.notify()

    def ask(self) -> None:
        """Abort now; `idle` is set again when `abort` has returned."""
        with self._condition:
            if self._job is not None:
                self._job.cancelled = True
            self._asked = True
            self.idle.clear()
            self._condition.notify()

    def look(self) -> None:
        """Look at once: the caller saw the deadline pass first."""
        with self._condition:
            self._condition.notify()

    def stop(self) -> None:
        """End the thread after an abort that was asked for."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def _run(self) -> None:
        while self._wait_until_due():
            for _ in range(ABORT_TRIES):
                try:
                    self._abort()
                    self.error = None
                    break
                except BaseException as failure:  # noqa: BLE001  reported to whoever asked
                    self.error = failure
            if self._aborting is not None:
                self._aborting.aborted.set()
                self._aborting = None
            with self._condition:
                if not self._asked:
                    self.idle.set()

    def _wait_until_due(self) -> bool:
        with self._condition:
            while not self._due():
                if self._stopped:
                    return False
                job = self._job
                running = job is not None and not job.finished.is_set()
                self._wakes_at = job.deadline if running and job is not None else math.inf
                wait_s = self._wakes_at - self._clock()
                self._condition.wait(None if math.isinf(wait_s) else max(wait_s, 0.0))
            self._wakes_at = -math.inf
            return True

    def _due(self) -> bool:
        job = self._job
        if job is not None and (self._clock() >= job.deadline or job.timed_out) and job.expire():
            self._job = None  # one abort for each expired job
            self._aborting = job
            self.idle.clear()
            self._asked = False
            return True
        asked, self._asked = self._asked, False
        return asked
