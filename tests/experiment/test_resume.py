# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probewise.errors import ConfigurationError, StorageError
from probewise.experiment import Experiment, Values, open_run
from probewise.experiment.journal import FILE, Journal
from probewise.experiment.learner import Learner
from probewise.types import Frame
from tiny_experiment import fake, resumed, tiny

ROOT = Path(__file__).parents[2]
STAGES = ("reserved", "scanned", "described", "learnt", "committed")
BATCHES: dict[str, Any] = {"acquisition": {"batch": 3}, "surrogate": {"refine": 2, "fit_every": 5}}
PIPELINED: dict[str, Any] = {"acquisition": {"pipelined": True}, "surrogate": {"refine": 2, "fit_every": 5}}
LATE_FITS: dict[str, Any] = {"surrogate": {"fit_every": 4, "fit_delay": 3}}


class Death(BaseException):
    """Stands for the end of the process: nothing above the loop may catch it."""


def outcome(directory: Path) -> tuple[Any, ...]:
    with open_run(directory) as run:
        summary = json.loads(json.dumps(run.summary))
        for name in ("time_s", "latency_ms", "notices"):
            del summary[name]
        del summary["dose"]["lost_electrons"]
        frames = [frame.counts.tobytes() for frame in run.frames]
        return summary, run.visited.tolist(), frames, run.mean.tobytes(), run.std.tobytes(), run.values.tolist()


def spread(frame: Frame) -> Values:
    """Both halves of a frame, with the variances of their means."""
    halves = np.array_split(frame.image().astype(np.float64), 2)
    return Values(
        np.array([half.mean() for half in halves]),
        np.array([[0.25, 0.5], [0.75, 0.5]]),
        np.array([half.var() / half.size for half in halves]),
    )


def test_values_with_variances_resume_to_the_bit(tmp_path: Path) -> None:
    changes = {**BATCHES, "measure": {"scalarize": spread}}
    tiny(tmp_path / "whole", **changes).run()
    experiment = tiny(tmp_path / "cut", **changes)
    for _ in range(13):
        experiment.step()
    experiment.close()
    Experiment.resume(tmp_path / "cut", fake(), scalarize=spread).run()
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def by_steps(experiment: Experiment) -> None:
    for _ in experiment:
        pass


@pytest.mark.parametrize(
    ("changes", "drive"),
    [({}, by_steps), (BATCHES, Experiment.run), (PIPELINED, Experiment.run), (LATE_FITS, Experiment.run)],
    ids=["single, step by step", "batches", "pipelined", "late fits"],
)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", [0, 6, 13])
def test_a_death_at_any_stage_changes_nothing(
    tmp_path: Path, stage: str, step: int, changes: dict[str, Any], drive: Callable[[Experiment], object]
) -> None:
    tiny(tmp_path / "whole", **changes).run()
    experiment = tiny(tmp_path / "cut", **changes)
    count = 0

    def die(name: str) -> None:
        nonlocal count
        count += name == stage
        if name == stage and count == step + 1:
            raise Death

    experiment.on("stage", die)
    with pytest.raises(Death):
        drive(experiment)
    with Journal.open(tmp_path / "cut", write=False) as journal:
        before = journal.rows("SELECT * FROM steps")
        reserved = journal.rows("SELECT step FROM doses WHERE state = 'reserved'")
    resumed(tmp_path / "cut").run()
    with Journal.open(tmp_path / "cut", write=False) as journal:
        assert journal.rows("SELECT * FROM steps")[: len(before)] == before
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    # the scan of the next step runs already unless one goes step by step
    assert len(reserved) <= (1 if drive is by_steps else 2)
    assert all(number >= len(before) for (number,) in reserved)
    with open_run(tmp_path / "cut") as run:
        assert run.summary is not None
        lost = run.summary["dose"]["lost_electrons"]
        assert (lost > 0) == bool(reserved)
        assert any("were lost with frames cut by a death" in text for text in run.notices) == (lost > 0)
    if drive is by_steps:
        assert (lost == 0) == (stage == "committed")


def test_a_death_between_asking_for_a_fit_and_taking_it(tmp_path: Path) -> None:
    """Asked for at one frame and taken three later: the journal holds both, and a run cut at each frame is the same."""
    tiny(tmp_path / "whole", **LATE_FITS).run()
    with Journal.open(tmp_path / "whole", write=False) as journal:
        asked = [
            json.loads(text)["asked"] == "fit" for (text,) in journal.rows("SELECT record FROM steps ORDER BY step")
        ]
        taken = [step for (step,) in journal.rows("SELECT step FROM fits ORDER BY fit")]
    assert asked.count(True) >= 3
    assert taken[1:] == [step + 3 for step, was in enumerate(asked) if was and step + 3 < len(asked)]
    first = asked.index(True)
    for cut in range(first, first + 5):
        experiment = tiny(tmp_path / f"cut-{cut}", **LATE_FITS)
        for _ in range(cut + 1):
            experiment.step()
        experiment.close()
        resumed(tmp_path / f"cut-{cut}").run()
        assert outcome(tmp_path / f"cut-{cut}") == outcome(tmp_path / "whole")


def lattice(directory: Path) -> Experiment:
    return Experiment(
        "simulated:nio-lsmo",
        out=directory,
        instrument={"fov_nm": 40.0},
        survey={"shape": "none"},
        sites={"shape": (8, 8), "side_nm": 4.0, "pixel_nm": 0.0625},
        descriptor={"window_px": 32, "step_px": 16, "components": 2, "refit_every": 4},
        start={"sites": 6},
        surrogate={"fit_every": 3},
        budget={"steps": 19},
    )


def test_a_late_basis_is_put_back_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The basis is fitted beside the loop too; runs cut between asking and taking, and slow ones, end the same."""
    lattice(tmp_path / "whole").run()
    with Journal.open(tmp_path / "whole", write=False) as journal:
        asked = [json.loads(text)["asked"] for (text,) in journal.rows("SELECT record FROM steps ORDER BY step")]
        taken = [step for (step,) in journal.rows("SELECT step FROM bases ORDER BY basis")]
        fits = {step for (step,) in journal.rows("SELECT step FROM fits")}
    late = [step + 2 for step, what in enumerate(asked) if what == "basis" and step + 2 < len(asked)]
    assert taken == [5, *late]  # the first is waited for
    assert len(late) >= 2
    assert set(taken) <= fits  # each comes with hyper-parameters for its values
    for cut in range(late[0] - 2, late[0] + 1):
        experiment = lattice(tmp_path / f"cut-{cut}")
        for _ in range(cut + 1):
            experiment.step()
        experiment.close()
        Experiment.resume(tmp_path / f"cut-{cut}").run()
        assert outcome(tmp_path / f"cut-{cut}") == outcome(tmp_path / "whole")
    monkeypatch.setattr(Learner, "go_on", lambda self: None)
    lattice(tmp_path / "slow").run()
    assert outcome(tmp_path / "slow") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("changes", [PIPELINED, LATE_FITS, BATCHES], ids=["pipelined", "late fits", "batches"])
def test_neither_the_pace_nor_the_caller_changes_a_run(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, or with fits that begin only when they are waited for."""
    tiny(tmp_path / "run", **changes).run()
    by_steps(tiny(tmp_path / "steps", **changes))
    monkeypatch.setattr(Learner, "go_on", lambda self: None)
    tiny(tmp_path / "slow", **changes).run()
    assert outcome(tmp_path / "steps") == outcome(tmp_path / "slow") == outcome(tmp_path / "run")


def test_lost_electrons_count_in_the_budget(tmp_path: Path) -> None:
    whole = tiny(tmp_path / "whole").run()["dose"]["electrons"]
    experiment = tiny(tmp_path / "cut", budget={"electrons": whole, "steps": 100})

    def die(name: str) -> None:
        if name == "scanned":
            raise Death

    experiment.on("stage", die)
    with pytest.raises(Death):
        experiment.run()
    dose = resumed(tmp_path / "cut").run()["dose"]
    assert dose["lost_electrons"] > 0
    assert dose["electrons"] + dose["lost_electrons"] <= whole


def test_a_finished_run_gives_the_same_summary(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r").run()
    before = (tmp_path / "r" / FILE).read_bytes()
    assert resumed(tmp_path / "r").run() == summary
    assert (tmp_path / "r" / FILE).read_bytes() == before


def test_without_a_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no journal") as caught:
        resumed(tmp_path)
    assert caught.value.exit_code == 2


def test_a_callable_must_be_given_again(tmp_path: Path) -> None:
    from probewise.experiment import Experiment
    from tiny_experiment import fake

    experiment = tiny(tmp_path / "r")
    experiment.on("step", lambda step: experiment.stop() if step.index == 3 else None)
    experiment.run()
    with pytest.raises(ConfigurationError, match=r"measure\.scalarize is 'mean', expected the callable itself"):
        Experiment.resume(tmp_path / "r", fake()).run()


def test_another_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny(tmp_path / "r")
    experiment.on("step", lambda step: experiment.stop() if step.index == 3 else None)
    experiment.run()
    monkeypatch.setenv("PROBEWISE_THREADS", "17")
    notices = resumed(tmp_path / "r").run()["notices"]
    assert any("resumed with threads 17 after" in text for text in notices)


def test_a_journal_with_a_step_torn_out_is_damage(tmp_path: Path) -> None:
    import sqlite3

    experiment = tiny(tmp_path / "r")
    experiment.on("step", lambda step: experiment.stop() if step.index == 3 else None)
    experiment.run()
    db = sqlite3.connect(tmp_path / "r" / FILE)
    db.execute("DROP TRIGGER arrays_no_DELETE")
    db.execute("DELETE FROM arrays WHERE id = (SELECT counts FROM frames WHERE frame = 3)")
    db.commit()
    db.close()
    with pytest.raises(StorageError, match="is missing"), open_run(tmp_path / "r") as run:
        assert np.isfinite([frame.counts.sum() for frame in run.frames]).all()


@pytest.mark.slow
def test_sigkill_at_random_moments() -> None:
    """Real processes on the simulated microscope in real time; bench/kill_resume.py does 200."""
    script = ROOT / "bench" / "kill_resume.py"
    command = [sys.executable, str(script), "--kills", "20", "--seed", "1", "--out", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] >= 20
    assert counts["lost"] == counts["changed"] == counts["different"] == 0
