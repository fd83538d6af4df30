# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probewise as pw
from probewise.descriptors import spectrum_frequencies, window_centres
from probewise.descriptors.spectra import (
    default_window_px,
    evenly_spread,
    spectra_at,
    spectrum_patches,
    spread_corners,
    window_corners,
)


def study_spectrum(window, crop=2):
    """SCIENCE 3.3 as written: sqrt of the outer product of Hamming windows, |F|, centre crop."""
    side = len(window)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(side) / (side - 1))
    whole = np.abs(np.fft.fftshift(np.fft.fft2(window * np.sqrt(np.outer(hamming, hamming)))))
    keep = side // (2 * crop)
    return whole[side // 2 - keep : side // 2 + keep, side // 2 - keep : side // 2 + keep]


def random_image(shape, seed=0):
    return np.random.default_rng(seed).poisson(40, shape).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(
    window=st.sampled_from([8, 10, 16, 30, 32]),
    step=st.integers(3, 20),
    crop=st.sampled_from([1, 2, 4]),
    rows=st.integers(33, 60),
    cols=st.integers(33, 60),
    inclusive=st.booleans(),
)
def test_spectra_are_the_right_half_of_the_study_s(window, step, crop, rows, cols, inclusive):
    image = random_image((rows, cols))
    spectra = pw.sliding_spectra(image, window, step, crop=crop, inclusive=inclusive)
    corners = window_corners((rows, cols), window, step, inclusive=inclusive)
    keep = window // (2 * crop)
    assert spectra.shape == (len(corners), 2 * keep * (keep + 1))
    for row, (y, x) in zip(spectra, corners, strict=True):
        expected = study_spectrum(image[y : y + window, x : x + window].astype(float), crop)
        # float32 transform: rounding grows with the sum of all pixels
        assert np.allclose(row.reshape(2 * keep, keep + 1)[:, :keep], expected[:, keep:], atol=2e-6 * expected.max())


def test_the_half_left_out_is_the_mirror_image_of_the_half_kept():
    image = random_image((32, 32))
    half = pw.sliding_spectra(image, 32, 32)[0].reshape(16, 9)
    whole = study_spectrum(image.astype(float))
    assert np.allclose(half[1:, 1:8][::-1, ::-1], whole[1:, 1:8], rtol=0, atol=2e-6 * whole.max())


def test_log_convention_is_log1p_of_the_other():
    image = random_image((64, 64))
    plain = pw.sliding_spectra(image, 32, 16)
    assert np.array_equal(pw.sliding_spectra(image, 32, 16, convention="log"), np.log1p(plain))


def test_more_windows_than_a_block_change_nothing():
    image = random_image((80, 80))
    spectra = pw.sliding_spectra(image, 16, 8)
    alone = np.concatenate([pw.sliding_spectra(image[y : y + 16].copy(), 16, 8) for y in range(0, 65, 8)])
    # a batch may be transformed in another order of operations
    assert np.allclose(spectra, alone, atol=1e-6 * float(alone.max()))
    assert np.array_equal(spectra, pw.sliding_spectra(image, 16, 8))


def test_frequency_of_a_sinusoid():
    pixel = np.arange(64)
    image = (10 + np.cos(2 * np.pi * (6 * pixel[:, None] + 9 * pixel[None, :]) / 64)).astype(np.float32)
    spectra, means = spectra_at(image, np.zeros((1, 2), np.int64), 64, subtract_mean=True)
    assert np.allclose(spectrum_frequencies(64)[spectra[0].argmax()], (6 / 64, 9 / 64))
    assert means[0] == pytest.approx(10, abs=0.01)  # the taper leaks a little of the sinusoid


def test_scale_and_mean_are_taken_off():
    image = random_image((32, 32))
    corner = np.zeros((1, 2), np.int64)
    twice, means = spectra_at(image, corner, 32, scale=2.0, subtract_mean=True)
    reference = study_spectrum(2 * (image.astype(float) - means[0]))
    assert np.allclose(twice[0].reshape(16, 9)[:, :8], reference[:, 8:], atol=1e-5 * reference.max())
    taper = np.sqrt(np.outer(np.hamming(32), np.hamming(32)))
    assert means[0] == pytest.approx(float((image * taper).sum() / taper.sum()), rel=1e-6)  # float32 products


def test_centres_inclusive_and_the_study_s_rule():
    assert len(window_centres((1024, 1024), 128, 32, inclusive=False)) == 28 * 28
    assert len(window_centres((1024, 1024), 128, 32)) == 29 * 29
    assert len(window_centres((400, 400), 128, 64)) == 25
    assert np.allclose(window_centres((64, 32), 32, 32), [(0.25, 0.5), (0.75, 0.5)])


@settings(deadline=None, max_examples=50)
@given(rows=st.integers(32, 300), cols=st.integers(32, 300), step=st.integers(1, 64))
def test_spread_windows_reach_both_edges_at_about_the_step(rows, cols, step):
    corners = spread_corners((rows, cols), 32, step)
    for axis, side in enumerate((rows, cols)):
        places = np.unique(corners[:, axis])
        gaps = np.diff(places)
        assert places[0] == 0
        assert places[-1] == side - 32 or (len(places) == 1 and side - 32 <= step / 2)
        assert (np.abs(gaps - step) <= step / 2 + 1).all()
        assert len(gaps) == 0 or np.ptp(gaps) <= 1


def test_default_window_holds_several_periods():
    assert default_window_px(0.02, (400, 400)) == 128
    assert default_window_px(0.02, (64, 90)) == 64
    assert default_window_px(0.2, (500, 500)) == 16
    for pixel_nm in (0.011, 0.017, 0.033):
        assert default_window_px(pixel_nm, (4096, 4096)) * pixel_nm == pytest.approx(2.56, rel=0.12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image": random_image((64, 64)).astype(float)}, TypeError, "image is float64, expected float32"),
        ({"image": [[1.0]]}, TypeError, "image is a list, expected a float32 array"),
        ({"image": random_image((64, 64))[:, ::2]}, ValueError, "not C-contiguous"),
        ({"image": random_image((3, 64, 64))}, ValueError, r"image has shape \(3, 64, 64\)"),
        ({"window": 31}, ValueError, "window is 31, expected an even number"),
        ({"window": 80}, ValueError, "window is 80 .* expected one that fits in 64 x 64"),
        ({"step": 0}, ValueError, "step is 0"),
        ({"crop": 0}, ValueError, "crop is 0"),
        ({"crop": 17}, ValueError, "crop is 17, expected 1 to 16"),
        ({"convention": "power"}, ValueError, "convention is 'power'"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"image": random_image((64, 64)), "window": 32, "step": 16} | change
    with pytest.raises(error, match=message):
        pw.sliding_spectra(**arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_pixel_is_refused(bad):
    image = random_image((64, 64))
    image[50, 50] = bad
    with pytest.raises(ValueError, match=r"non-finite pixel in the window at \(32, 32\)"):
        pw.sliding_spectra(image, 32, 16)


def test_bad_pixel_size_is_refused():
    with pytest.raises(ValueError, match="pixel_nm is 0"):
        default_window_px(0.0, (64, 64))


def whole_spectrum(window):
    """(side, side) by numpy's transform: tapered mean off, central half, frequency 0 in the middle, floor off."""
    count = len(window)
    taper = np.sqrt(np.hamming(count)).astype(np.float64)
    weights = np.outer(taper, taper)
    values = (window - (window * weights).sum() / weights.sum()) * weights
    keep = count // 4
    full = np.fft.fftshift(np.abs(np.fft.fft2(values)))
    middle = count // 2
    square = full[middle - keep + 1 : middle + keep, middle - keep + 1 : middle + keep].copy()
    half = full[middle - keep : middle + keep, middle : middle + keep + 1].copy()
    for part, rows, cols in ((square, keep - 1, keep - 1), (half, keep, 0)):
        y, x = np.indices(part.shape)
        part[np.hypot(y - rows, x - cols) < 2] = 0
    floor = np.median(half)
    length = np.hypot(np.linalg.norm(np.maximum(half - 2 * floor, 0)), 0.4 * floor * np.sqrt(half.size))
    return np.maximum(square - 2 * floor, 0) / length * len(square) / np.sqrt(2)


@given(st.sampled_from([16, 20, 32]), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_spectra_as_pictures_are_numpys(window, seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: 2 * window, : 2 * window]
    image = (3 + np.cos(x * random.uniform(1, 2) + y) + random.normal(0, 0.1, y.shape)).astype(np.float32)
    corners = np.array([[0, 0], [3, window]])
    got = spectrum_patches(image, corners, window)
    side = window // 2 - 1
    assert got.shape == (2, side, side)
    for patch, (row, col) in zip(got, corners, strict=True):
        part = image[row : row + window, col : col + window].astype(np.float64) / image.mean(dtype=np.float64)
        assert np.allclose(patch, whole_spectrum(part), atol=2e-4)  # float32 transforms against float64
        assert np.allclose(patch, patch[::-1, ::-1], atol=1e-4)


def test_a_spectrum_as_picture_does_not_see_shifts_brightness_or_emptiness():
    y, x = np.mgrid[:96, :96]
    image = (10 + 2 * np.cos(2 * np.pi * x / 8) + np.cos(2 * np.pi * (y + x) / 6)).astype(np.float32)
    one, other = spectrum_patches(image, np.array([[0, 0], [5, 11]]), 64)
    assert np.sqrt((one**2).mean()) == pytest.approx(1, abs=0.1)  # half a spectrum and its mirror, the axis once
    assert np.abs(one - other).max() < 0.02 * one.max()  # the taper cuts the pattern elsewhere
    assert np.allclose(spectrum_patches(7 * image, np.array([[0, 0]]), 64)[0], one, atol=1e-4)
    assert not spectrum_patches(0 * image, np.array([[0, 0]]), 64).any()


@pytest.mark.parametrize("window", [12, 18])
def test_a_spectrum_as_picture_needs_a_window_of_fours(window):
    with pytest.raises(ValueError, match=f"window is {window}, expected a multiple of 4 pixels, at least 16"):
        spectrum_patches(np.ones((64, 64), np.float32), np.zeros((1, 2), np.int64), window)


def test_windows_of_odd_sides_are_spread_too():
    corners = evenly_spread((20, 31), 7, 6)
    assert corners.max(axis=0).tolist() == [13, 24]
    assert corners.min(axis=0).tolist() == [0, 0]
    assert len(corners) == 3 * 5
    with pytest.raises(ValueError, match="window is 21, expected one that fits in 20 x 31"):
        evenly_spread((20, 31), 21, 6)
