# SPDX-License-Identifier: BSD-3-Clause
"""Wall times of the stages of one step, on the monotonic clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """`with watch("describe"):` adds to a stage; `ms` holds all stages so far."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter_ns()
        try:
            yield
        finally:
            self.ms[stage] = self.ms.get(stage, 0.0) + (time.perf_counter_ns() - begun) * 1e-6

    def split(self, stage: str, rest: str, own_ms: float) -> None:
        """Leave at most `own_ms` with a stage and give what is over to another."""
        total = self.ms[stage]
        self.ms[stage] = min(total, own_ms)
        self.ms[rest] = total - self.ms[stage]
