# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import asyncio
import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import Fault
from probewise.errors import ConfigurationError, InstrumentError, ModelError, StorageError
from probewise.experiment import Experiment, SiteState, Values, open_run
from probewise.experiment.config import BASELINES
from probewise.types import Frame, Limits
from tiny_experiment import FREE, fake, mean, resumed, tables, tiny


def test_a_run_visits_no_site_twice_and_keeps_its_budget(tmp_path: Path) -> None:
    instrument = fake()
    summary = tiny(tmp_path / "r", instrument).run()
    with open_run(tmp_path / "r") as run:
        assert len(run.visited) == len(set(run.visited.tolist())) == 20
        assert not run.excluded[run.visited].any()
        assert (run.states[run.visited] == SiteState.MEASURED).all()
        assert run.summary == summary == json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["stop_reason"] == "budget: steps"
    assert instrument.closed
    assert instrument.beam == "blanked"


def test_it_finds_the_bump(tmp_path: Path) -> None:
    tiny(tmp_path / "r", budget={"steps": 25}).run()
    with open_run(tmp_path / "r") as run:
        values = dict(zip(run.visited.tolist(), run.values.tolist(), strict=True))
        best = sorted(values.values())[-5:]
        y, x = run.sites.centres_nm.T - 50.0
        true = 50.0 + 40.0 * np.exp(-((y - 20.0) ** 2 + (x + 30.0) ** 2) / 800.0)
        assert np.allclose(best, np.sort(true[~run.excluded])[-5:], atol=1.0)  # noise of a site mean is 1/16
        assert np.argmax(run.mean) == np.argmax(np.where(run.excluded, -np.inf, true))


@pytest.mark.parametrize("policy", [*BASELINES, "ucb", "ei", "log-ei", "pi", "thompson", "straddle", "target"])
def test_every_policy_runs_in_the_same_loop(tmp_path: Path, policy: str) -> None:
    summary = tiny(tmp_path / "r", acquisition={"policy": policy}, budget={"steps": 12}).run()
    assert (summary["policy"], summary["measured"]) == (policy, 12)


@pytest.mark.parametrize("objective", ["cover", "discover", "reconstruct"])
def test_without_a_budget_the_objective_may_stop(tmp_path: Path, objective: str) -> None:
    changes = tables(acquisition={"objective": objective})
    del changes["budget"]
    summary = Experiment(fake(), out=tmp_path / "r", **changes).run()
    assert summary["steps"] <= 60
    assert summary["stop_reason"] == "budget: steps" or summary["stop_reason"].split(":")[0] in (
        "gain", "ambiguity", "deviation",
    )  # fmt: skip


def test_a_given_budget_switches_the_stop_rule_off_and_says_so(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r", budget={"steps": 50}).run()
    assert summary["steps"] == 50
    assert sum("own stop rule was met" in text for text in summary["notices"]) == 1


@pytest.mark.parametrize("refine", [1, 2])
def test_batches_hold_no_site_twice(tmp_path: Path, refine: int) -> None:
    changes: dict[str, Any] = {"acquisition": {"batch": 4}, "surrogate": {"refine": refine, "fit_every": 5}}
    tiny(tmp_path / "r", **changes).run()
    with open_run(tmp_path / "r") as run:
        assert len(set(run.visited.tolist())) == 20
        assert run.candidates == (10 * refine, 10 * refine)


def test_everything_visited(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r", budget={"steps": 1000}, acquisition={"policy": "serpentine"}).run()
    assert summary["stop_reason"] == "every site was visited"
    assert summary["measured"] == FREE


def test_a_list_of_sites(tmp_path: Path) -> None:
    places = tuple((10.0 + 9.0 * (n // 5), 10.0 + 9.0 * (n % 5)) for n in range(25))
    summary = tiny(tmp_path / "r", sites={"list": places}, budget={"steps": 15}).run()
    assert (summary["sites"], summary["measured"]) == (25, 15)
    with open_run(tmp_path / "r") as run:
        assert np.allclose(run.sites.centres_nm, places)


def test_points(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r", measure={"kind": "point"}).run()
    with open_run(tmp_path / "r") as run:
        assert run.frames[0].shape == (1, 1)
    assert summary["measured"] == 20


def test_electrons_are_never_overspent(tmp_path: Path) -> None:
    one = tiny(tmp_path / "a").run()["dose"]["electrons"]
    limit = 0.6 * one
    summary = tiny(tmp_path / "b", budget={"electrons": limit, "steps": 1000}).run()
    assert summary["stop_reason"] == "budget: electrons"
    assert 0.9 * limit < summary["dose"]["electrons"] <= limit


def test_fluence_is_never_overspent(tmp_path: Path) -> None:
    per_site = tiny(tmp_path / "a").run()["dose"]["max_e_per_A2"]
    summary = tiny(
        tmp_path / "b", fake([Fault("read_into", "nan", 2)]), budget={"max_e_per_A2": 1.5 * per_site, "steps": 1000}
    ).run()
    assert summary["dose"]["max_e_per_A2"] <= 1.5 * per_site
    assert summary["measured"] == FREE - 1  # the site of the bad frame may not be exposed again
    assert summary["stop_reason"] == "budget: max_e_per_A2"


@pytest.mark.parametrize("kind", ["nan", "shape", "dtype", "short", "constant", "duplicate", "late", "not-a-frame"])
def test_a_bad_frame_never_reaches_the_surrogate(tmp_path: Path, kind: str) -> None:
    instrument = fake([Fault("read_into", kind, 6)])  # type: ignore[arg-type]
    tiny(tmp_path / "r", instrument).run()
    with open_run(tmp_path / "r") as run:
        assert np.isfinite(run.values).all()
        assert len(run.values) == len(run.visited) == len(run.frames)
        states = [step.state for step in run.steps]
        if kind == "duplicate":  # dropped by its sequence before anyone sees it
            assert states.count(SiteState.REJECTED) == 0
        else:
            assert states.count(SiteState.REJECTED) == 1
            at = states.index(SiteState.REJECTED)
            assert run.steps[at + 1].site == run.steps[at].site
            assert run.steps[at + 1].plan.attempt == 1
            assert run.steps[at].electrons == run.steps[at + 1].electrons > 0
            assert run.summary is not None
            assert run.summary["exposure"]["max_hits"] == 2
            assert run.notices
    assert instrument.beam == "blanked"


def test_retries_end(tmp_path: Path) -> None:
    faults = [Fault("read_into", "nan", 3), Fault("read_into", "nan", 4)]
    summary = tiny(tmp_path / "r", fake(faults)).run()
    assert (summary["rejected"], summary["measured"], summary["steps"]) == (1, 18, 20)


def test_five_bad_frames_running_end_the_run(tmp_path: Path) -> None:
    faults = [Fault("read_into", "nan", number) for number in range(4, 9)]
    instrument = fake(faults)
    with pytest.raises(InstrumentError, match="5 bad frames running") as caught:
        tiny(tmp_path / "r", instrument).run()
    assert caught.value.exit_code == 3
    assert instrument.beam == "blanked"
    with open_run(tmp_path / "r") as run:
        assert [step.state for step in run.steps][-5:] == [SiteState.REJECTED] * 5


def test_an_exception_of_the_driver_leaves_the_beam_safe(tmp_path: Path) -> None:
    instrument = fake([Fault("start", "raise", 3, OSError("no answer"))])
    tiny(tmp_path / "r", instrument).run()
    with open_run(tmp_path / "r") as run:
        assert any("no answer" in text for text in run.notices)
    assert instrument.beam == "blanked"


def divided(frame: Frame) -> float:
    return 1 / 0


@pytest.mark.parametrize(
    ("scalarize", "says"),
    [
        (lambda frame: float("nan"), "returned nan, expected finite numbers"),
        (lambda frame: (1.0, -1.0), "returned (1.0, -1.0), expected finite numbers, the variance not negative"),
        (lambda frame: (1.0, math.inf), "returned (1.0, inf), expected finite numbers"),
        (lambda frame: "x", "returned 'x', expected a number, (value, variance) or probewise.Values"),
        (lambda frame: None, "returned None, expected a number"),
        (lambda frame: (1.0, 2.0, 3.0), "returned (1.0, 2.0, 3.0), expected a number"),
        (lambda frame: np.zeros(2), "returned array([0., 0.]), expected a number"),
        (divided, "raised ZeroDivisionError: division by zero"),
        (lambda frame: Values([1.0], [[0.5, 1.5]]), "raised ValueError: centre_yx holds 1.5, expected fractions"),  # type: ignore[arg-type]
    ],
    ids=["nan", "variance", "infinite", "text", "none", "three", "array", "exception", "place"],
)  # fmt: skip
def test_an_unusable_value_ends_the_run_and_the_corrected_callable_goes_on(
    tmp_path: Path, scalarize: Callable[[Frame], Any], says: str
) -> None:
    def from_the_third_on(frame: Frame) -> Any:
        return mean(frame) if frame.sequence < 4 else scalarize(frame)  # the survey is frame 1

    instrument = fake()
    with pytest.raises(ConfigurationError) as caught:
        tiny(tmp_path / "r", instrument, measure={"scalarize": from_the_third_on}).run()
    assert f"measure.scalarize {says}" in str(caught.value)
    assert instrument.beam == "blanked"
    with open_run(tmp_path / "r") as run:
        assert len(run.visited) == 2
    assert resumed(tmp_path / "r").run()["measured"] == 20


def test_an_own_error_of_a_callable_keeps_its_class(tmp_path: Path) -> None:
    def dark(frame: Frame) -> float:
        raise ModelError("no answer in time")

    with pytest.raises(ModelError, match="no answer in time"):
        tiny(tmp_path / "r", measure={"scalarize": dark}).run()


def test_a_large_variance_is_not_trusted(tmp_path: Path) -> None:
    def doubtful(frame: Frame) -> tuple[float, float]:
        value = mean(frame)
        return (value + 30.0, 1e4) if frame.sequence % 4 == 0 else (value, 0.01)

    deviations = {}
    for name, scalarize in (("told", doubtful), ("not told", lambda frame: doubtful(frame)[0])):
        tiny(tmp_path / name, measure={"scalarize": scalarize}, acquisition={"policy": "halton"}).run()
        with open_run(tmp_path / name) as run:
            y, x = run.sites.centres_nm.T - 50.0
            true = 50.0 + 40.0 * np.exp(-((y - 20.0) ** 2 + (x + 30.0) ** 2) / 800.0)
            deviations[name] = float(np.abs(run.mean - true)[run.visited].mean())
    # five of twenty values are 30 too high; known as doubtful they hardly count
    assert deviations["told"] < deviations["not told"] / 2


def test_several_values_are_told_where_they_lie(tmp_path: Path) -> None:
    """A ramp across each frame, up and down in turn: with two candidates a side the map does so within every site."""
    places, variances = [[0.5, 0.25], [0.25, 0.75], [0.75, 0.75]], [0.01, 0.01, 0.02]

    def up(frame: Frame) -> Values:
        return Values([0.0, 1.0, 1.0], places, variances)  # type: ignore[arg-type]

    def in_turn(frame: Frame) -> Values:
        even = round((frame.context.shift_nm[1] + 45.0) / 10.0) % 2 == 0
        return up(frame) if even else Values([1.0, 0.0, 0.0], places, variances)  # type: ignore[arg-type]

    raster = {"policy": "raster"}
    tiny(tmp_path / "fine", surrogate={"refine": 2}, measure={"scalarize": in_turn}, acquisition=raster).run()
    with open_run(tmp_path / "fine") as run:
        assert run.candidates == (20, 20)
        columns = run.mean.reshape(run.candidates)[2:4].reshape(2, 10, 2)[:, 1:9]  # the first row of free sites
        assert ((columns[..., 1] - columns[..., 0]) * np.tile([-1.0, 1.0], 4)).min() > 0.3
        # weights 100, 100 and 50
        even = run.visited % 10 % 2 == 0
        np.testing.assert_allclose(run.values, np.where(even, 0.6, 0.4), rtol=1e-12)
    tiny(tmp_path / "coarse", measure={"scalarize": up}, acquisition=raster).run()
    with open_run(tmp_path / "coarse") as run:
        np.testing.assert_allclose(run.mean[run.visited], 0.6, atol=1e-6)


def test_frames_that_show_nothing_to_value_are_measured(tmp_path: Path) -> None:
    nothing = Values(np.empty(0), np.empty((0, 2)))
    summary = tiny(tmp_path / "r", measure={"scalarize": lambda frame: nothing}, budget={"steps": 8}).run()
    assert summary["measured"] == 8
    assert any("gave no finite value" in text for text in summary["notices"])
    with open_run(tmp_path / "r") as run:
        assert np.isnan(run.values).all()


def test_positions_are_refused_before_the_beam_moves(tmp_path: Path) -> None:
    instrument = fake(limits=Limits(channels=("HAADF",), max_fov_nm=4.0))
    experiment = tiny(tmp_path / "r", instrument)
    with pytest.raises(ConfigurationError, match=r"a field of 8 nm, expected at most 4"):
        experiment.run()
    assert instrument.calls("start") == 0
    assert experiment.directory is None
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scan": {"channels": ("EELS",)}}, "'EELS'"),
        ({"scan": {"dwell_ns": 1}}, "dwell_ns is 1,"),
        ({"sites": {"exclude": tuple(range(100))}}, "leave no site free"),
    ],
)
def test_what_the_instrument_cannot_do_is_a_configuration_error(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        tiny(tmp_path / "r", **changes).run()


def test_it_works_under_a_live_event_loop(tmp_path: Path) -> None:
    async def notebook() -> int:
        return int(tiny(tmp_path / "r").run()["steps"])

    assert asyncio.run(notebook()) == 20


def test_events_come_in_order(tmp_path: Path) -> None:
    experiment = tiny(tmp_path / "r", budget={"steps": 7})
    seen: list[str] = []
    for name in ("start", "survey", "step", "fit", "stop"):
        experiment.on(name, lambda value, name=name: seen.append(name))
    experiment.run()
    assert seen[:3] == ["start", "survey", "step"]
    assert seen[-1] == "stop"
    assert seen.count("step") == 7
    assert "fit" in seen
    with pytest.raises(ValueError, match="event is 'steps', expected one of"):
        experiment.on("steps", print)


def test_a_full_disk_stops_the_run_with_a_readable_journal(tmp_path: Path) -> None:
    """The limit fails writes as a full disk does, at another place of the run for each limit."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number, size in enumerate((260, 300, 420)):
        directory = tmp_path / f"r{number}"
        instrument = fake()
        experiment = tiny(directory, instrument, budget={"steps": 60})
        resource.setrlimit(resource.RLIMIT_FSIZE, (size << 10, limits[1]))
        try:
            with pytest.raises(StorageError) as caught:
                experiment.run()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.exit_code == 5
        assert instrument.beam == "blanked"
        assert resumed(directory).run()["steps"] == 60


def test_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageError, ConfigurationError)):
        tiny(tmp_path / "file" / "r").run()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    with pytest.raises(ConfigurationError, match=r"holds notes\.txt, expected a new or empty folder"):
        tiny(tmp_path / "full").run()
