# SPDX-License-Identifier: BSD-3-Clause
"""What bluesky waits for (bluesky.protocols.Status): something that goes on in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Status:
    """Done once `finish` was called; failed when that was with an error. Callbacks get the status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._callbacks: list[Callable[[Status], None]] = []
        self._error: BaseException | None = None

    def finish(self, error: BaseException | None = None) -> None:
        """Only the first call counts."""
        with self._lock:
            if self._finished.is_set():
                return
            self._error = error
            self._finished.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_callback(self, callback: Callable[[Status], None]) -> None:
        with self._lock:
            if not self._finished.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """What it failed with; TimeoutError when it is not done after `timeout` seconds, None to wait for ever."""
        if not self._finished.wait(timeout):
            raise TimeoutError(f"not done within {timeout} s")
        return self._error

    @property
    def done(self) -> bool:
        return self._finished.is_set()

    @property
    def success(self) -> bool:
        return self.done and self._error is None
