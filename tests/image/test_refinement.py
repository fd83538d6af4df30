# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.optimize import least_squares

import probewise as pw
from probewise.image import PixelNoise, estimate_noise, refine_atoms
from reference.position_bound import derivatives, gaussian, position_bound

SIDE = 96
WIDTH = 2.2
GAIN, OFFSET, READ, EXCESS = 10.0, 100.0, 3.0, 0.2
NOISE = PixelNoise(READ**2 - GAIN * (1 + EXCESS) * OFFSET, GAIN * (1 + EXCESS))


def honeycomb(distance=7.1, angle=0.2, side=SIDE, margin=0.0):
    """Points (n, 2) of a honeycomb of nearest-neighbour `distance` pixels within a square of `side`."""
    cell = distance * np.sqrt(3)
    i, j = (axis.ravel() for axis in np.indices((60, 60)) - 30)
    corner = np.stack([j * cell * np.sqrt(3) / 2, i * cell + j * cell / 2], axis=1)
    points = np.concatenate([corner, corner + np.array([distance, 0])]) + np.array([3.3, 5.1])
    cos, sin = np.cos(angle), np.sin(angle)
    points = points @ np.array([[cos, -sin], [sin, cos]])
    return points[((points > -0.4 - margin) & (points < side - 0.6 + margin)).all(axis=1)]


def electrons(points, amplitude, background, width=WIDTH, side=SIDE):
    profile, slope = gaussian(width)
    return background + derivatives((side, side), points, amplitude, profile, slope, 6 * width)[1]


def counts(mean, rng):
    arrived = rng.poisson(mean)
    spread = np.sqrt(EXCESS * arrived) * rng.normal(size=mean.shape)
    return (GAIN * (arrived + spread) + OFFSET + READ * rng.normal(size=mean.shape)).astype(np.float32)


def test_without_noise_the_atoms_come_back_where_they_were_put():
    points = honeycomb()
    rng = np.random.default_rng(0)
    amplitude = rng.uniform(0.8, 1.2, len(points))
    tilted = 0.3 + 0.002 * np.arange(SIDE)[:, None] + 0.001 * np.arange(SIDE)
    mean = electrons(points, amplitude, 0.0) + tilted
    image = (1000 * mean).astype(np.float32)
    start = np.clip(points + rng.normal(0, 0.3, points.shape), -0.4, SIDE - 0.6)
    found = refine_atoms(image, start, noise=PixelNoise(100.0, 1.0))
    assert found.fitted.all()
    # Windows end at 2.75 widths, where 2 % of an atom is cut off and goes into the background.
    np.testing.assert_allclose(found.yx, points, atol=0.05)
    assert found.width_px == pytest.approx(WIDTH, rel=0.03)
    np.testing.assert_allclose(found.amplitude, 1000 * amplitude, rtol=0.06)
    inner = ((points > 15) & (points < SIDE - 15)).all(axis=1)
    row, col = points[inner].T
    np.testing.assert_allclose(found.background[inner], 300 + 2 * row + col, rtol=0.12)


@pytest.mark.parametrize(("peak", "least_snr"), [(3.6, 7.5), (8.0, 11.0)])
def test_the_error_is_that_of_the_joint_bound(peak, least_snr):
    points = honeycomb(margin=15.0)
    mean = electrons(points, np.full(len(points), peak), 0.05 * peak)
    inside = points[((points > -0.4) & (points < SIDE - 0.6)).all(axis=1)]
    profile, slope = gaussian(WIDTH)
    variance = NOISE.constant + NOISE.slope * (GAIN * mean + OFFSET)
    bound, snr = position_bound(
        mean.shape, inside, np.full(len(inside), GAIN * peak), profile, slope, 6 * WIDTH, variance
    )
    inner = ((inside > 12) & (inside < SIDE - 12)).all(axis=1)
    assert np.median(snr[inner]) > least_snr
    rng = np.random.default_rng(1)
    errors = []
    for noise in (NOISE, None) * 4:
        start = np.clip(inside + rng.normal(0, 0.3, inside.shape), -0.4, SIDE - 0.6)
        errors.append((refine_atoms(counts(mean, rng), start, noise=noise).yx - inside)[inner])
    ratio = np.sqrt(np.mean(np.concatenate(errors) ** 2) / np.mean(bound[inner] ** 2))
    # About 1,500 coordinates: 2 % of chance each way; the bar is 1.3.
    assert 0.93 < ratio < 1.15


def test_it_is_the_weighted_least_squares_of_scipy():
    """Four atoms, whose windows cover the whole frame: the same sum of squares minimised by Levenberg-Marquardt."""
    side, width = 14, 2.0
    points = np.array([[4.1, 4.3], [4.0, 9.6], [9.4, 4.2], [9.2, 9.3]])
    profile, slope = gaussian(width)
    mean = 40 + derivatives((side, side), points, np.array([300.0, 250, 280, 330]), profile, slope, 30)[1]
    image = np.random.default_rng(3).poisson(mean).astype(np.float32)
    found = refine_atoms(image, points, noise=PixelNoise(50.0, 0.0), width_px=2.4)

    def residuals(values):
        model = derivatives((side, side), values[:8].reshape(4, 2), values[8:12], *gaussian(values[12]), 30)[1]
        corners = values[13:17].reshape(2, 2)
        share = np.arange(side) / (side - 1)
        down = np.stack([1 - share, share], axis=1)
        return (model + down @ corners @ down.T - image).ravel()

    best = least_squares(residuals, [*points.ravel(), 300, 250, 280, 330, width, 40, 40, 40, 40]).x
    # The fit stops at a fraction of the error that the noise leaves, here 0.06 px.
    np.testing.assert_allclose(found.yx, best[:8].reshape(4, 2), atol=0.02)


def test_wide_columns_are_fitted_to_an_averaged_image_and_come_back_in_its_pixels():
    side = 190  # 63 pixels of 3.016
    points = honeycomb(distance=16.0, side=side)
    image = (1000 * electrons(points, np.full(len(points), 1.0), 0.1, width=5.0, side=side)).astype(np.float32)
    start = points + np.random.default_rng(2).uniform(-0.05, 0.05, points.shape)
    found = refine_atoms(image, np.clip(start, -0.4, side - 0.6), noise=PixelNoise(100.0, 1.0))
    inner = ((points > 20) & (points < side - 20)).all(axis=1)
    np.testing.assert_allclose(found.yx[inner], points[inner], atol=0.05)
    assert found.width_px == pytest.approx(5.0, rel=0.05)


def test_a_vacancy_is_not_filled_and_its_neighbours_stay():
    points = honeycomb()
    gone = np.argmin(np.abs(points - SIDE / 2).sum(axis=1))
    left = np.delete(points, gone, axis=0)
    image = (1000 * electrons(left, np.ones(len(left)), 0.1)).astype(np.float32)
    found = refine_atoms(image, left, noise=PixelNoise(100.0, 1.0))
    near = np.argsort(np.hypot(*(left - points[gone]).T))[:3]
    np.testing.assert_allclose(found.yx[near], left[near], atol=0.05)
    # And a start put into it has nothing to hold on to: no amplitude, or one near nothing.
    filled = refine_atoms(image, points, noise=PixelNoise(100.0, 1.0))
    assert filled.amplitude[gone] < 100


def test_a_transposed_image_gives_transposed_atoms():
    points = honeycomb()
    image = counts(electrons(points, np.full(len(points), 8.0), 0.4), np.random.default_rng(5))
    plain = refine_atoms(image, points)
    turned = refine_atoms(np.ascontiguousarray(image.T), np.ascontiguousarray(points[:, ::-1]))
    # The fit stops within a few hundredths of a pixel of its end; float32 sums in another order may stop elsewhere.
    np.testing.assert_allclose(turned.yx[:, ::-1], plain.yx, atol=0.02)
    np.testing.assert_array_equal(turned.fitted, plain.fitted)


def test_gain_and_offset_of_the_counts_move_no_atom():
    points = honeycomb()
    image = counts(electrons(points, np.full(len(points), 8.0), 0.4), np.random.default_rng(5))
    plain = refine_atoms(image, points)
    scaled = refine_atoms((0.25 * image - 7).astype(np.float32), points)
    np.testing.assert_allclose(scaled.yx, plain.yx, atol=0.01)


@pytest.mark.parametrize("what", ["noise alone", "flat", "far starts", "saturated", "negative"])
def test_no_atom_moves_farther_than_its_limit_whatever_the_image(what):
    rng = np.random.default_rng(9)
    points = honeycomb()
    image = counts(electrons(points, np.full(len(points), 8.0), 0.4), rng)
    if what == "noise alone":
        image = rng.normal(100, 3, image.shape).astype(np.float32)
    if what == "flat":
        image = np.full_like(image, 5.0)
    if what == "saturated":
        image = np.minimum(image, np.float32(np.percentile(image, 40)))
    if what == "negative":
        image = -image
    start = np.clip(points + rng.normal(0, 3 if what == "far starts" else 0.2, points.shape), -0.4, SIDE - 0.6)
    found = refine_atoms(image, start, limit_px=1.0)
    moved = np.hypot(*(found.yx - start).T)
    assert np.isfinite(found.yx).all()
    assert (moved <= 1.0).all()
    np.testing.assert_array_equal(found.yx[~found.fitted], start[~found.fitted])
    assert (found.amplitude[found.fitted] > 0).all()


def test_one_atom_and_none():
    y, x = np.indices((40, 50))
    image = (50 + 400 * np.exp(-((y - 20.3) ** 2 + (x - 30.7) ** 2) / (2 * 3.0**2))).astype(np.float32)
    one = refine_atoms(image, np.array([[20.0, 31.0]]))
    np.testing.assert_allclose(one.yx, [[20.3, 30.7]], atol=0.02)
    assert one.width_px == pytest.approx(3.0, rel=0.03)
    none = refine_atoms(image, np.empty((0, 2)))
    assert none.yx.shape == (0, 2)
    twice = refine_atoms(image, np.array([[20.0, 31.0], [20.0, 31.0]]))
    assert np.isfinite(twice.yx).all()


def test_the_noise_of_a_detector_is_read_off_a_frame():
    points = honeycomb()
    mean = electrons(points, np.full(len(points), 8.0), 0.4)
    found = estimate_noise(counts(mean, np.random.default_rng(2)))
    for level in (GAIN * mean.mean() + OFFSET, GAIN * mean.max() + OFFSET):
        expected = NOISE.constant + NOISE.slope * level
        # The kernel sees a little of the columns, too (a width of 2.2 pixels is smooth, but not flat).
        assert found.constant + found.slope * level == pytest.approx(expected, rel=0.2)
    flat = estimate_noise(np.random.default_rng(0).normal(100, 3, (200, 200)).astype(np.float32))
    assert flat.constant + flat.slope * 100 == pytest.approx(9, rel=0.05)
    assert estimate_noise(np.full((9, 9), 4.0, dtype=np.float32)) == PixelNoise(1.0, 0.0)


def test_find_atoms_refines_on_the_frame_it_is_given():
    points = honeycomb()
    mean = electrons(points, np.full(len(points), 8.0), 0.4)
    image = counts(mean, np.random.default_rng(4))
    y, x = np.indices(image.shape)
    blobs = np.max([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8) for a, b in np.rint(points)], axis=0)
    maps = blobs[None].astype(np.float32)
    plain, refined = pw.find_atoms(maps), pw.find_atoms(maps, refine_on=image)
    inner = ((plain.yx > 12) & (plain.yx < SIDE - 12)).all(axis=1)

    def error(atoms):
        distance = np.linalg.norm(atoms.yx[inner][:, None] - points[None], axis=2)
        return np.sqrt(np.mean(distance.min(axis=1) ** 2))

    np.testing.assert_array_equal(plain.score, refined.score)
    np.testing.assert_array_equal(refined.yx, refine_atoms(image, plain.yx).yx)
    assert error(plain) > 0.38  # the rounding: sqrt(2 / 12) less chance
    assert error(refined) < 0.42 * 1.2  # bound at this dose 0.27 px a coordinate
    with pytest.raises(ValueError, match="refine_on has shape"):
        pw.find_atoms(maps, refine_on=image[:-1])


def test_an_amplitude_hardly_minds_that_its_column_is_averaged_down():
    """A mean over two by two pixels widens a column of 2.9 pixels, 8.41 squared, by (4 - 1) / 12 of a squared pixel:
    all are lower by that share, 3 %, and the squared error of an amplitude is as much larger beside them.
    """
    width, side = 2.9, 128
    points = honeycomb(10.0, side=side, margin=15.0)
    inside = points[((points > -0.4) & (points < side - 0.6)).all(axis=1)]
    mean = electrons(points, np.full(len(points), 40.0), 8.0, width, side)
    image = counts(mean, np.random.default_rng(5))
    fine, coarse = (refine_atoms(image, inside, noise=NOISE, least_width_px=least) for least in (1.5, 1.1))
    inner = ((inside > 15) & (inside < side - 15)).all(axis=1)
    ratio = coarse.amplitude[inner] / fine.amplitude[inner]
    assert np.median(ratio) == pytest.approx(8.41 / 8.66, abs=0.01)
    # what the two do not have in common, in errors: a sixth is sqrt(1.03 - 1), the rest for windows cut elsewhere
    apart = (ratio / np.median(ratio) - 1) * fine.amplitude[inner] / fine.amplitude_error[inner]
    assert np.sqrt(np.mean(apart**2)) < 0.5
    assert coarse.width_px**2 == pytest.approx(fine.width_px**2 + 0.25, rel=0.03)


def test_wrong_arguments_are_refused():
    image, points = np.ones((20, 20), dtype=np.float32), np.array([[5.0, 5.0], [10.0, 10.0]])
    with pytest.raises(ValueError, match=r"yx holds 25\.\d+ at row 1, expected a point inside"):
        refine_atoms(image, np.array([[5.0, 5.0], [10.0, 25.0]]))
    with pytest.raises(ValueError, match="yx holds nan at row 0"):
        refine_atoms(image, np.array([[np.nan, 5.0]]))
    with pytest.raises(TypeError, match="yx is a float32 array"):
        refine_atoms(image, points.astype(np.float32))
    with pytest.raises(TypeError, match="image is a float64 array"):
        refine_atoms(image.astype(np.float64), points)
    bad = image.copy()
    bad[3, 3] = np.nan
    for function in (lambda: refine_atoms(bad, points, noise=NOISE), lambda: estimate_noise(bad)):
        with pytest.raises(ValueError, match="not finite"):
            function()
    with pytest.raises(ValueError, match="smaller than 3 x 3"):
        refine_atoms(image[:2], points[:0])
    for name in ("width_px", "limit_px", "least_width_px"):
        for value in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=name):
                refine_atoms(image, points, **{name: value})
    with pytest.raises(ValueError, match="noise is"):
        refine_atoms(image, points, noise=PixelNoise(1.0, -1.0))
