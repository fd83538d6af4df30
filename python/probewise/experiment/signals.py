# SPDX-License-Identifier: BSD-3-Clause
"""What Ctrl-C and SIGTERM do: the first finishes the step, the second aborts it.

A handler only counts and writes one byte; a thread of its own acts on it, since a handler may run between any two
instructions of the main thread, which may hold the very lock that stopping needs.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol


class Stoppable(Protocol):
    def stop(self, reason: str) -> None:
        """Finish the step, then end."""
        ...

    def abort(self) -> None:
        """End now; the scan that runs is cut short."""
        ...


class Signals:
    """Context manager for the main thread; `exit_code` is 130 or 143 once a signal came, None before."""

    watched = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, target: Stoppable) -> None:
        self._target = target
        self._received: list[int] = []
        self._before: dict[int, Any] = {}
        self._pipe = (-1, -1)
        self._thread: threading.Thread | None = None

    @property
    def exit_code(self) -> int | None:
        return 128 + self._received[0] if self._received else None

    @property
    def aborted(self) -> bool:
        """A second signal came: whoever sent it does not want to wait."""
        return len(self._received) > 1

    def __enter__(self) -> Signals:
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._thread = threading.Thread(target=self._watch, name="probewise-signals", daemon=True)
        self._thread.start()
        for number in self.watched:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._pipe[1])
        if self._thread is not None:
            self._thread.join()
        os.close(self._pipe[0])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        if len(self._received) <= 2:
            os.write(self._pipe[1], b"s")

    def _watch(self) -> None:
        count = 0
        while os.read(self._pipe[0], 1):  # empty when the other end is closed
            count += 1
            if count == 1:
                self._target.stop(f"signal: {signal.Signals(self._received[0]).name}")
            else:
                self._target.abort()
