# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from probewise.image import network_input, resample


def reference_scale(image):
    """Offset and scale by NumPy and SciPy in float64."""
    low, high = np.percentile(image.astype(np.float64), (0.5, 99.5))
    noise = 0.0
    if min(image.shape) >= 3:
        kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
        rough = np.abs(ndimage.convolve(image.astype(np.float64), kernel)[1:-1, 1:-1])
        noise = np.median(rough) / 0.6744897501960817
    scale = max(high - low, 8 * noise)
    return low, scale if scale > 0 else 1.0


def pictures():
    rng = np.random.default_rng(5)
    smooth = np.sin(np.arange(200) / 7)[:, None] * np.cos(np.arange(150) / 9)
    hot = rng.normal(100, 5, (128, 128))
    hot[3, 4] = 1e9
    return {
        "noise": rng.normal(1000, 30, (256, 256)),
        "counts": rng.poisson(3, (97, 131)) * 10.0 + 100,
        "smooth": smooth,
        "dim": smooth * 0.01 + rng.normal(0, 1, smooth.shape),
        "hot pixel": hot,
        "two levels": np.where(rng.random((90, 90)) < 0.3, 2.0, -1.0),
        "heavy tail": rng.standard_cauchy((120, 120)) ** 3,
        "one pixel": np.array([[4.0]]),
        "thin": rng.normal(0, 1, (2, 50)),
        "large offset": rng.normal(1e6, 10, (100, 100)),
    }


@pytest.mark.parametrize("name", pictures())
def test_scale_is_that_of_numpy_percentiles_and_the_kernel(name):
    image = pictures()[name].astype(np.float32)
    values, scale = network_input(image)
    offset, range_ = reference_scale(image)
    # Order statistics are exact; the kernel sums counts in float32 (2^-24 of an offset of 1e6, times 16 / 6).
    assert scale.offset == pytest.approx(offset, rel=1e-6)
    assert scale.scale == pytest.approx(range_, rel=1e-5 if name != "large offset" else 2e-2)
    expected = (image.astype(np.float64) - scale.offset) / scale.scale
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    assert values.dtype == np.float32


def test_noise_alone_fills_an_eighth_of_the_range_and_atoms_fill_it():
    rng = np.random.default_rng(1)
    vacuum, _ = network_input(rng.normal(100, 3, (256, 256)).astype(np.float32))
    assert vacuum.std() == pytest.approx(1 / 8, rel=0.03)  # the median of 65,000 values is good to about 1 %
    y, x = np.indices((256, 256))
    lattice = 500 * np.exp(-((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2) / 18) + rng.normal(100, 3, (256, 256))
    atoms, _ = network_input(lattice.astype(np.float32))
    assert np.percentile(atoms, 99.5) == pytest.approx(1, abs=1e-5)


def test_flat_frames_become_zero_and_the_image_may_be_its_own_output():
    flat = np.full((20, 30), 7.0, dtype=np.float32)
    values, scale = network_input(flat)
    assert (scale.offset, scale.scale) == (7.0, 1.0)
    assert not values.any()
    image = np.random.default_rng(0).normal(0, 1, (40, 40)).astype(np.float32)
    expected, _ = network_input(image)
    found, _ = network_input(image, out=image)
    assert found is image
    np.testing.assert_array_equal(image, expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 90), st.integers(3, 90), st.floats(0.1, 1e3), st.floats(-1e3, 1e3), st.integers(0, 2**31))
def test_gain_and_offset_of_the_detector_leave_the_network_input_alone(rows, cols, gain, offset, seed):
    image = np.random.default_rng(seed).gamma(2.0, 1.0, (rows, cols)).astype(np.float32)
    plain, _ = network_input(image)
    moved, _ = network_input((gain * image + offset).astype(np.float32))
    # float32 of gain * image + offset: 2^-24 of up to 1e3 + 1e4, over a range of at least 0.1 * 0.1
    np.testing.assert_allclose(moved, plain, atol=1e-3 * (1 + abs(offset) / gain / 100))


def test_wrong_images_are_refused():
    good = np.zeros((4, 4), dtype=np.float32)
    with pytest.raises(TypeError, match="image is a float64 array"):
        network_input(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"image is a float32 array of shape \(4,\)"):
        network_input(good[0])
    with pytest.raises(ValueError, match="at least 1 x 1"):
        network_input(np.zeros((0, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="not C-contiguous"):
        network_input(good.T[:2])
    with pytest.raises(ValueError, match="expected length 4 on axis 1"):
        network_input(good, out=np.zeros((4, 5), dtype=np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        image = good.copy()
        image[2, 1] = bad
        with pytest.raises(ValueError, match="not finite"):
            network_input(image)


def area_average(image, shape):
    """Slow: every pixel cut into the common multiple of both grids, then averaged."""
    big = np.repeat(np.repeat(image, shape[0], axis=0), shape[1], axis=1)
    rows, cols = image.shape
    return big.reshape(shape[0], rows, shape[1], cols).mean(axis=(1, 3))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_shrinking_is_the_exact_mean_over_the_new_pixel(rows, cols, data):
    shape = (data.draw(st.integers(1, rows)), data.draw(st.integers(1, cols)))
    image = np.random.default_rng(rows * 100 + cols).normal(0, 1, (rows, cols)).astype(np.float32)
    found = resample(image, shape)
    np.testing.assert_allclose(found, area_average(image.astype(np.float64), shape), atol=2e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 30), st.integers(0, 30))
def test_growing_is_linear_between_pixel_centres(rows, cols, more_rows, more_cols):
    shape = (rows + more_rows, cols + more_cols)
    image = np.random.default_rng(rows * 100 + cols).normal(0, 1, (rows, cols)).astype(np.float32)
    y, x = ((np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(shape, image.shape, strict=True))
    grid = np.meshgrid(y, x, indexing="ij")
    expected = ndimage.map_coordinates(image.astype(np.float64), grid, order=1, mode="nearest")
    np.testing.assert_allclose(resample(image, shape), expected, atol=2e-6)


def test_one_axis_may_shrink_while_the_other_grows():
    image = np.random.default_rng(3).normal(0, 1, (30, 20)).astype(np.float32)
    both = resample(image, (10, 50))
    np.testing.assert_allclose(both, resample(resample(image, (10, 20)), (10, 50)), atol=1e-6)
    np.testing.assert_array_equal(resample(image, image.shape), image)


def test_resample_writes_where_it_is_told_and_refuses_what_does_not_fit():
    image = np.ones((6, 6), dtype=np.float32)
    out = np.empty((3, 3), dtype=np.float32)
    assert resample(image, (3, 3), out=out) is out
    assert (out == 1).all()
    with pytest.raises(ValueError, match=r"shape is \(0, 3\)"):
        resample(image, (0, 3))
    with pytest.raises(ValueError, match=r"out has shape \(3, 3\), expected \(3, 4\)"):
        resample(image, (3, 4), out=out)
    with pytest.raises(ValueError, match="overlaps"):
        resample(image, (6, 6), out=image)
    with pytest.raises(TypeError, match="float64"):
        resample(image.astype(np.float64), (3, 3))
