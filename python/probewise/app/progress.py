# SPDX-License-Identifier: BSD-3-Clause
"""What a run shows while it goes: a bar on a terminal, one plain line a step elsewhere. Always on stderr."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from probewise.experiment import Experiment, Step


class Progress:
    """Context manager that listens to an experiment.

    Callbacks only put the event into a queue; a thread of its own formats and writes, so that a slow terminal never
    delays a step.
    """

    def __init__(self, total: int | None, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown: _Bar | _Lines = _Bar(total, self._stream) if self._stream.isatty() else _Lines(total, self._stream)
        self._events: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="probewise-progress", daemon=True)

    def listen(self, experiment: Experiment) -> None:
        for event in ("survey", "step", "fit", "notice"):
            experiment.on(event, self._putter(event))

    def _putter(self, event: str) -> Callable[[Any], None]:
        return lambda payload: self._events.put((event, payload))

    def __enter__(self) -> Progress:
        self._shown.open()
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.put(None)
        self._writer.join(timeout=2.0)
        self._shown.close()

    def _write(self) -> None:
        while (item := self._events.get()) is not None:
            event, payload = item
            if event == "step":
                self._shown.step(payload)
            elif event == "notice":
                self._shown.say(f"notice: {payload}")
            elif event == "survey":
                self._shown.say("survey done")


def line(step: Step, total: int | None) -> str:
    """One step as a plain line."""
    of = f"/{total}" if total else ""
    value = "" if step.value is None else f"  value {step.value:.4g}"
    decision = step.timings_ms.get("decision")
    took = "" if decision is None else f"  decision {decision:.1f} ms"
    state = getattr(step.state, "name", str(step.state)).lower()
    return f"step {step.index + 1}{of}  site {step.site}  {state}{value}  {step.policy}{took}"


class _Lines:
    def __init__(self, total: int | None, stream: TextIO) -> None:
        self._total = total
        self._stream = stream

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def step(self, step: Step) -> None:
        self.say(line(step, self._total))

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Bar:
    def __init__(self, total: int | None, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            console=Console(file=stream),
        )
        self._total = total
        self._task = self._bar.add_task("survey", total=total, what="")

    def open(self) -> None:
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def step(self, step: Step) -> None:
        value = "rejected" if step.value is None else f"value {step.value:.4g}"
        self._bar.update(
            self._task, completed=step.index + 1, description=step.policy, what=f"site {step.site}  {value}"
        )

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)
