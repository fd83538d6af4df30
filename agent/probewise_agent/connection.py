# SPDX-License-Identifier: BSD-3-Clause
"""A controller as the server sees it, and the lease that only one of them holds at a time."""

from __future__ import annotations

import threading
import time
from typing import Callable

from probewise_agent.dose import Dose
from probewise_agent.messages import Stream


class Controller:
    """A control connection, later its side connection too.

    label   what others are told of it
    request number of its request for the lease
    fence   its fencing token, 0 before it holds the lease
    sign    time.monotonic of the last thing heard from it
    lost    why it may not command any more, None while it may
    """

    def __init__(self, control: Stream, label: str, request: int) -> None:
        self.control = control
        self.request = request
        self.side: Stream | None = None
        self.label = label
        self.fence = 0
        self.sign = time.monotonic()
        self.lost: str | None = None
        self._lock = threading.Lock()

    def loses(self, reason: str, then: Callable[[str], object]) -> None:
        """It may not command any more. `then` is called with the first reason, and has returned for all who say so."""
        with self._lock:
            if self.lost is None:
                self.lost = reason
                then(reason)

    def hang_up(self) -> None:
        """End both connections; whoever waits on them notices."""
        for stream in (self.control, self.side):
            if stream is not None:
                stream.close()


class Lease:
    """Who may command. Each holder has a higher fencing token than all before.

    lease_s  silence after which another controller may take it
    """

    def __init__(self, dose: Dose, lease_s: float) -> None:
        self._dose = dose
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self.holder: Controller | None = None
        self.free_since = time.monotonic()

    def take(self, controller: Controller, displaced: Callable[[Controller, str], None]) -> str | None:
        """Give it to `controller`; why not, None when it has it. `displaced` is told who lost it, and why."""
        with self._lock:
            before = self.holder
            if before is not None:
                silent = time.monotonic() - before.sign
                if before.lost is None and silent < self._lease_s:
                    return f"{before.label} has the instrument and was heard {silent:.1f} s ago"
                displaced(before, f"another controller took over after {silent:.1f} s of silence")
            controller.fence = self._dose.next_fence()
            controller.sign = time.monotonic()
            self.holder = controller
            return None

    def attach(self, fence: int, side: Stream) -> Controller | None:
        """The holder whose side connection `side` now is, None when it is not the one with that fencing token."""
        with self._lock:
            holder = self.holder
            if holder is None or holder.fence != fence or holder.side is not None or holder.lost is not None:
                return None
            holder.side = side
            return holder

    def release(self, controller: Controller) -> None:
        with self._lock:
            if self.holder is controller:
                self.holder = None
                self.free_since = time.monotonic()
