# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fakes import FakeInstrument
from probewise.experiment import SiteState, open_run
from probewise.types import Frame, Limits
from tiny_experiment import bump, fake, resumed, tiny


class Talking(FakeInstrument):
    """Says what it does to its data; keeps a checkpoint on one thread; saturates."""

    notices = ("taken as float32",)
    saturation: float | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.owners: set[str] = set()

    def read_into(self, armed: Any, out: Any, *, timeout_s: float) -> Frame:
        self.owners.add(threading.current_thread().name)
        frame = super().read_into(armed, out, timeout_s=timeout_s)
        return replace(frame, notices=(f"resampled by {frame.sequence + 0.5}", "lines repeated"))

    def checkpoint(self) -> dict[str, int]:
        self.owners.add(threading.current_thread().name)
        return {}

    def restore(self, state: dict[str, int]) -> None:
        self.owners.add(threading.current_thread().name)


def test_notices_of_instrument_and_frames_are_journalled_once(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r", Talking(counts=bump)).run()
    said = summary["notices"]
    assert said.count("taken as float32") == said.count("lines repeated") == 1
    assert sum("resampled by" in text for text in said) == 1  # texts that differ in a number only
    with open_run(tmp_path / "r") as run:
        assert run.notices == said


def test_the_state_is_read_and_put_back_by_the_owner_of_the_hardware(tmp_path: Path) -> None:
    first = Talking(counts=bump)
    experiment = tiny(tmp_path / "r", first)
    experiment.on("step", lambda step: experiment.stop() if step.index == 3 else None)
    experiment.run()
    second = Talking(counts=bump)
    resumed(tmp_path / "r", second).run()
    for instrument in (first, second):
        assert len(instrument.owners) == 1
        assert threading.current_thread().name not in instrument.owners


def test_a_saturated_frame_is_rejected_where_the_level_is_known(tmp_path: Path) -> None:
    instrument = Talking(counts=bump)
    instrument.saturation = 60.0  # the bump reaches 90 over a level of 50
    tiny(tmp_path / "r", instrument).run()
    with open_run(tmp_path / "r") as run:
        rejected = [step for step in run.steps if step.state is SiteState.REJECTED]
        assert rejected
        assert np.nanmax(run.values) < 60.0
        assert any("saturated" in text for text in run.notices)


def test_the_survey_keeps_the_instrument_s_flyback(tmp_path: Path) -> None:
    limits = Limits(channels=("HAADF",), flyback_ns=7000)
    tiny(tmp_path / "r", fake(limits=limits)).run()
    with open_run(tmp_path / "r") as run:
        assert run.survey is not None
        assert run.survey.scan.flyback_ns == 7000  # type: ignore[union-attr]
