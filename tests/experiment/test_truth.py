# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.experiment.baselines import WITHOUT_VALUES, baseline_order, recall_of
from probewise.experiment.history import History, StepRecord
from probewise.experiment.states import Plan, SiteState
from probewise.experiment.truth import Target, recall_curve, similarity
from probewise.types import SiteLattice, Truth, TruthObject

SITES = SiteLattice((6, 7), 2.0, (12.0, 14.0))


def history(visits: list[int], states: list[SiteState] | None = None) -> History:
    found = History(SITES, np.zeros(SITES.size, dtype=bool), survey_ns=50)
    for number, site in enumerate(visits):
        state = SiteState.MEASURED if states is None else states[number]
        found.steps.append(StepRecord(number, Plan(site, "ucb"), state, None, 100, 0.0, 0.0, 0))
    return found


def test_recall_by_hand() -> None:
    interesting = np.zeros(SITES.size, dtype=bool)
    interesting[[3, 5, 9, 40]] = True
    rejected = [SiteState.MEASURED, SiteState.REJECTED, SiteState.MEASURED]
    curve = recall_curve(history([3, 5, 8], rejected), interesting, 1000.0)
    assert curve[:, 0] == pytest.approx(np.array([0, 1, 1, 2]) / 42)
    assert curve[:, 1] == pytest.approx([0.05, 0.15, 0.25, 0.35])
    assert curve[:, 2] == pytest.approx([0, 0.25, 0.25, 0.25])


def test_a_replay_has_no_raster_equivalents() -> None:
    assert np.isnan(recall_curve(history([1]), np.ones(SITES.size, dtype=bool), None)[:, 1]).all()


def specimen() -> Truth:
    dot = TruthObject("dot", np.array([[1.0, 1.0]]), 1.0, "count")
    line = TruthObject("wall", np.stack([np.full(70, 7.0), np.linspace(0.1, 13.9, 70)], axis=1), 0.2, "nm")
    return Truth("test", 0, (12.0, 14.0), (dot, line), 1.0, np.zeros((6, 7), dtype=np.int16), 2.0, ("bulk",))


def test_objects_are_found_piece_by_piece() -> None:
    target = Target.of_specimen(specimen(), SITES)
    assert target.objects == 2
    assert np.flatnonzero(target.interesting).tolist() == [0, *range(21, 28)]
    assert target.objects_found(history([0])) == 1
    assert target.objects_found(history([21, 22])) == 0
    assert target.objects_found(history([21, 22, 23, 0])) == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=42, max_size=42))
def test_objects_of_a_map_against_flood_fill(cells: list[bool]) -> None:
    interesting = np.array(cells).reshape(6, 7)
    target = Target.of_map(np.zeros(42), interesting.ravel(), (6, 7))
    todo = {(int(r), int(c)) for r, c in zip(*np.nonzero(interesting), strict=True)}
    sizes = []
    while todo:
        front, size = [todo.pop()], 0
        while front:
            row, col = front.pop()
            size += 1
            near = {(row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & todo
            todo -= near
            front += near
        sizes.append(size)
    assert target.objects == sum(size >= 3 for size in sizes)
    assert target.objects_found(history(list(range(42)))) == target.objects


def test_similarity() -> None:
    rng = np.random.default_rng(0)
    target = rng.random(100)
    assert similarity(target, target, (10, 10)) == pytest.approx(1.0)
    worse = similarity(rng.random(100), target, (10, 10))
    assert worse is not None
    assert worse < 0.5
    assert similarity(target[:36], target[:36], (6, 6)) is None
    assert similarity(target, np.ones(100), (10, 10)) is None


@pytest.mark.parametrize("policy", WITHOUT_VALUES)
def test_a_baseline_visits_every_free_site_once(policy: str) -> None:
    excluded = np.zeros(SITES.size, dtype=bool)
    excluded[[0, 7, 13]] = True
    order = baseline_order(policy, SITES, excluded, 3, np.random.default_rng(1).random(SITES.size))
    assert sorted(order.tolist()) == np.flatnonzero(~excluded).tolist()


def test_recall_of_a_baseline_is_that_of_its_order() -> None:
    rng = np.random.default_rng(2)
    interesting = rng.random(SITES.size) < 0.3
    excluded = np.zeros(SITES.size, dtype=bool)
    curve = recall_of(
        "random", interesting, SITES, excluded=excluded, seed=5, steps=20, survey_ns=50, site_ns=100, full_raster_ns=1e3
    )
    order = baseline_order("random", SITES, excluded, 5)[:20]
    assert np.allclose(curve, recall_curve(history(order.tolist()), interesting, 1e3))


def test_survey_threshold_takes_the_rare_side_first() -> None:
    means = np.full(SITES.size, 10.0)
    means[[4, 17]] = [2.0, 1.0]
    order = baseline_order("survey-threshold", SITES, np.zeros(SITES.size, dtype=bool), 0, means)
    assert order[:2].tolist() == [17, 4]
    order = baseline_order("survey-threshold", SITES, np.zeros(SITES.size, dtype=bool), 0, -means)
    assert order[:2].tolist() == [17, 4]


def test_what_is_no_baseline() -> None:
    with pytest.raises(ValueError, match="policy is 'ucb', expected one of raster"):
        baseline_order("ucb", SITES, np.zeros(SITES.size, dtype=bool), 0)
    with pytest.raises(ValueError, match="survey_means is None"):
        baseline_order("survey-threshold", SITES, np.zeros(SITES.size, dtype=bool), 0)
