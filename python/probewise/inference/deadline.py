# SPDX-License-Identifier: BSD-3-Clause
"""A wall-clock deadline for calls into compiled code: one thread watches all of them."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Deadline:
    """`with Deadline(seconds, stop):` calls `stop` from the watching thread if the block takes longer.

    expired  whether it did
    """

    __slots__ = ("_seconds", "_stop", "at", "expired")

    def __init__(self, seconds: float, stop: Callable[[], None]) -> None:
        self._seconds = seconds
        self._stop = stop
        self.at = math.inf
        self.expired = False

    def __enter__(self) -> Self:
        self.at = time.monotonic() + self._seconds
        _watch.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watch.discard(self)

    def expire(self) -> None:
        self.expired = True
        self._stop()


class _Watch:
    """Sleeps until the earliest deadline it knows of.

    Calls that follow one another with the same allowance only move the deadline back, so that they never wake it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.add(deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._stand_guard, name="probewise-deadline", daemon=True)
                self._thread.start()
            if deadline.at < self._wakes_at:
                self._wakes_at = deadline.at
                self._changed.notify()

    def discard(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.discard(deadline)

    def _stand_guard(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [one for one in self._running if one.at <= now]:
                    self._running.discard(deadline)
                    deadline.expire()
                self._wakes_at = min((one.at for one in self._running), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


_watch = _Watch()


def _start_anew() -> None:
    """The thread does not survive a fork."""
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
