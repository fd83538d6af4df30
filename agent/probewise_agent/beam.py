# SPDX-License-Identifier: BSD-3-Clause
"""What a server knows of the beam: since when it may be on, what that costs, and how it is taken off from any thread.

The owner thread calls `light` before a command that may put the beam on and `dark` after one that took it off; the
guard calls `look` at short intervals and `make_safe` when it has a reason to.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Callable

from probewise_agent.dose import Dose, DoseSpent

SLICE_NS = 250_000_000  # reserved at a time while no scan says how long it takes
AHEAD_NS = 120_000_000  # the beam goes off when less than this is reserved: several looks and an abort
ABORT_TRIES = 2  # a line that failed once may work the next time, and the beam is on meanwhile
AGAIN_NS = 250_000_000  # between attempts when an abort failed


class Abort:
    """One abort that was asked for; `done` is set when it has returned, `error` says what went wrong."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.begun = False
        self.lights = 0  # how often the beam had been lit when it began
        self.done = threading.Event()
        self.error: BaseException | None = None


class Beam:
    """The beam of one driver.

    abort   the driver's, called on a thread of its own so that nobody waits for a driver that hangs
    dose    the count of what the beam costs
    cut     why it was taken off in the middle of something, until the next scan is armed; None otherwise
    aborts  how many were begun
    """

    def __init__(self, abort: Callable[[], None], dose: Dose) -> None:
        self.dose = dose
        self.cut: str | None = None
        self.aborts = 0
        self._abort = abort
        self._lock = threading.Lock()
        self._since_ns: int | None = None
        self._lights = 0
        self._latest: Abort | None = None
        self._failed_ns = 0
        self._requests: queue.SimpleQueue[Abort | None] = queue.SimpleQueue()

    @property
    def lit(self) -> bool:
        """Whether it may be on."""
        return self._since_ns is not None

    def start(self) -> None:
        threading.Thread(target=self._run, name="abort", daemon=True).start()

    def stop(self) -> None:
        self._requests.put(None)

    def light(self, for_ns: int = 0) -> None:
        """It may be on from now, for a scan of `for_ns`.

        raises  DoseSpent when the budget does not last that long
        """
        now = time.monotonic_ns()
        with self._lock:
            since = now if self._since_ns is None else self._since_ns
            if not self.dose.reserve(now - since + for_ns + SLICE_NS):
                left = (self.dose.budget_ns or 0) - self.dose.spent_ns
                raise DoseSpent(
                    f"the dose budget has {max(left, 0) * 1e-9:.3g} s of beam left, expected at least "
                    f"{(now - since + for_ns + SLICE_NS) * 1e-9:.3g} s"
                )
            self._since_ns = since
            self._lights += 1

    def dark(self) -> None:
        """It is off."""
        with self._lock:
            self._dark()

    def _dark(self) -> None:
        if self._since_ns is not None:
            self.dose.commit(time.monotonic_ns() - self._since_ns)
            self._since_ns = None

    def look(self) -> str | None:
        """Reserve what the next moments cost; why the beam has to go off, None while it may stay on."""
        with self._lock:
            if self._since_ns is None:
                return None
            lasted = time.monotonic_ns() - self._since_ns
            if lasted + AHEAD_NS > self.dose.ahead_ns and not self.dose.reserve(lasted + SLICE_NS):
                return "the dose budget is spent"
        latest = self._latest
        if latest is not None and latest.done.is_set() and latest.error is not None and latest.lights == self._lights:
            return "an abort failed"
        return None

    def make_safe(self, reason: str) -> Abort:
        """Begin an abort, or join one that has not begun yet."""
        with self._lock:
            latest = self._latest
            if latest is not None and not latest.begun:
                return latest
            request = self._latest = Abort(reason)
            if self.lit:
                self.cut = reason
            self._requests.put(request)
            return request

    def keep_safe(self, reason: str) -> None:
        """As `make_safe`, to be called again and again: one at a time, and not at once after one that failed."""
        latest = self._latest
        if latest is not None and not latest.done.is_set():
            return
        if latest is None or latest.error is None or time.monotonic_ns() - self._failed_ns >= AGAIN_NS:
            self.make_safe(reason)

    def wait(self, timeout_s: float) -> None:
        """Return when no abort is under way, so that none of before meets what comes next."""
        limit = time.monotonic() + timeout_s
        while True:
            latest = self._latest
            left = limit - time.monotonic()
            if latest is None or latest.done.is_set() or left <= 0:
                return
            latest.done.wait(left)

    def _run(self) -> None:
        while True:
            request = self._requests.get()
            if request is None:
                return
            request.begun = True
            lights = request.lights = self._lights
            self.aborts += 1
            for _ in range(ABORT_TRIES):
                try:
                    self._abort()
                    request.error = None
                    break
                except BaseException as error:  # noqa: BLE001  reported to whoever asked
                    request.error = error
            if request.error is not None:
                self._failed_ns = time.monotonic_ns()
            with self._lock:
                if request.error is None and self._lights == lights:
                    self._dark()
            request.done.set()
