# SPDX-License-Identifier: BSD-3-Clause
"""The verbs over a vendor whose acquisition is one call that blocks and cannot be stopped.

The call runs on a worker. `abort` blanks at once over a connection of its own and leaves the call behind: its result
is dropped, and neither a new scan nor unblanking is possible until it has ended, since it would scan the sample then.
"""

from __future__ import annotations

import abc
import threading
import time
from typing import Any, Sequence

import numpy as np

from probewise_agent.driver import DriverError, ScanFailed, ScanLate
from probewise_agent.rasters import check_park
from probewise_agent.worker import Job, Worker

UNTRIED = "not tried on a real instrument"
CONNECT_S = 30.0
ANSWER_S = 5.0  # for a blanker or a parked beam


class Run:
    """One acquisition on the worker."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.over = threading.Event()  # ended or cancelled
        self.cancelled = False
        self.started_ns = 0
        self.job: Job | None = None

    @property
    def pending(self) -> bool:
        return self.job is not None and not self.job.done.is_set()


class BlockingDriver(abc.ABC):
    """Verbs of `probewise_agent.driver.Driver`; a vendor's class says how to connect, plan, acquire, blank and park.

    Of `_plan`, the keys "scan" (executed), "duration_ns" and "lines" (rows that the vendor gives, discarded ones
    first) are read here, the others are the vendor's own.
    """

    name = ""
    capabilities: Sequence[str] = ("BLANK", "SHIFT")

    def __init__(self) -> None:
        self.limits: dict[str, Any] = {}
        self._armed: dict[str, Any] | None = None
        self._run: Run | None = None
        self._closed = False
        self._scanner = Worker(self._connect, CONNECT_S)
        self._quick = Worker(self._connect, CONNECT_S)

    # What a vendor's class gives. `handle` is what its `_connect` made, on the thread that calls.

    @abc.abstractmethod
    def _connect(self) -> Any: ...

    @abc.abstractmethod
    def _plan(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _acquire(self, handle: Any, plan: dict[str, Any]) -> list[Any]:
        """One (lines, cols) array a channel."""

    @abc.abstractmethod
    def _set_blank(self, handle: Any, on: bool) -> None: ...

    @abc.abstractmethod
    def _set_park(self, handle: Any, yx: tuple[float, float]) -> None: ...

    def _stop(self, handle: Any) -> None:  # noqa: B027  not every vendor has one
        """Ask for the end of the acquisition, where the vendor has a call for it."""

    def _release(self, handle: Any) -> None:  # noqa: B027  as before
        """Put the vendor's settings back and disconnect."""

    # Verbs

    def describe(self) -> dict[str, Any]:
        return {
            "name": f"{self.name} ({UNTRIED})",
            "capabilities": list(self.capabilities),
            "limits": dict(self.limits),
        }

    def arm(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        self._require_open()
        plan = self._plan(scan, context, channels)
        self._require_idle()
        self._armed = plan
        return {"scan": plan["scan"], "duration_ns": plan["duration_ns"]}

    def start(self) -> None:
        self._require_open()
        self._require_idle()
        plan, self._armed = self._armed, None
        if plan is None:
            raise ScanFailed("nothing is armed: arm a scan before start")
        run = Run(plan)

        def acquire(handle: Any) -> list[Any]:
            try:
                run.started_ns = time.monotonic_ns()
                return [] if run.cancelled else self._acquire(handle, plan)
            finally:
                run.over.set()

        self._run = run
        run.job = self._scanner.begin(acquire)

    def read_into(self, out: np.ndarray[Any, Any], timeout_s: float) -> dict[str, Any]:
        self._require_open()
        run = self._run
        if run is None or run.job is None or run.cancelled:
            raise ScanFailed("nothing is being scanned: start a scan, or it was read or aborted")
        scan = run.plan["scan"]
        expected = (len(run.plan["channels"]), scan["shape"][0] * scan["shape"][1])
        if out.shape != expected or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
            self.abort()
            raise ValueError(f"out is a {out.dtype} array of shape {out.shape}, expected writeable float32 {expected}")
        if not run.over.wait(timeout_s):
            self.abort()
            raise ScanLate(f"the acquisition did not end within {timeout_s:g} s")
        if run.cancelled:
            raise ScanFailed("the scan was aborted")
        try:
            notices = self._fill(out, run.job.result(ANSWER_S), run.plan)
        except DriverError as error:
            self.abort()
            raise ScanFailed(str(error)) from error
        self._run = None
        return {
            "valid": out.shape[1],
            "started_ns": run.started_ns,
            "duration_ns": run.plan["duration_ns"],
            "notices": notices,
        }

    def abort(self) -> None:
        run = self._run
        if run is not None:
            run.cancelled = True
            run.over.set()
        if not self._closed:
            self._quick.call(lambda handle: self._set_blank(handle, True), ANSWER_S)
            if run is not None and run.pending:
                self._quick.call(self._stop, ANSWER_S)

    def park(self, yx: tuple[float, float] | None) -> None:
        self._require_open()
        if yx is not None:
            check_park(yx)
            self._quick.call(lambda handle: self._set_park(handle, yx), ANSWER_S)

    def blank(self, on: bool) -> None:
        self._require_open()
        if not on:
            self._require_idle()
        self._quick.call(lambda handle: self._set_blank(handle, on), ANSWER_S)

    def close(self) -> None:
        if self._closed:
            return
        self.abort()
        self._closed = True
        self._scanner.begin(self._release)  # behind an acquisition that still runs
        self._quick.begin(self._release)
        self._scanner.end()
        self._quick.end()

    def _require_open(self) -> None:
        if self._closed:
            raise DriverError(f"{self.name} is closed")

    def _require_idle(self) -> None:
        """Wait for an acquisition that was left behind."""
        run = self._run
        if run is None or run.job is None or not run.pending:
            return
        if not run.cancelled:
            raise ScanFailed("a scan is running, expected it to be read or aborted first")
        if not run.job.done.wait(1.5 * run.plan["duration_ns"] * 1e-9 + ANSWER_S):
            raise DriverError("an aborted acquisition is still running: the beam stays blanked until it has ended")

    def _fill(self, out: np.ndarray[Any, Any], arrays: list[Any], plan: dict[str, Any]) -> list[str]:
        rows, cols = plan["scan"]["shape"]
        expected = (plan["lines"], cols)
        if len(arrays) != len(out):
            raise DriverError(f"{len(arrays)} images came, expected {len(out)}")
        notices = []
        for row, array in zip(out, arrays):
            array = np.asarray(array)
            if array.shape != expected:
                raise DriverError(f"an image of shape {array.shape} came, expected {expected}")
            if array.dtype != np.float32:
                notices = [f"counts of {array.dtype} cast to float32"]
            row[:] = array[plan["lines"] - rows :].reshape(-1)
        return notices
