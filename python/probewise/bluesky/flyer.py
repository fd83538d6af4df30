# SPDX-License-Identifier: BSD-3-Clause
"""A whole experiment as one bluesky run: it flies by itself, and each step becomes an event when it is collected."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from probewise.bluesky.status import Status
from probewise.errors import ConfigurationError, InstrumentError
from probewise.experiment import Experiment, Step

STREAM = "steps"
END_S = 30.0  # for a run that was told to stop: the scan is cut at once, the journal is closed after it
# Data key: JSON type, numpy type, unit.
COLUMNS: dict[str, tuple[str, str, str | None]] = {
    "site": ("integer", "<i8", None),
    "state": ("string", "<U12", None),
    "value": ("number", "<f8", None),
    "acquisition": ("number", "<f8", None),
    "policy": ("string", "<U32", None),
    "decision_ms": ("number", "<f8", "ms"),
}


class ExperimentFlyer:
    """Flyable, EventCollectable, Configurable, Stageable, Stoppable and Pausable of bluesky.protocols.

    experiment  one that has not run; its frames and maps stay in its own journal, whose folder is in the configuration
    name        prefix of the data keys NAME_site, _state, _value, _acquisition, _policy, _decision_ms; numbers that
                there are none of are NaN

    `unstage` ends a run that goes on and returns with the beam safe, so that it is safe whichever way a plan ends.
    """

    parent = None

    def __init__(self, experiment: Experiment, *, name: str = "probewise") -> None:
        self.experiment = experiment
        self.name = name
        self._rows: deque[tuple[Step, float]] = deque()
        self._begun, self._ended = Status(), Status()
        self._thread: threading.Thread | None = None
        experiment.on("start", lambda _: self._begun.finish())
        experiment.on("step", lambda step: self._rows.append((step, time.time())))

    def stage(self) -> list[Any]:
        if self._thread is not None:
            raise InstrumentError(f"{self.name} has flown, expected a flyer for each run")
        return [self]

    def unstage(self) -> list[Any]:
        self.stop()
        return [self]

    def kickoff(self) -> Status:
        """Done when folder, journal and instrument are open. Once more changes nothing: a resumed plan repeats it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"{self.name} experiment", daemon=True)
            self._thread.start()
        return self._begun

    def complete(self) -> Status:
        """Done when the run has ended."""
        return self._ended

    def _run(self) -> None:
        try:
            self.experiment.run()
        except BaseException as error:  # noqa: BLE001  both statuses fail with it
            self._begun.finish(error)
            self._ended.finish(error)
        else:
            self._ended.finish()

    def collect(self) -> Iterator[dict[str, Any]]:
        """An event for each step since the last call."""
        while self._rows:
            step, at = self._rows.popleft()
            data = {
                "site": step.site,
                "state": step.state.name.lower(),
                "value": math.nan if step.value is None else float(step.value),
                "acquisition": math.nan if step.acquisition is None else float(step.acquisition),
                "policy": step.policy,
                "decision_ms": float(step.timings_ms.get("decision", math.nan)),
            }
            named = {f"{self.name}_{key}": value for key, value in data.items()}
            yield {"data": named, "timestamps": dict.fromkeys(named, at), "time": at}

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        source = f"probewise:{self._uri()}"
        keys: dict[str, Any] = {}
        for key, (kind, numpy_kind, unit) in COLUMNS.items():
            keys[f"{self.name}_{key}"] = {"source": source, "dtype": kind, "dtype_numpy": numpy_kind, "shape": []}
            if unit is not None:
                keys[f"{self.name}_{key}"]["units"] = unit
        return {STREAM: keys}

    def read_configuration(self) -> dict[str, Any]:
        now = time.time()
        return {f"{self.name}_{key}": {"value": value, "timestamp": now} for key, value in self._facts().items()}

    def describe_configuration(self) -> dict[str, Any]:
        source = f"probewise:{self._uri()}"
        kinds = {str: "string", int: "integer"}
        return {
            f"{self.name}_{key}": {"source": source, "dtype": kinds[type(value)], "shape": []}
            for key, value in self._facts().items()
        }

    def stop(self, success: bool = True) -> None:
        """End a run that goes on: the scan is cut and the beam safe on return. From any thread.

        raises  InstrumentError when the run does not end
        """
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self.experiment.abort()
        thread.join(END_S)
        if thread.is_alive():
            raise InstrumentError(f"the experiment has not ended {END_S:g} s after it was aborted: the beam may be on")

    def pause(self) -> None:
        """Hold before the next step, the beam where the experiment's idle rule says."""
        self.experiment.pause()

    def resume(self) -> None:
        self.experiment.go_on()

    def _uri(self) -> str:
        return self.experiment.configuration.instrument.uri

    def _facts(self) -> dict[str, str | int]:
        table = self.experiment.configuration
        return {
            "uri": self._uri(),
            "objective": table.acquisition.objective,
            "seed": table.run.seed,
            "directory": str(self.experiment.directory),
        }


def run_plan(
    experiment: Experiment, *, name: str = "probewise", md: dict[str, Any] | None = None
) -> Generator[Any, Any, str]:
    """Plan: `experiment` as one run with an event for each step, emitted at its end.

    A pause of the RunEngine (Ctrl-C) holds the experiment between two steps; stop, abort and halt end it with the beam
    safe, and `Experiment.resume` goes on with its folder.

    returns  the run's uid
    raises   ConfigurationError unless bluesky is installed
    """
    try:
        from bluesky import plan_stubs, preprocessors
    except ImportError as error:
        raise ConfigurationError(f"bluesky is missing ({error}): pip install 'probewise[bluesky]'") from error
    flyer = ExperimentFlyer(experiment, name=name)

    def flight() -> Generator[Any, Any, str]:
        uid: str = yield from plan_stubs.open_run({"plan_name": "probewise", **(md or {})})
        yield from plan_stubs.kickoff(flyer, wait=True)
        yield from plan_stubs.checkpoint()
        yield from plan_stubs.complete(flyer, wait=True)
        yield from plan_stubs.collect(flyer)
        yield from plan_stubs.close_run()
        return uid

    uid: str = yield from preprocessors.stage_wrapper(flight(), [flyer])
    return uid
