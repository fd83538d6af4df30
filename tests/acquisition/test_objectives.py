# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probewise as pw
from probewise.acquisition import POLICIES, is_flat, objective, otsu_threshold
from reference import acquisition as reference


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 60), digits=st.integers(0, 6))
def test_otsu_matches_all_splits(seed, count, digits):
    values = np.round(np.random.default_rng(seed).normal(size=count), digits)
    ours, theirs = otsu_threshold(values), reference.otsu(values)
    if ours != pytest.approx(theirs, rel=1e-12):  # two splits may tie to rounding: then both are as good
        between = [between_classes(values, t) for t in (ours, theirs)]
        assert between[0] == pytest.approx(between[1], rel=1e-9)


def between_classes(values, threshold):
    low, high = values[values <= threshold], values[values > threshold]
    return len(low) * len(high) * (high.mean() - low.mean()) ** 2


def test_otsu_separates_at_least_as_well_as_the_histogram_of_scikit_image():
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 500), rng.normal(6, 1, 200)])
    ours, theirs = (between_classes(values, t) for t in (otsu_threshold(values), threshold_otsu(values, nbins=256)))
    assert theirs <= ours < 1.01 * theirs


@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
def test_otsu_scales_with_the_values(factor):
    values = np.array([0.0, 0.1, 0.2, 1.0, 1.1])
    assert otsu_threshold(values * factor) == pytest.approx(0.6 * factor)


def test_otsu_of_constant_and_wrong_values():
    assert otsu_threshold(np.array([2.0, 2.0])) == 2.0
    for wrong in (np.array([]), np.array([1.0, np.nan]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="values has shape"):
            otsu_threshold(wrong)


@pytest.mark.parametrize("name", ["cover", "discover", "reconstruct"])
def test_objectives_name_policies_that_choose_takes(name):
    plan = objective(name)
    gp = pw.GaussianProcess(pw.Lattice((6, 6)), lengthscale=2.0)
    gp.tell(np.array([1, 20]), np.array([0.0, 1.0]))
    assert plan.policy in POLICIES
    assert pw.choose(gp, plan.policy, **plan.parameters).shape == (1,)
    assert 0 <= plan.space_filling_first < 1


def test_unknown_objective_is_named():
    with pytest.raises(ValueError, match="objective is 'explore', expected one of cover, discover, reconstruct"):
        objective("explore")


def told():
    gp = pw.GaussianProcess(pw.Lattice((6, 6)), lengthscale=2.0)
    gp.tell(np.array([1, 20, 33]), np.array([0.0, 1.0, 0.1]))
    return gp


EVERY = np.ones(36, dtype=bool)


@pytest.mark.parametrize(
    ("name", "low", "high", "reason"), [("discover", -0.1, 0.1, "ambiguity"), ("reconstruct", 0.001, 0.2, "deviation")]
)
def test_stop_rules_on_scores_want_the_reason_several_times_running(name, low, high, reason):
    stop, gp = objective(name).stop, told()
    assert stop.check(gp, low, [low], free=EVERY) is None
    assert stop.check(gp, low, [low, high], free=EVERY) is None
    assert stop.check(gp, high, [low, low], free=EVERY) is None
    assert stop.check(gp, low, [high, low, low], free=EVERY).startswith(reason)


def test_cover_goes_on_while_a_free_place_may_hold_the_feature():
    stop, gp = objective("cover").stop, told()
    assert stop.check(gp, 0.0, free=EVERY) is None  # corners never looked at
    near_a_low_one = np.zeros(36, dtype=bool)
    near_a_low_one[1] = True
    assert stop.check(gp, 0.0, free=near_a_low_one).startswith("gain")
    high = np.zeros(36, dtype=bool)
    high[20] = True
    assert stop.check(gp, 0.0, free=high) is None


def test_stop_rules_say_nothing_before_two_values_or_without_a_free_site():
    gp = pw.GaussianProcess(pw.Lattice((6, 6)), lengthscale=2.0)
    assert objective("cover").stop.check(gp, -5.0, [-5.0, -5.0], free=EVERY) is None
    assert objective("cover").stop.check(told(), -5.0, [-5.0, -5.0], free=~EVERY) is None


def test_flat_scores():
    assert is_flat(np.full(10, 3.0), 1.0)
    assert is_flat(np.full(3, -np.inf), 1.0)
    assert is_flat(np.array([1.0, 1.0 + 1e-12, -np.inf]), 1.0)
    assert not is_flat(np.array([1.0, 1.001]), 1.0)
    assert not is_flat(np.array([1.0, 1.0 + 1e-12]), 1e-9)
