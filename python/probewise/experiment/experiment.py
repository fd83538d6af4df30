# SPDX-License-Identifier: BSD-3-Clause
"""The life of a run: opened, stepped, paused, stopped, finished, and closed with the beam safe in any case."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from probewise.errors import ConfigurationError, Error, ScanError
from probewise.experiment.config import Configuration
from probewise.experiment.describer import Scalarize
from probewise.experiment.events import Events
from probewise.experiment.finish import finished_summary, write_summary
from probewise.experiment.folder import make_folder, vacated
from probewise.experiment.hooks import Hooks, with_hooks
from probewise.experiment.loop import Loop
from probewise.experiment.opening import Opened, begin, create_journal, journalled_configuration, reopen
from probewise.experiment.sources import LiveSource, ReplaySource
from probewise.experiment.states import Step
from probewise.experiment.summary import Summary
from probewise.experiment.watch import Confirm
from probewise.shown import Shown
from probewise.types import Instrument


class Experiment(Shown):
    """One run on one instrument, journalled in one folder.

    instrument     an opened `Instrument`, a URI, or None for the one that the configuration names
    configuration  checked tables; None builds them from `tables`, whose names and keys are those of the TOML file.
                   `measure.scalarize` may be a callable (frame -> value, (value, variance) or `Values`),
                   `component.by` a callable or a template array
    out            the run's folder, new or empty, instead of `run.out`
    ask            called as ask(descriptions, frames, workflow) when `component.by` is "ask"; returns the component
    confirm        called as confirm(question), the beam safe, when `descriptor.on_unfamiliar` is "ask" and frames are
                   unlike those that a network was made for; False, or None here, ends the run with a ModelError, and
                   `resume` is the answer that goes on

    Nothing is touched before the first step. `run`, the end of an iteration, any error and `close` leave the beam
    safe and the journal complete; a `with` block closes as well.
    """

    def __init__(
        self,
        instrument: Instrument | str | None = None,
        /,
        configuration: Configuration | None = None,
        *,
        out: str | Path | None = None,
        ask: Callable[..., int] | None = None,
        confirm: Confirm | None = None,
        **tables: Any,
    ) -> None:
        if configuration is not None and tables:
            raise ConfigurationError(f"configuration and {', '.join(tables)} are both given, expected one of them")
        if configuration is not None and isinstance(instrument, str):
            raise ConfigurationError("configuration and a URI are both given, expected instrument.uri to name it")
        if configuration is None:
            configuration, self._hooks = with_hooks(instrument, tables, ask, confirm)
        else:
            self._hooks = Hooks(None if isinstance(instrument, str) else instrument, ask=ask, confirm=confirm)
        self.configuration = configuration
        self._events = Events()
        self._directory: Path | None = None
        self._out = out
        self._resumed = False
        self._loop: Loop | None = None
        self._summary: Summary | None = None
        self._asked_to_stop: str | None = None
        self._source: LiveSource | ReplaySource | None = None
        self._aborted = False
        self._running = threading.Event()
        self._running.set()

    @classmethod
    def resume(
        cls,
        directory: str | Path,
        instrument: Instrument | None = None,
        *,
        scalarize: Scalarize | None = None,
        component: Any = None,
        ask: Callable[..., int] | None = None,
        confirm: Confirm | None = None,
    ) -> Experiment:
        """Go on where a killed, stopped or paused run left off; a finished one only gives its summary again.

        raises  ConfigurationError where `directory` holds no journal, StorageError where it is damaged
        """
        path = Path(directory)
        experiment = cls(instrument, journalled_configuration(path))
        experiment._hooks = Hooks(instrument, scalarize, component, ask, confirm)
        experiment._directory = path
        experiment._resumed = True
        experiment._summary = finished_summary(path)
        return experiment

    @property
    def directory(self) -> Path | None:
        """The run's folder, None before it is made."""
        return self._directory

    @property
    def summary(self) -> Summary | None:
        """Of a run that has ended, None before."""
        return self._summary

    def run(self) -> Summary:
        """All steps to the end.

        Callbacks hear of a step while the next sub-scan runs already, so that the beam does not wait for the journal
        or for them; `stop` and `pause` in a callback take effect after that sub-scan.
        """
        try:
            while self._step(self._may_go_on) is not None:
                pass
        finally:
            self.close()
        if self._summary is None:
            raise Error("the run was closed before it ended")
        return self._summary

    def __iter__(self) -> Iterator[Step]:
        try:
            while (step := self.step()) is not None:
                yield step
        finally:
            self.close()

    def step(self) -> Step | None:
        """One sub-scan from choice to journal; None when the run has ended, and `summary` says why.

        On return nothing is being scanned and the beam is where `instrument.idle` says.
        """
        return self._step(lambda: False)

    def _step(self, ahead: Callable[[], bool]) -> Step | None:
        if self._summary is not None:
            return None
        with ExitStack() as ending:
            ending.callback(self.close)
            if self._loop is None:
                self._loop = Loop(self.configuration, self._open(), self._events.emit, self._hooks.confirm)
            if not self._loop.scanning:
                self._running.wait()
            wanted = self._asked_to_stop is None or self._loop.scanning
            step = self._loop.step(ahead=ahead) if wanted else None
            if step is None:
                self._finish(self._loop)
            ending.pop_all()
        return step

    def _may_go_on(self) -> bool:
        return self._running.is_set() and self._asked_to_stop is None

    def on(self, event: str, callback: Callable[[Any], None]) -> None:
        """Call back at "start", "survey", "step", "fit", "notice", "stop", "frame" or "stage", on the loop's thread.

        "frame" comes with each accepted frame before it is described; "stage" with the name of what a step has just
        done: reserved, scanned, described, learnt, committed.
        """
        self._events.on(event, callback)

    def pause(self) -> None:
        """Hold before the next step, the beam where `instrument.idle` says; from any thread."""
        self._running.clear()

    def go_on(self) -> None:
        """End a pause; from any thread."""
        self._running.set()

    def stop(self, reason: str = "stopped") -> None:
        """End after the step that runs; the run can be resumed. From any thread."""
        self._asked_to_stop = reason
        self._running.set()

    def abort(self) -> None:
        """End now: the scan that runs is cut and its electrons booked as lost. From any thread."""
        self.stop("aborted")
        self._aborted = True
        loop, source = self._loop, self._source
        if loop is not None:
            loop.opened.aborted = True
        if source is not None:
            source.abort()

    def close(self) -> None:
        """Make the beam safe and close the journal. Idempotent."""
        loop, self._loop, self._source = self._loop, None, None
        if loop is not None:
            loop.opened.close()

    def __enter__(self) -> Experiment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _facts(self) -> dict[str, Any]:
        table = self.configuration
        state = "not started" if self._loop is None else f"{len(self._loop.opened.history.steps)} steps"
        return {
            "instrument": table.instrument.uri,
            "objective": table.acquisition.objective,
            "seed": table.run.seed,
            "directory": self._directory,
            "state": state if self._summary is None else self._summary["stop_reason"],
        }

    def _open(self) -> Opened:
        """Folder, configuration and journal first, the instrument after them."""
        if self._resumed:
            assert self._directory is not None
            opened = reopen(self.configuration, self._hooks, self._directory, self._take_source)
        else:
            if self._directory is not None:
                raise Error(f"the run in {self._directory} was closed, expected Experiment.resume to go on")
            table = self.configuration.run
            out = table.out if self._out is None else self._out
            new = out is None or not Path(out).exists()
            self._directory = make_folder(out, self.configuration.instrument.uri, table.seed)
            try:
                journal = create_journal(self.configuration, self._directory)
                opened = begin(self.configuration, self._hooks, journal, self._take_source)
            except ConfigurationError:
                if vacated(self._directory, remove=new):
                    self._directory = None
                raise
        self._events.emit("start", self)
        self._events.emit("survey", opened.survey)
        return opened

    def _take_source(self, source: LiveSource | ReplaySource) -> None:
        """Known before the survey, so that `abort` reaches it; an abort that came even earlier ends here."""
        self._source = source
        if self._aborted:
            raise ScanError("aborted before the survey")

    def _finish(self, loop: Loop) -> None:
        """Summarise; a run that was told to stop stays open for `resume`."""
        reason = loop.stop_reason or self._asked_to_stop or "stopped"
        self._summary = write_summary(
            self.configuration, loop.opened, reason, ended=self._asked_to_stop is None, elapsed_ns=loop.elapsed_ns
        )
        self._events.emit("stop", self._summary)
        self.close()
