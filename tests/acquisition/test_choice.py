# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probewise as pw
from probewise.acquisition import POLICIES, evaluate


class Plain:
    """The protocol and nothing else, on top of a process: choose takes its generic path."""

    def __init__(self, gp):
        self._gp = gp

    mean = property(lambda self: self._gp.mean)
    std = property(lambda self: self._gp.std)
    indices = property(lambda self: self._gp.indices)
    values = property(lambda self: self._gp.values)

    def sample(self, key):
        return self._gp.sample(key)

    def believe(self, index):
        return Plain(self._gp.believe(index))

    def bound(self, tile):
        return self._gp.bound(tile)


def process(kernel="rbf", count=12, seed=0, **options):
    gp = pw.GaussianProcess(pw.Lattice((9, 11)), kernel=kernel, lengthscale=2.0, **options)
    rng = np.random.default_rng(seed)
    gp.tell(rng.permutation(99)[:count], rng.normal(size=count))
    return gp


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@pytest.mark.parametrize("policy", POLICIES)
def test_fused_and_generic_paths_agree_and_take_the_largest_score(policy, kernel):
    gp = process(kernel)
    cost = np.linspace(0, 1, 99)
    for options in ({}, {"q": 6}, {"q": 4, "method": "top"}, {"cost": cost, "cost_weight": 0.3, "allow_told": True}):
        fused = pw.choose(gp, policy, key=(3, 1), **options)
        np.testing.assert_array_equal(fused, pw.choose(Plain(gp), policy, key=(3, 1), **options))
    scores = evaluate(gp, policy, key=(3, 1))
    scores[gp.indices] = -np.inf
    assert scores[pw.choose(gp, policy, key=(3, 1))[0]] == scores.max()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    policy=st.sampled_from(POLICIES),
    q=st.integers(1, 30),
    masked=st.floats(0, 0.98),
    kernel=st.sampled_from(["rbf", "matern32"]),
    allow_told=st.booleans(),
)
def test_never_a_visited_told_or_duplicate_choice(seed, policy, q, masked, kernel, allow_told):
    rng = np.random.default_rng(seed)
    gp = process(kernel, count=8, seed=seed)
    visited = rng.random(99) < masked
    blocked = visited.copy()
    if not allow_told:
        blocked[gp.indices] = True
    if blocked.all():
        with pytest.raises(ValueError, match="no candidate is free"):
            pw.choose(gp, policy, q=q, visited=visited, allow_told=allow_told)
        return
    chosen = pw.choose(gp, policy, q=q, visited=visited, allow_told=allow_told, key=(seed, 0))
    assert chosen.dtype == np.int64
    assert len(chosen) == len(set(chosen.tolist())) == min(q, int((~blocked).sum()))
    assert not blocked[chosen].any()


def test_a_whole_run_visits_every_candidate_once_and_then_says_so():
    gp = pw.GaussianProcess(pw.Lattice((5, 6)), kernel="matern52", lengthscale=2.0)
    for step in range(30):
        gp.tell(int(pw.choose(gp, "pi", key=(0, step))[0]), float(np.sin(step)))
    assert sorted(gp.indices.tolist()) == list(range(30))
    for posterior in (gp, Plain(gp)):
        with pytest.raises(ValueError, match="no candidate is free"):
            pw.choose(posterior, "pi")


def test_ties_follow_the_key_and_not_the_corner():
    gp = pw.GaussianProcess(pw.Lattice((20, 20)), kernel="rbf", lengthscale=2.0)
    first = {int(pw.choose(gp, "ucb", key=(seed, 0))[0]) for seed in range(30)}
    assert len(first) > 20
    assert pw.choose(gp, "ucb", key=(4, 2))[0] == pw.choose(gp, "ucb", key=(4, 2))[0]


def test_believer_members_keep_apart_where_the_best_of_one_map_cluster():
    gp = pw.GaussianProcess(pw.Lattice((20, 20)), kernel="rbf", lengthscale=3.0)
    gp.tell(np.array([0, 399]), np.array([0.0, 1.0]))
    points = pw.Lattice((20, 20)).points()

    def nearest(chosen):
        apart = np.linalg.norm(points[chosen][:, None] - points[chosen][None], axis=2)
        return apart[~np.eye(len(chosen), dtype=bool)].min()

    std = gp.std.copy()
    believer = pw.choose(gp, "max-std", q=5)
    assert nearest(believer) > nearest(pw.choose(gp, "max-std", q=5, method="top"))
    assert nearest(believer) > 2.0
    np.testing.assert_array_equal(gp.std, std)  # beliefs are taken back bit for bit


def test_cost_draws_the_choice_near():
    gp = pw.GaussianProcess(pw.Lattice((10, 10)), kernel="rbf", lengthscale=1.0)
    travel = np.linalg.norm(pw.Lattice((10, 10)).points(), axis=1)
    assert pw.choose(gp, "max-std", cost=travel, cost_weight=1.0)[0] == 0
    gp.tell(0, 0.0)
    near = pw.choose(gp, "max-std", cost=travel, cost_weight=1.0)[0]
    assert travel[near] < 3.0


def test_own_scores_are_ranked_and_minus_infinity_is_last():
    gp = process()
    scores = np.full(99, -np.inf)
    free = np.setdiff1d(np.arange(99), gp.indices)
    scores[free[:3]] = [1.0, 3.0, 2.0]
    np.testing.assert_array_equal(pw.choose(gp, scores, q=3), free[[1, 2, 0]])
    assert len(pw.choose(gp, scores, q=10)) == 10


def test_defaults_come_from_the_told_values():
    gp = process()
    best = gp.mean[gp.indices].max()
    np.testing.assert_array_equal(evaluate(gp, "ei"), evaluate(gp, "ei", best=best))
    threshold = pw.acquisition.otsu_threshold(gp.values)
    np.testing.assert_array_equal(evaluate(gp, "straddle"), evaluate(gp, "straddle", threshold=threshold, beta=1.96))
    np.testing.assert_array_equal(evaluate(gp, "target"), evaluate(gp, "target", low=threshold))


def test_visited_may_be_indices():
    gp = process()
    mask = np.ones(99, dtype=bool)
    mask[[5, 60]] = False
    gp.reset()
    by_mask = pw.choose(gp, "ucb", q=5, visited=mask)
    np.testing.assert_array_equal(by_mask, pw.choose(gp, "ucb", q=5, visited=np.flatnonzero(mask)))
    assert sorted(by_mask.tolist()) == [5, 60]


@pytest.mark.parametrize(
    ("acquisition", "options", "error", "message"),
    [
        ("poi", {}, ValueError, "acquisition is 'poi', expected one of ucb"),
        ("ucb", {"xi": 0.1}, TypeError, "'xi' is not a parameter of 'ucb', expected beta"),
        ("max-std", {"beta": 1.0}, TypeError, "expected no parameters"),
        ("ucb", {"beta": np.nan}, ValueError, "beta is nan"),
        ("target", {"low": 1.0, "high": 0.0}, ValueError, "expected low not above high"),
        ("ucb", {"q": 0}, ValueError, "q is 0"),
        ("ucb", {"q": 1.5}, TypeError, "q is 1.5"),
        ("ucb", {"method": "liar"}, ValueError, "method is 'liar'"),
        ("ucb", {"visited": np.zeros(5, dtype=bool)}, ValueError, "visited is a bool array of shape"),
        ("ucb", {"visited": np.zeros(99)}, TypeError, "visited is a float64 array"),
        ("ucb", {"visited": np.array([99])}, ValueError, "visited holds 99"),
        ("ucb", {"cost": np.zeros(5), "cost_weight": 1.0}, ValueError, "cost is"),
        ("ucb", {"cost": np.full(99, np.nan)}, ValueError, "cost holds"),
        ("ucb", {"cost": [0.0] * 99}, TypeError, "cost is"),
        ("ucb", {"cost_weight": np.inf}, ValueError, "cost_weight is inf"),
        ("ucb", {"key": (-1, 0)}, ValueError, "key is"),
        (np.zeros(98), {}, ValueError, "acquisition is a float64 array of shape"),
        (np.zeros(99, dtype=np.float32), {}, TypeError, "acquisition is a float32"),
        (np.full(99, np.nan), {}, ValueError, "acquisition holds NaN at 0"),
        (np.zeros(99), {"beta": 1.0}, TypeError, "beta: parameters belong to a policy by name"),
    ],
)
def test_wrong_arguments_are_named(acquisition, options, error, message):
    with pytest.raises(error, match=message):
        pw.choose(process(), acquisition, **options)


def test_straddle_without_told_values_wants_a_threshold():
    gp = pw.GaussianProcess(pw.Lattice((4, 4)), lengthscale=1.0)
    with pytest.raises(ValueError, match="threshold of 'straddle' is missing"):
        pw.choose(gp, "straddle")
    assert pw.choose(gp, "straddle", threshold=0.0).shape == (1,)


def test_engine_step_is_tell_choose_and_path():
    gp, twin = process("matern52"), process("matern52")
    centres = pw.Lattice((9, 11), (1 / 9, 1 / 11)).points()
    offsets = np.array([[0.0, 0.0], [0.001, -0.002]])
    gp.engine.set_path(offsets, centres)
    free = int(np.setdiff1d(np.arange(99), gp.indices)[0])
    site = gp.engine.step(free, 0.7, "ucb", {"beta": 1.0}, None, False, None, 0.0, (1, 2))
    twin.tell(free, 0.7)
    assert site == pw.choose(twin, "ucb", beta=1.0, key=(1, 2))[0]
    np.testing.assert_array_equal(gp.engine.path(site), centres[site] + offsets)
    with pytest.raises(ValueError, match="index is 99"):
        gp.engine.path(99)
    with pytest.raises(ValueError, match="path has no template"):
        twin.engine.path(0)


class Broken(Plain):
    """A posterior whose maps or draw went wrong at candidate 7."""

    def __init__(self, gp, **wrong):
        super().__init__(gp)
        self._wrong = wrong

    def _map(self, name, values):
        values = values.copy()
        values[7] = self._wrong.get(name, values[7])
        return values

    mean = property(lambda self: self._map("mean", self._gp.mean))
    std = property(lambda self: self._map("std", self._gp.std))

    def sample(self, key):
        return self._map("sample", self._gp.sample(key))


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "thompson"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": np.nan}, "mean holds nan at 7, expected finite numbers"),
        ({"std": np.nan}, "std holds nan at 7, expected finite numbers that are not negative"),
        ({"std": -0.5}, "std holds -0.5 at 7"),
    ],
)
def test_a_posterior_that_is_none_is_refused(policy, wrong, message):
    broken = Broken(process(), **wrong)
    for call in (pw.choose, evaluate):
        with pytest.raises(ValueError, match=message):
            call(broken, policy)


def test_a_draw_that_holds_nan_is_refused():
    with pytest.raises(ValueError, match=r"posterior\.sample holds NaN at 7"):
        pw.choose(Broken(process(), sample=np.nan), "thompson")
