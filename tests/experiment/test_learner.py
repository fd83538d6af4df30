# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probewise.errors import ConfigurationError
from probewise.experiment import Experiment, SiteState, Values, open_run
from probewise.experiment.belief import Belief, FitRecord
from probewise.experiment.describer import Scalarized
from probewise.experiment.learner import NO_VALUE, Learner
from probewise.experiment.loading import load
from probewise.experiment.sites import Candidates
from probewise.types import Description, FloatArray, SiteLattice


def description(value: float) -> Description:
    """Of a value, or of a frame that showed nothing to value (NaN)."""
    values = np.array([value])[np.isfinite([value])]
    return Scalarized(lambda frame: Values(values, np.full((len(values), 2), 0.5))).describe(None)


def learner(*sets: str) -> Learner:
    candidates = Candidates.over(SiteLattice((10, 10), 1.0, (20.0, 20.0)), 1)
    configuration = load(sets=list(sets))
    return Learner(Scalarized(float), Belief(candidates, configuration.surrogate), configuration, 4)


def test_a_site_without_a_value_is_not_told() -> None:
    taught = learner()
    lessons = [taught.learn(3 * n, description(v)) for n, v in enumerate([1.0, math.nan, 2.0, math.nan, 3.0, 4.0])]
    assert [lesson.value for lesson in lessons] == [1.0, None, 2.0, None, 3.0, 4.0]
    assert [NO_VALUE in lesson.notices for lesson in lessons] == [False, True, False, True, False, False]
    assert [told.site for told in taught.belief.told] == [0, 6, 12, 15]
    assert np.isfinite(taught.belief.mean).all()
    again = learner()
    for n, (value, lesson) in enumerate(zip([1.0, math.nan, 2.0, math.nan, 3.0, 4.0], lessons, strict=True)):
        again.learn(3 * n, description(value), again=lesson)
    assert again.belief.mean.tobytes() == taught.belief.mean.tobytes()


def strained(directory: Path, **tables: Any) -> Experiment:
    return Experiment(
        "simulated:strained",
        component={"by": "spacing_nm", "sense": "deviation"},
        survey={"shape": (64, 64)},
        sites={"shape": (9, 9), "pixel_nm": 0.04},
        start={"sites": 6},
        budget={"steps": 9},
        out=directory,
        **tables,
    )


def test_a_spacing_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows' spacings are taken away: the sites count, one notice says so, and a resume keeps both."""
    from probewise.descriptors import LinearWorkflow

    describe = LinearWorkflow.describe

    def gap(self: LinearWorkflow, frame: Any) -> Description:
        found = describe(self, frame)
        if frame.sequence in (2, 8):  # the survey has the first number
            extra = {name: np.full_like(v, np.nan) if "spacing" in name else v for name, v in found.extra.items()}
            found = replace(found, extra=extra)
        return found

    monkeypatch.setattr(LinearWorkflow, "describe", gap)
    experiment = strained(tmp_path / "r")
    experiment.on("step", lambda step: experiment.stop() if step.index == 7 else None)
    experiment.run()
    summary = Experiment.resume(tmp_path / "r").run()
    assert summary["measured"] == 9
    assert summary["notices"].count(NO_VALUE) == 1
    with open_run(tmp_path / "r") as run:
        without = [step for step in run.steps if step.value is None and step.step >= 5]
        assert len(without) == 1
        assert all(step.state is SiteState.MEASURED for step in run.steps)
        assert np.isnan(run.values).sum() == 2
        assert np.isfinite(run.mean).all()


def test_a_rule_that_finds_nothing_is_a_configuration_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probewise.descriptors import LinearWorkflow

    def nothing(self: LinearWorkflow, descriptions: Any, *, seed: int = 0) -> Any:
        raise ValueError("column 'spacing_nm' has no finite value at the visited sites")

    monkeypatch.setattr(LinearWorkflow, "fit", nothing)
    with pytest.raises(ConfigurationError, match=r"component\.by is 'spacing_nm': column 'spacing_nm' has no finite"):
        strained(tmp_path / "r").run()


FIT = FitRecord(3.0, 1.0, 0.01, 0.0, 1.0, -3.0, (), 9, 1.0, True)


@pytest.mark.parametrize(
    ("record", "upper"),
    [
        (replace(FIT, at_bound=("noise",)), []),
        (replace(FIT, at_bound=("variance",), variance=1e3), ["variance"]),
        (replace(FIT, at_bound=("lengthscale",), lengthscale=50.0), ["lengthscale"]),
        (replace(FIT, at_bound=("lengthscale", "variance"), lengthscale=0.5, spacing=0.5, variance=1e-3), []),
    ],
)
def test_which_bounds_matter(record: FitRecord, upper: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert record.at_upper_bound == upper
    taught = learner()
    values: FloatArray = np.array([1.0, 2.0, 3.0])
    for n, value in enumerate(values):
        taught.learn(n, description(float(value)))
    monkeypatch.setattr(Belief, "fit", lambda self: replace(record, stable=True))
    said = taught.learn(9, description(5.0)).notices
    assert any("upper bound" in text for text in said) == bool(upper)


def smooth(site: int) -> float:
    return math.sin(site / 17.0) + math.cos(site % 10 / 3.0)


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_a_late_fit_is_that_of_the_frames_before_it_was_asked_for(delay: int) -> None:
    late, at_once = learner(f"surrogate.fit_delay={delay}"), learner("surrogate.fit_delay=0")
    sites = np.random.default_rng(4).permutation(100)
    fits: dict[str, list[FitRecord]] = {"late": [], "at once": []}
    for number, site in enumerate(sites[:38]):
        for name, taught in (("late", late), ("at once", at_once)):
            lesson = taught.learn(int(site), description(smooth(int(site))))
            if lesson.fit is not None:
                fits[name].append(lesson.fit)
            if name == "late":
                assert (lesson.asked == "fit") == (number in (13, 23, 33))  # the first is waited for
                assert (lesson.fit is not None) == (number in (3, 13 + delay, 23 + delay, 33 + delay))
    assert len(fits["late"]) == len(fits["at once"]) - (33 + delay >= 38)
    for one, other in zip(fits["late"], fits["at once"], strict=False):
        # L-BFGS stops at a relative gain of 2e-9, so that parameters agree to its root
        for name in ("lengthscale", "variance", "noise", "offset", "scale"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4)


def test_a_fit_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = learner("surrogate.fit_delay=1")
    for site in range(13):
        taught.learn(site, description(smooth(site)))

    def broken(self: Belief) -> FitRecord:
        raise MemoryError("too many")

    monkeypatch.setattr(Belief, "fit", broken)
    assert taught.learn(13, description(smooth(13))).asked
    taught.go_on()
    with pytest.raises(MemoryError, match="too many"):
        taught.learn(14, description(smooth(14)))
    taught.close()
