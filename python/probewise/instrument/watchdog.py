# SPDX-License-Identifier: BSD-3-Clause
"""Two threads beside the caller's: one owns the hardware, one aborts it when a call passes its deadline.

Drivers tie objects to the thread that made them (COM), so every verb but `abort` runs on the owner. A call that never
returns cannot be ended from Python; the watchdog makes the beam safe through `abort`, the one verb allowed from any
thread, and the caller gets its error while the owner stays inside the driver.

Only locks and queues written in C are shared with the caller's thread: Ctrl-C may strike inside the Python code of
threading.Event, Condition or Thread.start and leave their lock taken for ever.
"""

from __future__ import annotations

import _thread
import math
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

ABORT_TRIES = 2  # a line that failed once may work the next time, and the beam is on meanwhile


class Latch:
    """Set once, waited for by any number of threads."""

    def __init__(self) -> None:
        self._set = False
        self._gate = _thread.allocate_lock()
        self._gate.acquire()

    def set(self) -> None:
        self._set = True
        if self._gate.locked():
            self._gate.release()

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout_s: float) -> bool:
        if not self._set and self._gate.acquire(timeout=max(timeout_s, 0.0)):
            self._gate.release()  # for the next one who waits
        return self._set


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
        self.finished = Latch()
        self.aborted = Latch()  # the watchdog's `abort` for it has returned
        self._lock = _thread.allocate_lock()

    def settle(self, error: BaseException | None) -> bool:
        """Mark as finished; returns whether the caller still waits."""
        with self._lock:
            self.error = error
            self.finished.set()
            return not self.given_up

    def give_up(self) -> None:
        """Stop waiting, unless the call finished in the meantime."""
        with self._lock:
            self.given_up = not self.finished.is_set()

    def expire(self) -> bool:
        """Mark as timed out, unless it finished in time; returns whether it is."""
        with self._lock:
            self.timed_out |= not self.finished.is_set()
            return self.timed_out


class Owner:
    """The thread that makes all calls but `abort`; `on_late` runs there after a call that was given up returned."""

    def __init__(self, on_late: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._on_late = on_late

    def start(self) -> None:
        _thread.start_new_thread(self._run, ())

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
        self._wakes_at = math.inf
        self._requests: SimpleQueue[Latch | None] = SimpleQueue()
        self.latest = Latch()  # set when the abort begun or asked for last has returned
        self.latest.set()
        self.error: BaseException | None = None  # of the last abort

    def start(self) -> None:
        _thread.start_new_thread(self._run, ())

    def watch(self, job: Job) -> None:
        self._job = job
        if job.deadline < self._wakes_at:  # otherwise it wakes early and looks again: no thread switch per call
            self.look()

    def ask(self) -> Latch:
        """Abort now; the latch is set when `abort` has returned."""
        request = Latch()
        if self._job is not None:
            self._job.cancelled = True
        self._requests.put(request)
        self.latest = request
        return request

    def look(self) -> None:
        """Look at the deadline at once."""
        seen = Latch()
        seen.set()
        self._requests.put(seen)

    def stop(self) -> None:
        """End the thread after the aborts already asked for."""
        self._requests.put(None)

    def _run(self) -> None:
        while True:
            job = self._job
            self._wakes_at = math.inf if job is None or job.finished.is_set() else job.deadline
            if self._job is not job:
                continue  # `watch` came in between and may have compared with the time before
            try:
                wait_s = self._wakes_at - self._clock()
                request = self._requests.get(timeout=None if math.isinf(wait_s) else max(wait_s, 0.0))
                if request is None:
                    return
                if not request.is_set():
                    self._do_abort(request)
            except Empty:
                pass
            job = self._job
            if job is not None and (self._clock() >= job.deadline or job.timed_out) and job.expire():
                self._job = None  # one abort for each expired job
                self.latest = job.aborted
                self._do_abort(job.aborted)

    def _do_abort(self, done: Latch) -> None:
        for _ in range(ABORT_TRIES):
            try:
                self._abort()
                self.error = None
                break
            except BaseException as failure:  # noqa: BLE001  reported to whoever asked
                self.error = failure
        done.set()
