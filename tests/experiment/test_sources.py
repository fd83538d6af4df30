# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import FakeInstrument
from probewise.errors import ConfigurationError
from probewise.experiment import Experiment, SiteState, open_run, sites
from probewise.types import Frame, Limits, ScanPath
from tiny_experiment import bump, fake, resumed, tables, tiny


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


def simulated(directory: Path, **changes: dict[str, Any]) -> Experiment:
    """Sites of 64 px, windows of 32, on the simulated microscope."""
    chosen: dict[str, dict[str, Any]] = {
        "instrument": {"fov_nm": 36.0},
        "survey": {"shape": (64, 64)},
        "sites": {"shape": (9, 9), "side_nm": 4.0, "pixel_nm": 0.0625},
        "descriptor": {"window_px": 32, "step_px": 16, "components": 2},
        "start": {"sites": 6},
        "budget": {"steps": 8},
    }
    for name, table in changes.items():
        chosen[name] = {**chosen.get(name, {}), **table}
    return Experiment("simulated:nio-lsmo", out=directory, **chosen)


@pytest.mark.parametrize(
    ("path", "gaps", "left_out"),
    [
        ("serpentine", False, 0),
        ("hilbert", False, 0),
        ("jittered", False, 0),
        ("spiral", True, 0),
        ("fermat", True, 0),
        ("lissajous", True, 0),
    ],
)
def test_every_path_runs_with_window_spectra(tmp_path: Path, path: str, gaps: bool, left_out: int) -> None:
    summary = simulated(tmp_path / "r", scan={"path": path}).run()
    said = [text for text in summary["notices"] if text.startswith("pixels without a sample")]
    assert len(said) == gaps
    assert all(f"{left_out} of 9 windows left out" in text for text in said)
    with open_run(tmp_path / "r") as run:
        assert all(step.state is SiteState.MEASURED for step in run.steps)
        assert np.isfinite([step.value for step in run.steps[6:]]).all()  # from the first basis on
        assert np.isnan(run.frames[0].image()).any() == gaps


def test_corner_windows_of_a_spiral_are_left_out(tmp_path: Path) -> None:
    summary = simulated(
        tmp_path / "r", scan={"path": "spiral"}, descriptor={"window_px": 16, "step_px": 8}, budget={"steps": 1}
    ).run()
    said = [text for text in summary["notices"] if text.startswith("pixels without a sample")]
    with open_run(tmp_path / "r") as run:
        description = run._recorder.description(0)
    assert description is not None
    centres = description.centre_yx
    assert f"{49 - len(centres)} of 49 windows left out" in said[0]
    assert 0 < len(centres) < 49
    assert (np.hypot(*(centres - 0.5).T) <= 0.5).all()


def test_a_path_that_covers_no_window_is_refused_before_the_beam_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sparse(path: str, shape: tuple[int, int], dwell_ns: int, limits: Limits, discard_lines: int) -> ScanPath:
        pixel = np.arange(0, shape[0] * shape[1], 17, dtype=np.int32)
        n = len(pixel)
        yx = np.stack(np.divmod(pixel, shape[1]), axis=1) / np.array(shape, dtype=np.float64)
        return ScanPath(yx, np.full(n, dwell_ns), np.ones(n, dtype=bool), pixel, shape)

    monkeypatch.setattr(sites, "make", sparse)
    with pytest.raises(ConfigurationError, match=r"scan\.path is 'spiral': samples .* cover \d\d% .* at least 75%"):
        simulated(tmp_path / "r", scan={"path": "spiral"}).run()


def parking(directory: Path, microscope: FakeInstrument, **changes: dict[str, Any]) -> Experiment:
    table = {"fov_nm": 100.0, "idle": "park"}
    return Experiment(microscope, out=directory, **tables(**{"instrument": table, "budget": {"steps": 2}, **changes}))


def parked(instrument: FakeInstrument) -> set[tuple[float, float] | None]:
    return {command.arguments["yx"] for command in instrument.commands if command.verb == "park"} - {None}


def test_the_beam_parks_in_a_corner_that_no_candidate_reaches(tmp_path: Path) -> None:
    whole = fake()
    parking(tmp_path / "border", whole).run()
    assert parked(whole) == {(0.0, 0.0)}
    # The sites of three corners end in them: [4, 4] of 8 nm begins at the corner itself.
    free = fake()
    centres = [[4.0, 4.0], [4.0, 96.0], [96.0, 4.0], [50.0, 50.0], [60.0, 20.0], [20.0, 60.0], [40.0, 80.0]]
    parking(tmp_path / "list", free, sites={"list": centres}).run()
    assert parked(free) == {(1.0, 1.0)}
    chosen = fake()
    own = {"fov_nm": 100.0, "idle": "park", "park": (0.5, 0.02)}
    parking(tmp_path / "own", chosen, instrument=own).run()
    assert parked(chosen) == {(0.5, 0.02)}


def test_no_corner_to_park_in_is_refused_in_one_line(tmp_path: Path) -> None:
    centres = [[4.0, 4.0], [4.0, 96.0], [96.0, 4.0], [96.0, 96.0], [50.0, 50.0], [60.0, 20.0]]
    instrument = fake()
    with pytest.raises(ConfigurationError, match=r"instrument\.park is not set and each corner of the field lies in"):
        parking(tmp_path / "r", instrument, sites={"list": centres}).run()
    assert not any(command.verb == "start" for command in instrument.commands)
    tiny(tmp_path / "s", fake(), sites={"list": centres}, budget={"steps": 1}).run()  # a blanked beam needs none
