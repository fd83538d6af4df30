# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from fakes import Fault
from probewise.experiment import Step
from probewise.experiment.signals import Signals
from tiny_experiment import fake, resumed, tiny


class Target:
    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.aborts = 0
        self.changed = threading.Condition()

    def stop(self, reason: str) -> None:
        with self.changed:
            self.stopped.append(reason)
            self.changed.notify_all()

    def abort(self) -> None:
        with self.changed:
            self.aborts += 1
            self.changed.notify_all()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_first_stops_second_aborts(number: signal.Signals, code: int) -> None:
    target = Target()
    before = signal.getsignal(number)
    with Signals(target) as signals:
        assert signals.exit_code is None
        os.kill(os.getpid(), number)
        with target.changed:
            assert target.changed.wait_for(lambda: target.stopped, 10)
            assert target.aborts == 0
        os.kill(os.getpid(), number)
        with target.changed:
            assert target.changed.wait_for(lambda: target.aborts, 10)
        assert signals.exit_code == code
        assert target.stopped == [f"signal: {number.name}"]
    assert signal.getsignal(number) is before


def test_the_step_finishes_and_the_run_can_go_on(tmp_path: Path) -> None:
    instrument = fake()
    experiment = tiny(tmp_path / "r", instrument)
    heard = threading.Event()
    stop = experiment.stop
    experiment.stop = lambda reason="stopped": (stop(reason), heard.set())[0]  # type: ignore[method-assign]

    def interrupt(step: Step) -> None:
        if step.index == 0:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.wait(10)

    experiment.on("step", interrupt)
    with Signals(experiment) as signals:
        summary = experiment.run()
    assert signals.exit_code == 130
    # the step that runs when the first is told is the second
    assert (summary["steps"], summary["stop_reason"]) == (2, "signal: SIGINT")
    assert instrument.beam == "blanked"
    assert resumed(tmp_path / "r").run()["steps"] == 20


def test_a_second_one_cuts_a_hanging_scan(tmp_path: Path) -> None:
    instrument = fake([Fault("read_into", "hang-until-abort", 3)])
    experiment = tiny(tmp_path / "r", instrument)

    heard = threading.Event()
    stop = experiment.stop
    experiment.stop = lambda reason="stopped": (stop(reason), heard.set())[0]  # type: ignore[method-assign]

    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        heard.wait(10)  # two of a kind that wait together are one to the system
        os.kill(os.getpid(), signal.SIGTERM)

    experiment.on(
        "stage",
        lambda stage: (
            threading.Timer(0.1, interrupt_twice).start()
            if stage == "reserved" and instrument.calls("read_into") == 3
            else None
        ),
    )
    with Signals(experiment) as signals:
        summary = experiment.run()
    assert signals.exit_code == 143
    assert summary["stop_reason"] == "aborted"
    assert instrument.beam == "blanked"
