# SPDX-License-Identifier: BSD-3-Clause
"""When a step does what: pauses, stops, aborts, scans that run beside the work on the last one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import Fault
from probewise.errors import ModelError, ScanError
from probewise.experiment import SiteState, open_run
from probewise.experiment.history import History
from probewise.experiment.policy import Choice, Chooser
from probewise.types import Frame
from tiny_experiment import FREE, fake, mean, resumed, tiny


def test_pause_and_go_on_from_another_thread(tmp_path: Path) -> None:
    experiment = tiny(tmp_path / "r")
    waiting = threading.Event()
    experiment.on("step", lambda step: experiment.pause() if step.index == 3 else None)
    experiment.on("step", lambda step: waiting.set() if step.index == 4 else None)  # its scan ran already
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(experiment.run()))
    thread.start()
    assert waiting.wait(10)
    thread.join(0.2)
    assert thread.is_alive()
    with open_run(tmp_path / "r") as run:  # a reader beside the writer
        assert len(run.steps) == 5
    experiment.go_on()
    thread.join(10)
    assert done[0]["steps"] == 20


def test_stop_can_be_resumed(tmp_path: Path) -> None:
    experiment = tiny(tmp_path / "r")
    experiment.on("step", lambda step: experiment.stop("enough") if step.index == 7 else None)
    summary = experiment.run()
    assert (summary["stop_reason"], summary["steps"]) == ("enough", 9)  # the scan of the ninth ran already
    again = resumed(tmp_path / "r").run()
    assert again["stop_reason"] == "budget: steps"
    assert again["dose"]["lost_electrons"] == 0


def test_abort_cuts_the_scan(tmp_path: Path) -> None:
    instrument = fake([Fault("read_into", "hang-until-abort", 5)])
    experiment = tiny(tmp_path / "r", instrument)
    experiment.on("stage", lambda stage: threading.Timer(0.2, experiment.abort).start() if hangs(stage) else None)

    def hangs(stage: str) -> bool:
        return stage == "reserved" and instrument.calls("read_into") == 5

    summary = experiment.run()
    assert summary["stop_reason"] == "aborted"
    assert summary["steps"] == 4
    assert instrument.beam == "blanked"
    again = resumed(tmp_path / "r").run()
    assert again["steps"] == 20
    assert again["dose"]["lost_electrons"] > 0


def test_abort_cuts_the_survey(tmp_path: Path) -> None:
    instrument = fake([Fault("read_into", "hang-until-abort", 0)])
    experiment = tiny(tmp_path / "r", instrument)
    threading.Timer(0.5, experiment.abort).start()
    with pytest.raises(ScanError):
        experiment.run()
    assert instrument.beam == "blanked"
    assert resumed(tmp_path / "r").run()["steps"] == 20


def test_abort_before_the_first_step_scans_nothing(tmp_path: Path) -> None:
    instrument = fake()
    experiment = tiny(tmp_path / "r", instrument)
    experiment.abort()
    with pytest.raises(ScanError, match="aborted before the survey"):
        experiment.run()
    assert instrument.calls("start") == 0


def test_leaving_the_iteration_makes_the_beam_safe(tmp_path: Path) -> None:
    instrument = fake()
    for step in tiny(tmp_path / "r", instrument):
        if step.index == 2:
            assert isinstance(step.frame, Frame)
            break
    del step
    assert instrument.closed


def waits_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20.0  # on a loaded machine; at once on a quiet one
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def test_the_next_scan_begins_before_a_step_is_written_and_told(tmp_path: Path) -> None:
    instrument = fake()
    experiment = tiny(tmp_path / "r", instrument, budget={"steps": 9})
    stages: list[str] = []
    begun: list[bool] = []
    experiment.on("stage", stages.append)
    experiment.on(  # the survey is the first scan; the last step has none after it
        "step", lambda step: begun.append(waits_for(lambda: instrument.calls("start") >= min(step.index + 3, 10)))
    )
    experiment.run()
    assert begun == [True] * 9
    assert instrument.calls("start") == 10
    assert stages[:7] == ["reserved", "scanned", "described", "learnt", "reserved", "committed", "scanned"]


def test_step_by_step_nothing_is_scanned_in_between(tmp_path: Path) -> None:
    instrument = fake()
    experiment = tiny(tmp_path / "r", instrument)
    for number in range(1, 8):
        experiment.step()
        assert instrument.calls("start") == 1 + number
        assert instrument.beam == "blanked"
    experiment.close()


def test_pipelined_the_next_scan_begins_before_a_frame_is_described(tmp_path: Path) -> None:
    instrument = fake()
    begun: list[bool] = []

    def value(frame: Frame) -> float:
        begun.append(waits_for(lambda: instrument.calls("start") > frame.sequence))
        return mean(frame)

    changes: dict[str, Any] = {"acquisition": {"pipelined": True}, "budget": {"steps": 12}}
    summary = tiny(tmp_path / "r", instrument, measure={"scalarize": value}, **changes).run()
    assert summary["measured"] == 12
    # the site after the last of the start design is chosen when this one is known, and so is begun after it
    assert sum(begun) >= 10


@pytest.mark.parametrize("policy", ["ucb", "thompson", "max-std", "halton"])
def test_pipelined_runs_visit_no_site_twice(tmp_path: Path, policy: str) -> None:
    acquisition = {"pipelined": True, "policy": policy}
    summary = tiny(tmp_path / "r", acquisition=acquisition, budget={"steps": 200}).run()
    assert summary["stop_reason"] == "every site was visited"
    assert summary["measured"] == FREE


def test_pipelined_a_bad_frame_is_taken_again(tmp_path: Path) -> None:
    instrument = fake([Fault("read_into", "nan", 9)])
    tiny(tmp_path / "r", instrument, acquisition={"pipelined": True}).run()
    with open_run(tmp_path / "r") as run:
        states = [step.state for step in run.steps]
        at = states.index(SiteState.REJECTED)
        assert states.count(SiteState.REJECTED) == 1
        assert (run.steps[at + 1].site, run.steps[at + 1].plan.attempt) == (run.steps[at].site, 1)


def test_a_step_is_written_when_the_next_cannot_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = Chooser.choose

    def stuck(self: Chooser, history: History, *arguments: Any) -> Choice:
        if len(history.steps) == 5:
            raise ModelError("no choice")
        return choose(self, history, *arguments)

    monkeypatch.setattr(Chooser, "choose", stuck)
    instrument = fake()
    with pytest.raises(ModelError, match="no choice"):
        tiny(tmp_path / "r", instrument).run()
    assert instrument.beam == "blanked"
    with open_run(tmp_path / "r") as run:
        assert len(run.steps) == 5
