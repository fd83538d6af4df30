# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from probewise.experiment.belief import Belief
from probewise.experiment.config import SurrogateTable
from probewise.experiment.describer import Scalarized
from probewise.experiment.learner import Learner
from probewise.experiment.loading import load
from probewise.experiment.sites import Candidates, SiteList
from probewise.experiment.trend import CHANCE, FOLLOWED, LEAST_EXPLAINED, Trended, brightness, slope
from probewise.surrogate import GaussianProcess
from probewise.types import Context, Description, FloatArray, Frame, RasterROI, SiteLattice

SITES = SiteLattice((10, 10), 2.0, (20.0, 20.0))


def survey(image: np.ndarray) -> Frame:
    rows, cols = image.shape
    scan = RasterROI((rows, cols), 1000)
    return Frame(image[None].astype(np.float32), ("HAADF",), Context((20.0, 20.0)), scan, 0, 0, 1, image.size)


def ramp() -> np.ndarray:
    return np.add.outer(np.arange(40.0), np.zeros(40)) + 5.0


@given(seed=st.integers(0, 10_000), count=st.integers(3, 60), strength=st.floats(0, 2))
@settings(deadline=None, max_examples=60)
def test_a_slope_is_the_regression_s_where_it_is_sure(seed: int, count: int, strength: float) -> None:
    random = np.random.default_rng(seed)
    bright = random.normal(size=count)
    values = strength * bright + random.normal(size=count) + 3.0
    plain = linregress(bright, values)
    # The bounds are met exactly by no draw; near them rounding decides.
    sure = plain.rvalue**2 >= LEAST_EXPLAINED and plain.pvalue < CHANCE and count >= 8
    assert slope(bright, values) == pytest.approx(plain.slope if sure else 0.0, rel=1e-9)


def test_without_brightness_or_values_that_differ_there_is_no_slope() -> None:
    assert slope(np.ones(20), np.arange(20.0)) == 0.0
    assert slope(np.arange(20.0), np.ones(20)) == 0.0


@pytest.mark.parametrize("refine", [1, 2])
def test_brightness_is_that_of_each_candidate_s_square(refine: int) -> None:
    candidates = Candidates.over(SITES, refine)
    found = brightness(survey(ramp()), candidates)
    assert found is not None
    side = 40 // (10 * refine)
    squares = ramp().reshape(10 * refine, side, 10 * refine, side).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(found, (squares - squares.mean()) / squares.std(), rtol=1e-5, atol=1e-6)


def test_a_survey_that_shows_nothing_tells_nothing() -> None:
    candidates = Candidates.over(SITES, 2)
    assert brightness(None, candidates) is None
    assert brightness(survey(np.ones((40, 40))), candidates) is None


def test_listed_sites_have_the_brightness_of_their_own_squares() -> None:
    sites = SiteList(np.array([[3.0, 3.0], [10.0, 10.0], [17.0, 5.0]]), 2.0, (20.0, 20.0))
    found = brightness(survey(ramp()), Candidates.over(sites, 1))
    assert found is not None
    np.testing.assert_allclose(found, (np.array([3.0, 10.0, 17.0]) - 10) / np.std([3.0, 10.0, 17.0]), atol=1e-5)


def believing(values: FloatArray, known: FloatArray | None) -> Belief:
    """Twelve sites told, spread over a field of 100."""
    belief = Belief(Candidates.over(SITES, 2), SurrogateTable(), "lowest", known)
    for site in range(0, 96, 8):
        own = belief.candidates.of_site[site]
        belief.tell(site, own, values[own])
    return belief


def test_values_that_follow_the_survey_are_believed_where_nothing_was_measured() -> None:
    known = np.random.default_rng(0).normal(size=400)
    values = 2.0 + 3.0 * known
    belief = believing(values, known)
    record = belief.fit()
    assert record.slope == pytest.approx(3.0, rel=1e-6)
    np.testing.assert_allclose(belief.fine_mean, values, atol=1e-6 * np.ptp(values))
    np.testing.assert_allclose(belief.mean, values[belief.candidates.of_site].mean(axis=1), atol=1e-5)
    again = believing(values, known)
    again.apply(record)
    assert again.fine_mean.tobytes() == belief.fine_mean.tobytes()
    assert again.fine_std.tobytes() == belief.fine_std.tobytes()


def test_values_that_do_not_are_believed_as_without_a_survey() -> None:
    random = np.random.default_rng(1)
    values, known = random.normal(size=400), random.normal(size=400)
    with_survey, without = believing(values, known), believing(values, None)
    assert with_survey.fit() == without.fit()
    assert with_survey.fine_mean.tobytes() == without.fine_mean.tobytes()
    assert with_survey.posterior is with_survey.gp


def test_a_trended_posterior_is_the_process_s_with_the_trend_added() -> None:
    gp = GaussianProcess(Candidates.over(SITES, 1).space, lengthscale=2.0)
    gp.tell(np.array([3, 50]), np.array([1.0, -1.0]))
    trend = np.linspace(-1.0, 2.0, 100)
    posterior = Trended(gp, trend)
    np.testing.assert_array_equal(posterior.mean, gp.mean + trend)
    np.testing.assert_array_equal(posterior.std, gp.std)
    np.testing.assert_array_equal(posterior.values, gp.values + trend[[3, 50]])
    np.testing.assert_array_equal(posterior.sample((1, 2)), gp.sample((1, 2)) + trend)
    assert posterior.bound(slice(10, 20)) == (posterior.mean[10:20].max(), gp.std[10:20].max())
    believed = posterior.believe(70)
    assert believed.indices.tolist() == [3, 50, 70]
    np.testing.assert_allclose(believed.mean, posterior.mean, atol=1e-9)  # its own mean changes no mean
    assert believed.std[70] < posterior.std[70]
    with pytest.raises(ValueError, match="expected at least one of 100 candidates"):
        posterior.bound(slice(100, 100))


def test_a_notice_says_that_the_survey_is_followed() -> None:
    known = np.random.default_rng(0).normal(size=100)
    configuration = load()
    belief = Belief(Candidates.over(SITES, 1), configuration.surrogate, "lowest", known)
    learner = Learner(Scalarized(float), belief, configuration, 10)
    notices: list[str] = []
    for site in range(0, 100, 9):
        description = Description(
            np.zeros((1, 0), dtype=np.float32), np.full((1, 2), 0.5), {"value": 5.0 * known[site : site + 1]}
        )
        notices.extend(learner.learn(site, description).notices)
    assert FOLLOWED in notices
