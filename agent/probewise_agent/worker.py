# SPDX-License-Identifier: BSD-3-Clause
"""A thread that owns a vendor's handle: made there, used there, one call after another."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable

from probewise_agent.driver import DriverError


class Job:
    """One call; `result` waits for it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def result(self, timeout_s: float) -> Any:
        """raises  DriverError when the vendor raised, or did not answer in time"""
        if not self.done.wait(timeout_s):
            raise DriverError(f"the vendor's software did not answer within {timeout_s:g} s")
        if isinstance(self.error, DriverError):
            raise self.error
        if self.error is not None:
            raise DriverError(f"{type(self.error).__name__}: {self.error}") from self.error
        return self.value


class Worker:
    """Calls functions with the handle that `make` gives, all on one thread.

    Vendors tie objects to the thread that made them (COM), and serve one call of a connection at a time: what must
    not wait behind a scan needs a worker of its own.
    """

    def __init__(self, make: Callable[[], Any], timeout_s: float) -> None:
        """raises  DriverError when `make` fails or takes longer than `timeout_s`"""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._handle: Any = None
        threading.Thread(target=self._run, daemon=True).start()

        def connect(_: Any) -> None:
            self._handle = make()

        self.call(connect, timeout_s)

    def begin(self, function: Callable[[Any], Any]) -> Job:
        job = Job(function)
        self._jobs.put(job)
        return job

    def call(self, function: Callable[[Any], Any], timeout_s: float) -> Any:
        return self.begin(function).result(timeout_s)

    def end(self) -> None:
        """The thread ends after the calls already begun."""
        self._jobs.put(None)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job.value = job.function(self._handle)
            except BaseException as error:  # noqa: BLE001  given to whoever waits for the job
                job.error = error
            job.done.set()
