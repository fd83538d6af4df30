# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from probewise.app.cli import status
from probewise.experiment import Experiment, open_run
from probewise.experiment.sites import SiteList

TARGET = Path(__file__).parents[2] / "bench" / "targets" / "nio_lsmo_784.npz"


def replayed(directory: Path, file: Path, **tables: Any) -> Experiment:
    tables["run"] = {"replay": True, **tables.get("run", {})}
    return Experiment(instrument={"uri": f"image:{file}"}, out=directory, **tables)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A lattice of 10 px with a patch of another of 7 px."""
    y, x = np.mgrid[:192, :160]
    level = 100 + 20 * np.cos(2 * np.pi * x / 10) * np.cos(2 * np.pi * y / 10)
    level[100:150, 30:90] += 30 * np.cos(2 * np.pi * (x + y) / 7)[100:150, 30:90]
    path = tmp_path / "picture.npy"
    np.save(path, np.random.default_rng(0).poisson(level).astype(np.float32))
    return path


@pytest.mark.parametrize("objective", ["cover", "discover", "reconstruct"])
def test_a_told_map_end_to_end(tmp_path: Path, objective: str) -> None:
    arguments = ["run", "--replay", "--image", str(TARGET), "--objective", objective, "--steps", "90"]
    assert status([*arguments, "--out", str(tmp_path / "r")]) == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} >= {"summary.json", "report.png", "report.html"}
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert (summary["source"], summary["dose"], summary["excluded"]) == ("replay:nio_lsmo_784.npz", None, 0)
    assert summary["truth"]["foi_sites"] == 165
    with open_run(tmp_path / "r") as run, np.load(TARGET) as told:
        assert len(run.frames) == 0
        assert np.array_equal(run.values, told["value"].ravel()[run.visited].astype(np.float64))
    assert status(["export", str(tmp_path / "r"), str(tmp_path / "r.hspy")]) == 0
    with h5py.File(tmp_path / "r.hspy") as file:
        assert "sites" not in file["Experiments"]  # nothing was measured but values


def test_cover_finds_what_it_is_sent_for(tmp_path: Path) -> None:
    """Random sites give a recall of the fraction measured; the objective is judged by four times that, at 10 %."""
    replayed(tmp_path / "r", TARGET, budget={"steps": 78}).run()
    with open_run(tmp_path / "r") as run:
        curve = run.recall_curve
        assert curve is not None
        assert curve[-1, 2] > 3.8 * curve[-1, 0]
        assert run.steps[8].plan.policy == "ucb"  # after 1 % of the sites


def test_a_picture_end_to_end(tmp_path: Path, picture: Path) -> None:
    arguments = ["run", "--replay", "--image", str(picture), "--set", "sites.window_px=32", "--steps", "25"]
    assert status([*arguments, "--out", str(tmp_path / "r")]) == 0
    with open_run(tmp_path / "r") as run:
        assert run.sites.shape == (20, 16)  # corners at arange(0, side - 32, 8)
        assert len(run.frames) == 25
        assert np.isfinite(run.values).all()
        assert run.summary is not None
        assert run.summary["truth"] is None
        shown = run.summary["exposure"]
        assert [name for name, value in shown.items() if value is not None] == ["site_fraction"]


@pytest.mark.parametrize("file", ["map", "picture"])
def test_a_replay_resumes(tmp_path: Path, picture: Path, file: str) -> None:
    source = TARGET if file == "map" else picture
    tables = {"budget": {"steps": 30}} | ({} if file == "map" else {"sites": {"window_px": 32}})
    replayed(tmp_path / "whole", source, **tables).run()
    cut = replayed(tmp_path / "cut", source, **tables)
    cut.on("step", lambda step: cut.stop() if step.index == 21 else None)
    cut.run()
    Experiment.resume(tmp_path / "cut").run()
    with open_run(tmp_path / "whole") as one, open_run(tmp_path / "cut") as two:
        assert one.visited.tolist() == two.visited.tolist()
        assert one.mean.tobytes() == two.mean.tobytes()


def test_the_pitch_of_a_grid_and_of_a_list() -> None:
    centres = np.stack(np.meshgrid(np.arange(3) * 2.0, np.arange(4) * 5.0, indexing="ij"), axis=-1).reshape(-1, 2)
    assert SiteList(centres, 1.0, (9.0, 20.0), (3, 4)).pitch_nm == (2.0, 5.0)
    assert SiteList(centres, 1.0, (9.0, 20.0)).pitch_nm == (2.0, 2.0)
    assert SiteList(centres[:1], 1.0, (9.0, 20.0), (1, 1)).pitch_nm == (1.0, 1.0)
