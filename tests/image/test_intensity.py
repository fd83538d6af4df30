# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise._core import all_finite
from probewise.image import IntensityScale, normalise, robust_scale, site_means, to_image
from probewise.types import ScanPath, SiteLattice


def path_of(pixel, shape):
    n = len(pixel)
    pixel = np.asarray(pixel, np.int32)
    return ScanPath(np.zeros((n, 2)), np.ones(n, np.int64), pixel >= 0, pixel, shape)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_pixels_hold_the_mean_of_their_samples(rows, cols, n, seed):
    rng = np.random.default_rng(seed)
    pixel = rng.integers(-1, rows * cols, n)
    values = rng.normal(100, 10, n).astype(np.float32)
    image = to_image(path_of(pixel, (rows, cols)), values, (rows, cols))
    for flat in range(rows * cols):
        here = values[pixel == flat].astype(np.float64)
        got = image.ravel()[flat]
        # The mean is taken in float64 and rounded once.
        assert np.isnan(got) if here.size == 0 else got == pytest.approx(here.mean(), rel=1e-7)


@pytest.mark.parametrize("bad", [-2, 6, 2**31 - 1])
def test_a_pixel_outside_the_image_is_refused(bad):
    with pytest.raises(ValueError, match=f"pixel holds {bad}, expected -1 .* or less than 6"):
        to_image(path_of([0, bad], (2, 3)), np.ones(2, np.float32), (2, 3))


def test_wrong_samples_are_refused():
    with pytest.raises(ValueError, match="values has 3 samples, expected 2"):
        to_image(path_of([0, 1], (2, 3)), np.ones(3, np.float32), (2, 3))
    with pytest.raises(TypeError, match="values is a float64"):
        to_image(path_of([0, 1], (2, 3)), np.ones(2), (2, 3))
    with pytest.raises(ValueError, match=r"shape is \(0, 3\)"):
        to_image(path_of([0], (2, 3)), np.ones(1, np.float32), (0, 3))


def test_outliers_do_not_move_the_scale():
    rng = np.random.default_rng(0)
    image = rng.poisson(50, (100, 100)).astype(np.float32)
    spoilt = image.copy()
    spoilt[0, :10] = 1e6
    clean, dirty = robust_scale(image), robust_scale(spoilt)
    assert dirty.offset == pytest.approx(clean.offset, abs=1)  # one count: the percentiles fall on integers
    assert dirty.scale == pytest.approx(clean.scale, abs=2)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_normalise_undoes_gain_and_offset(gain, offset):
    image = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    turned = (image.astype(np.float64) * gain + offset).astype(np.float32)
    # float32 keeps 6e-8 of the largest value, which is (gain + |offset|) against a range of about gain.
    np.testing.assert_allclose(normalise(turned), normalise(image), atol=1e-6 * (1 + abs(offset) / gain))


def test_one_scale_keeps_absolute_intensity():
    bright = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.float32)
    scale = robust_scale(bright)
    vacuum = np.random.default_rng(1).poisson(0.1, (64, 64)).astype(np.float32)
    assert normalise(vacuum, scale).max() < 0
    np.testing.assert_allclose(normalise(bright, scale) * scale.scale + scale.offset, bright, rtol=1e-5)


def test_a_constant_image_becomes_zeros():
    image = np.full((4, 4), 7, np.float32)
    assert robust_scale(image) == IntensityScale(7.0, 1.0)
    assert (normalise(image) == 0).all()


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (np.zeros((4, 4)), TypeError, "image is a float64 array, expected a float32"),
        ([[1.0]], TypeError, "image is a list"),
        (np.zeros(4, np.float32), ValueError, r"shape \(4,\)"),
        (np.zeros((0, 4), np.float32), ValueError, r"shape \(0, 4\)"),
        (np.full((2, 2), np.nan, np.float32), ValueError, "4 values that are not finite"),
    ],
)
def test_a_wrong_image_is_named(image, error, said):
    with pytest.raises(error, match=said):
        normalise(image)


@pytest.mark.parametrize("percentiles", [(-1, 99), (50, 50), (1, 101), (float("nan"), 99)])
def test_wrong_percentiles_are_refused(percentiles):
    with pytest.raises(ValueError, match="expected 0 <= low < high <= 100"):
        robust_scale(np.zeros((4, 4), np.float32), low=percentiles[0], high=percentiles[1])


def slow_site_means(image, sites):
    """Area of overlap, pixel by pixel."""
    rows, cols = image.shape
    dy, dx = sites.fov_nm[0] / rows, sites.fov_nm[1] / cols
    means = []
    for y, x in sites.centres_nm:
        total = weight = 0.0
        for r in range(rows):
            for c in range(cols):
                high = max(0.0, min((r + 1) * dy, y + sites.side_nm / 2) - max(r * dy, y - sites.side_nm / 2))
                wide = max(0.0, min((c + 1) * dx, x + sites.side_nm / 2) - max(c * dx, x - sites.side_nm / 2))
                total += image[r, c] * high * wide
                weight += high * wide
        means.append(total / weight)
    return np.array(means)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 4), st.integers(1, 4), st.floats(0.05, 40))
def test_site_means_agree_with_overlaps_pixel_by_pixel(rows, cols, site_rows, site_cols, side):
    image = np.random.default_rng(rows * 13 + cols).random((rows, cols))
    sites = SiteLattice((site_rows, site_cols), side, (20.0, 30.0))
    np.testing.assert_allclose(site_means(image, sites), slow_site_means(image, sites), rtol=1e-9)


def test_sites_as_wide_as_the_pitch_share_the_image_out():
    image = np.random.default_rng(0).random((37, 53))
    sites = SiteLattice((5, 5), 4.0, (20.0, 20.0))
    assert site_means(image, sites).mean() == pytest.approx(image.mean(), rel=1e-12)


def test_site_means_refuse_what_is_wrong():
    sites = SiteLattice((2, 2), 1.0, (4.0, 4.0))
    with pytest.raises(ValueError, match="expected finite values"):
        site_means(np.full((4, 4), np.nan), sites)
    with pytest.raises(ValueError, match=r"side_nm is 0\.0"):
        site_means(np.ones((4, 4)), SiteLattice((2, 2), 0.0, (4.0, 4.0)))


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(size, wrong):
    values = np.linspace(-3e38, 3e38, size, dtype=np.float32)
    assert all_finite(values)
    for place in (0, size // 2, size - 1):
        spoilt = values.copy()
        spoilt[place] = wrong
        assert not all_finite(spoilt)
        assert not all_finite(np.repeat(spoilt, 2)[::2])


def test_nothing_is_finite_and_other_types_are_refused():
    assert all_finite(np.empty((0, 3), dtype=np.float32))
    with pytest.raises(TypeError, match="values is a float64 array of shape \\(2,\\), expected float32"):
        all_finite(np.zeros(2))
