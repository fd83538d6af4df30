# SPDX-License-Identifier: BSD-3-Clause
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from probewise.descriptors import LinearWorkflow
from probewise.descriptors.gaps import LEAST_COVERED, coverage, filled, whole, without_gaps
from probewise.descriptors.spectra import spread_corners
from probewise.scan import make_scan
from probewise.types import ScanPath
from reference.lattices import frame_of, pillar_image

PATHS = ("spiral", "fermat", "lissajous")


def through(pixel, shape):
    """A path through these pixels, -1 for a masked sample."""
    pixel = np.asarray(pixel, dtype=np.int32)
    return ScanPath(np.full((len(pixel), 2), 0.5), np.full(len(pixel), 100), pixel >= 0, pixel, shape)


def scanned(image, name):
    """The frame that a path over a noise-free image gives; masked samples are 0."""
    path = make_scan(name, image.shape, 1000)
    counts = np.where(path.pixel >= 0, image.reshape(-1)[path.pixel], np.float32(0))[None]
    return replace(frame_of(image), counts=counts, scan=path, valid=counts.size)


@given(st.lists(st.integers(-1, 11 * 9 - 1), max_size=60), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_gaps_take_the_weighted_mean_of_the_samples_around_them(pixel, seed):
    shape = (11, 9)
    window = [9 * row + col for row in range(4) for col in range(4)]  # one that is covered well enough
    cover = coverage(through([*window, *pixel], shape), np.zeros((1, 2), dtype=np.int64), 4)
    image = np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)
    image[~cover.sampled] = np.nan
    got, mean = filled(image, cover)
    expected = np.full(shape, np.nan)
    for row, col in np.ndindex(shape):
        if not np.isnan(image[row, col]):
            expected[row, col] = image[row, col]
            continue
        around = [
            ((2 - abs(dy)) * (2 - abs(dx)), image[row + dy, col + dx])
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if 0 <= row + dy < shape[0] and 0 <= col + dx < shape[1] and not np.isnan(image[row + dy, col + dx])
        ]
        if around:
            weights, values = np.array(around).T
            expected[row, col] = (weights * values).sum() / weights.sum()
    np.testing.assert_array_equal(cover.near, ~np.isnan(expected))
    assert mean == pytest.approx(np.nanmean(expected), rel=1e-6)  # float32 sums of up to eight
    np.testing.assert_allclose(got, np.where(np.isnan(expected), np.nanmean(expected), expected), rtol=1e-6)
    np.testing.assert_array_equal(got[cover.sampled], image[cover.sampled])


@pytest.mark.parametrize("name", PATHS)
def test_windows_that_are_mostly_unsampled_are_left_out(name):
    path = make_scan(name, (400, 400), 1000)
    corners = spread_corners(path.shape, 128, 64)
    cover = coverage(path, corners, 128)
    taper = np.sqrt(np.outer(np.hamming(128), np.hamming(128)))
    shares = np.array([(cover.near[r : r + 128, c : c + 128] * taper).sum() / taper.sum() for r, c in corners])
    np.testing.assert_array_equal(cover.corners, corners[shares >= LEAST_COVERED])
    np.testing.assert_allclose(cover.shares, shares[shares >= LEAST_COVERED], rtol=1e-5)  # float32 taper
    assert len(cover.corners) == (25 if name == "lissajous" else 21)  # a disc does not reach the corners
    missing = np.isnan(scanned(np.ones((400, 400), dtype=np.float32), name).image()).mean()
    filled_share, left = (float(word.rstrip("%")) for word in cover.notice().split() if word.endswith("%"))
    assert filled_share + left == pytest.approx(100 * missing, abs=0.1)  # two figures rounded to 0.1


def test_a_path_through_every_pixel_is_described_as_the_raster_is():
    image, _ = pillar_image((4, 4, 2.0), seed=3)
    expected = LinearWorkflow().describe(frame_of(image))
    got = LinearWorkflow().describe(scanned(image, "serpentine"))
    np.testing.assert_array_equal(got.features, expected.features)
    for name, values in expected.extra.items():
        np.testing.assert_allclose(got.extra[name], values, rtol=1e-6)  # the mean is summed in another order
    assert got.notices == expected.notices == ()


@pytest.mark.parametrize("name", PATHS)
def test_the_value_of_a_path_follows_the_share_of_the_rare_phase(name):
    discs = [None] * 8 + [(4, 4, 3.5), (2, 2, 3.0), (4, 4, 2.0), (2, 6, 2.5)]
    images = [pillar_image(disc, seed=seed) for seed, disc in enumerate(discs)]
    workflow, share = LinearWorkflow(), np.array([share for _, share in images])
    descriptions = [workflow.describe(scanned(image, name)) for image, _ in images]
    workflow.fit(descriptions)
    values = np.array([workflow.value(description) for description in descriptions])
    assert values[share > 0].min() > values[share == 0].max()
    assert pearsonr(values, share).statistic > 0.97


def test_brightness_of_a_window_is_that_of_what_was_sampled():
    image = np.linspace(100, 300, 400, dtype=np.float32) * np.ones((400, 1), dtype=np.float32)
    whole = LinearWorkflow(step_px=64).describe(frame_of(image))
    part = LinearWorkflow(step_px=64).describe(scanned(image, "spiral"))
    kept = [bool((np.abs(whole.centre_yx - centre).max(axis=1) < 1e-9).any()) for centre in part.centre_yx]
    assert all(kept)
    at = [int(np.abs(whole.centre_yx - centre).sum(axis=1).argmin()) for centre in part.centre_yx]
    # A window of 128 px that lacks a corner sees another part of a ramp of 0.5 a pixel; up to 8 px of its middle.
    np.testing.assert_allclose(part.extra["intensity"], whole.extra["intensity"][at], atol=4.0)


def test_what_covers_too_little_or_is_not_finite_is_refused():
    image, _ = pillar_image(None, seed=0)
    frame = scanned(image, "spiral")
    thin = through(np.arange(0, 160000, 17), (400, 400))
    sparse = replace(frame, scan=thin, counts=np.ones((1, len(thin.yx)), dtype=np.float32))
    with pytest.raises(ValueError, match=r"cover \d\d% of the best window of 128 px, expected at least 75%"):
        LinearWorkflow().describe(sparse)
    counts = frame.counts.copy()
    counts[0, 100] = np.nan
    with pytest.raises(ValueError, match="non-finite pixel"):
        LinearWorkflow().describe(replace(frame, counts=counts))


def test_a_frame_without_gaps_is_a_raster_of_what_was_sampled():
    image = np.random.default_rng(0).poisson(50, (96, 96)).astype(np.float32)
    frame = scanned(image, "spiral")
    plain, notices = without_gaps(frame)
    got, sampled = plain.image(), ~np.isnan(frame.image())
    assert (plain.shape, plain.pixel_nm, plain.valid) == (frame.shape, frame.pixel_nm, image.size)
    assert np.array_equal(got[sampled], image[sampled])
    assert np.isfinite(got).all()
    assert len(notices) == 1
    assert notices[0].startswith("pixels without a sample: ")
    assert notices[0].endswith("left without contrast")
    assert without_gaps(plain) == (plain, ())


def test_a_path_that_leaves_a_frame_open_is_refused():
    half = [40 * row + col for row in range(40) for col in range(20)]
    with pytest.raises(ValueError, match="cover 52% of the frame, expected at least 75%"):
        whole(through(half, (40, 40)))
