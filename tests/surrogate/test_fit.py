# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.optimize import approx_fprime

import probewise as pw
from probewise._core.surrogate import Likelihood

KERNELS = ("rbf", "matern12", "matern32", "matern52", "rq", "product-matern12", "product-matern32", "product-matern52")


def drawn(kernel, lengthscale, *, shape=(20, 20), noise=0.02, seed=0, count=150, spacing=(1.0, 1.0), scale=1.0):
    """A process that was told noisy values of a function drawn from the same kernel."""
    lattice = pw.Lattice(shape, spacing)
    prior = pw.GaussianProcess(pw.Lattice(shape), kernel=kernel, lengthscale=lengthscale)
    rng = np.random.default_rng(seed)
    told = rng.permutation(lattice.size)[:count]
    values = prior.sample((seed, 0))[told] + np.sqrt(noise) * rng.normal(size=count)
    gp = pw.GaussianProcess(
        lattice, kernel=kernel, lengthscale=2.0 * spacing[0], variance=scale**2, noise=1e-2 * scale**2
    )
    gp.tell(told, scale * values)
    return gp


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("own_noise", [0.0, 0.3])
@pytest.mark.parametrize("count", [5, 40])
def test_gradient_matches_differences_for_each_kernel(kernel, count, own_noise):
    rng = np.random.default_rng(1)
    points, values = rng.uniform(0, 5, size=(count, 3)), rng.normal(size=count)
    likelihood = Likelihood(points, values, kernel, 1.7, own_noise * rng.uniform(size=count))
    logs = np.log([1.3, 0.8, 2.1, 1.4, 0.07])

    def value(x):
        return likelihood.evaluate(np.exp(x[:3]), float(np.exp(x[3])), float(np.exp(x[4])))[0]

    _, gradient = likelihood.evaluate(np.exp(logs[:3]), float(np.exp(logs[3])), float(np.exp(logs[4])))
    # forward differences of 1e-7: truncation about 1e-7 of the curvature, rounding 1e-14 / 1e-7
    np.testing.assert_allclose(gradient, approx_fprime(logs, value, 1e-7), rtol=1e-4, atol=1e-4)


def test_fit_finds_what_the_values_were_drawn_from():
    results = [drawn("matern52", 4.0, seed=seed).fit() for seed in range(6)]
    assert all(result.stable for result in results)
    # one draw on a field of five lengthscales says little of the scale: the median of six does
    assert 2.8 < np.median([result.lengthscale for result in results]) < 5.6
    assert 0.01 < np.median([result.noise for result in results]) < 0.04


def test_fit_raises_the_posterior_density_and_moves_the_maps():
    gp = drawn("matern52", 4.0)
    before, mean = gp.log_marginal_likelihood(), gp.mean.copy()
    result = gp.fit()
    assert gp.log_marginal_likelihood() > before
    assert gp.log_marginal_likelihood() == pytest.approx(result.log_marginal_likelihood, rel=1e-9)
    assert (gp.lengthscale, gp.variance, gp.noise) == (result.lengthscale, result.variance, result.noise)
    assert not np.array_equal(gp.mean, mean)


def test_noise_that_came_with_the_values_is_not_fitted_again():
    rng = np.random.default_rng(5)
    lattice = pw.Lattice((20, 20))
    told = rng.permutation(lattice.size)[:200]
    own = rng.choice([0.01, 1.0], size=200)
    truth = pw.GaussianProcess(lattice, kernel="matern52", lengthscale=4.0).sample((5, 0))[told]
    values = truth + np.sqrt(own) * rng.normal(size=200)
    aware, blind = (pw.GaussianProcess(lattice, kernel="matern52", lengthscale=2.0) for _ in range(2))
    aware.tell(told, values, noise=own)
    blind.tell(told, values)
    result = aware.fit()
    assert result.log_marginal_likelihood == pytest.approx(aware.log_marginal_likelihood(), rel=1e-9)
    # all noise is in `own`, half the mean of the values' spread without it
    assert result.noise < 0.1 < 0.3 < blind.fit().noise


@pytest.mark.parametrize(("scale", "spacing"), [(2.0**20, 1.0), (2.0**-30, 4.0), (1e6, 0.37), (1.0, 1e-9)])
def test_scaling_values_and_coordinates_scales_the_result_and_nothing_else(scale, spacing):
    plain = drawn("matern52", 3.0).fit()
    scaled = drawn("matern52", 3.0, spacing=(spacing, spacing), scale=scale).fit()
    # powers of two are exact; others differ by the optimiser's path from the last bit on
    exact = {"rel": 1e-12} if scale in (2.0**20, 2.0**-30) else {"rel": 1e-3}
    assert scaled.lengthscale / spacing == pytest.approx(plain.lengthscale, **exact)
    assert scaled.variance / scale**2 == pytest.approx(plain.variance, **exact)
    assert scaled.noise / scale**2 == pytest.approx(plain.noise, **exact)
    assert (scaled.stable, scaled.at_bound) == (plain.stable, plain.at_bound)


def test_one_lengthscale_an_axis_finds_the_long_one():
    lattice = pw.Lattice((20, 20))
    rng = np.random.default_rng(3)
    prior = pw.GaussianProcess(lattice, kernel="rbf", lengthscale=[2.0, 8.0])
    told = rng.permutation(400)[:150]
    gp = pw.GaussianProcess(lattice, kernel="rbf", lengthscale=[3.0, 3.0])
    gp.tell(told, prior.sample((3, 0))[told] + 0.1 * rng.normal(size=150))
    result = gp.fit()
    assert result.lengthscale.shape == (2,)
    assert result.lengthscale[1] > 2 * result.lengthscale[0]


def test_white_values_are_unstable():
    rng = np.random.default_rng(4)
    for seed in range(3):
        gp = pw.GaussianProcess(pw.Lattice((20, 20)), lengthscale=3.0)
        gp.tell(rng.permutation(400)[:120], np.random.default_rng(seed).normal(size=120))
        assert not gp.fit().stable


@pytest.mark.parametrize(
    ("told", "values"),
    [([], []), ([3], [1.0]), ([3, 9], [1.0, 2.0]), ([3, 3, 3, 3], [1.0, 2.0, 3.0, 4.0]), ([1, 2, 3, 4], [2.0] * 4)],
)
def test_nothing_to_fit_moves_nothing_and_says_so(told, values):
    gp = pw.GaussianProcess(pw.Lattice((5, 5)), lengthscale=2.5, variance=1.5, noise=0.1)
    gp.tell(np.array(told, dtype=np.int64), np.array(values))
    result = gp.fit()
    assert (result.stable, result.evaluations, result.at_bound) == (False, 0, ())
    assert (gp.lengthscale, gp.variance, gp.noise) == (2.5, 1.5, 0.1)


def test_a_linear_trend_hits_the_longest_lengthscale_or_stays_finite():
    gp = pw.GaussianProcess(pw.Lattice((10, 10)), kernel="rbf", lengthscale=2.0)
    points = pw.Lattice((10, 10)).points()
    gp.tell(np.arange(100), points[:, 0] * 1e3)
    result = gp.fit()
    assert "noise" in result.at_bound  # no noise at all: at the least noise allowed
    assert np.isfinite(gp.mean).all()


def test_points_take_the_median_neighbour_distance_as_unit():
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 20, size=(200, 2))
    values = np.sin(points[:, 0] / 3) + 0.1 * rng.normal(size=200)
    results = []
    for factor in (1.0, 1024.0):
        gp = pw.GaussianProcess(points * factor, kernel="matern52", lengthscale=2.0 * factor)
        gp.tell(np.arange(0, 200, 2), values[::2])
        results.append(gp.fit())
    assert results[1].lengthscale == pytest.approx(1024.0 * results[0].lengthscale, rel=1e-12)  # a power of two
