# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks of a run. They are called on the thread that runs the loop, in the order they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAMES = ("start", "survey", "step", "fit", "notice", "stage", "stop")


class Events:
    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[Any], None]]] = {name: [] for name in NAMES}

    def on(self, event: str, callback: Callable[[Any], None]) -> None:
        if event not in self._callbacks:
            raise ValueError(f"event is {event!r}, expected one of {', '.join(NAMES)}")
        self._callbacks[event].append(callback)

    def emit(self, event: str, value: Any) -> None:
        for callback in self._callbacks[event]:
            callback(value)
