# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from probewise import acquisition as aq
from reference import acquisition as reference


@pytest.mark.parametrize(
    ("mean", "std", "best", "xi", "pi", "ei"),
    [
        (0.5, 0.2, 0.4, 0.01, 0.6736447797121, 0.1327334226664),
        (0.5, 0.2, 0.8, 0.01, 0.06057075800206, 0.005224865158759),
        (0.1, 0.05, 0.9, 0.0, 6.388754400538e-58, 1.981184352919e-60),
    ],
)
def test_published_values(mean, std, best, xi, pi, ei):
    mean, std = np.array([mean]), np.array([std])
    assert aq.probability_of_improvement(mean, std, best=best, xi=xi)[0] == pytest.approx(pi, rel=1e-9)
    assert aq.expected_improvement(mean, std, best=best, xi=xi)[0] == pytest.approx(ei, rel=1e-9)
    assert aq.log_expected_improvement(mean, std, best=best, xi=xi)[0] == pytest.approx(np.log(ei), rel=1e-9)


@pytest.mark.parametrize(
    ("z", "expected"),
    [(-5, -16.74430116266099), (-10, -55.55312203612236), (-30, -457.724653760598), (-100, -5010.12957880025)],
)
def test_log_improvement_in_the_tail(z, expected):
    value = aq.log_expected_improvement(np.array([float(z)]), np.array([1.0]), best=0.0)[0]
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("z", [-1e6, -1e4, -300.0, -37.5, -8.0, -5.0, -4.999, -3.0, -1.0, -0.1])
def test_log_improvement_against_an_integral_that_does_not_cancel(z):
    # h(z) = phi(z) / z^2 * integral of s exp(-s - s^2 / (2 z^2)) over s > 0
    integral, _ = quad(lambda s: s * np.exp(-s - s**2 / (2 * z**2)), 0, np.inf, epsabs=0, epsrel=1e-12)
    expected = -(z**2) / 2 - np.log(2 * np.pi) / 2 - 2 * np.log(-z) + np.log(integral)
    value = aq.log_expected_improvement(np.array([z]), np.array([1.0]), best=0.0)[0]
    assert value == pytest.approx(expected, rel=1e-11, abs=1e-11)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), best=st.floats(-2, 2), xi=st.floats(0, 1))
def test_functions_match_their_definitions(seed, best, xi):
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=30), rng.uniform(0.3, 2, size=30)
    pairs = [
        (aq.upper_confidence_bound(mean, std, beta=xi), mean + xi * std),
        (aq.expected_improvement(mean, std, best=best, xi=xi), reference.expected_improvement(mean, std, best, xi)),
        (
            aq.probability_of_improvement(mean, std, best=best, xi=xi),
            reference.probability_of_improvement(mean, std, best, xi),
        ),
        (aq.straddle(mean, std, threshold=best, beta=xi), xi * std - np.abs(mean - best)),
        (
            aq.target_probability(mean, std, low=best, high=best + xi),
            reference.target_probability(mean, std, best, best + xi),
        ),
        (aq.max_std(mean, std), std),
    ]
    for ours, theirs in pairs:
        # both are differences of numbers near one: a few units in the last place of that
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-15)


def test_expected_improvement_does_not_rank_like_std_below_the_incumbent():
    # Improvement clipped before z is formed leaves sigma phi(0) for every candidate below the incumbent.
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(-3, 0, 200), rng.uniform(0.1, 0.5, 200)
    by_ei = np.argsort(aq.expected_improvement(mean, std, best=1.0))
    by_log = np.argsort(aq.log_expected_improvement(mean, std, best=1.0))
    assert not np.array_equal(by_ei, np.argsort(std))
    np.testing.assert_array_equal(by_log[-50:], by_ei[-50:])
    assert np.corrcoef(by_ei.argsort(), std.argsort().argsort())[0, 1] < 0.99


def test_a_better_mean_and_a_larger_margin_move_improvement_the_right_way():
    mean, std = np.linspace(-1, 1, 50), np.full(50, 0.3)
    for function in (aq.expected_improvement, aq.log_expected_improvement, aq.probability_of_improvement):
        assert np.all(np.diff(function(mean, std, best=0.2)) > 0)
        # the sign of the margin: a harder goal is never likelier
        assert np.all(function(mean, std, best=0.2, xi=0.1) < function(mean, std, best=0.2))


def test_no_deviation_leaves_the_sure_gain():
    mean, std = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    np.testing.assert_array_equal(aq.expected_improvement(mean, std, best=2.0), [0, 0, 1])
    np.testing.assert_array_equal(aq.probability_of_improvement(mean, std, best=2.0), [0, 0, 1])
    np.testing.assert_array_equal(aq.log_expected_improvement(mean, std, best=2.0), [-np.inf, -np.inf, 0])
    np.testing.assert_array_equal(aq.target_probability(mean, std, low=1.5, high=2.5), [0, 1, 0])


def test_target_probability_keeps_its_digits_in_both_tails():
    low_tail = aq.target_probability(np.array([20.0]), np.array([1.0]), low=-np.inf, high=0.0)[0]
    high_tail = aq.target_probability(np.array([-20.0]), np.array([1.0]), low=0.0, high=np.inf)[0]
    assert low_tail == high_tail == pytest.approx(2.7536241186e-89, rel=1e-9)  # Phi(-20)


def test_float32_maps_are_taken_as_they_are():
    mean, std = np.array([0.1, 0.7], dtype=np.float32), np.array([0.2, 0.1], dtype=np.float32)
    ours = aq.expected_improvement(mean, std, best=0.5)
    np.testing.assert_array_equal(ours, aq.expected_improvement(mean.astype(float), std.astype(float), best=0.5))


FUNCTIONS = {
    "ucb": lambda m, s: aq.upper_confidence_bound(m, s),
    "ei": lambda m, s: aq.expected_improvement(m, s, best=0.5),
    "log-ei": lambda m, s: aq.log_expected_improvement(m, s, best=0.5),
    "pi": lambda m, s: aq.probability_of_improvement(m, s, best=0.5),
    "straddle": lambda m, s: aq.straddle(m, s, threshold=0.5),
    "target": lambda m, s: aq.target_probability(m, s, low=0.0, high=1.0),
    "max-std": lambda m, s: aq.max_std(m, s),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-12])
def test_maps_that_are_no_posterior_are_refused(name, dtype, bad):
    for which in ("mean", "std"):
        maps = {"mean": np.zeros(5, dtype), "std": np.ones(5, dtype)}
        maps[which][3] = bad
        if which == "mean" and bad == -1e-12:
            assert np.isfinite(FUNCTIONS[name](maps["mean"], maps["std"])).all()
            continue
        with pytest.raises(ValueError, match=rf"^{which} holds .* at 3, expected finite numbers"):
            FUNCTIONS[name](maps["mean"], maps["std"])
    assert FUNCTIONS[name](np.empty(0, dtype), np.empty(0, dtype)).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, s: aq.upper_confidence_bound(m, s, beta=-1.0), ValueError, "beta is -1"),
        (lambda m, s: aq.upper_confidence_bound(m, s, beta="1"), TypeError, "beta is '1'"),
        (lambda m, s: aq.expected_improvement(m, s, best=np.nan), ValueError, "best is nan"),
        (lambda m, s: aq.straddle(m, s, threshold=np.inf), ValueError, "threshold is inf"),
        (lambda m, s: aq.target_probability(m, s, low=2.0, high=1.0), ValueError, "expected low not above high"),
        (lambda m, s: aq.max_std(m.astype(np.int64), s), TypeError, "mean is a int64 array"),
        (lambda m, s: aq.max_std(m, s[:2]), ValueError, "std is a float64 array of shape"),
        (lambda m, s: aq.max_std(m[None], s), ValueError, "mean is"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros(3), np.ones(3))
