# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from probewise.descriptors import spectrum_peaks
from probewise.descriptors.peaks import peaks_at
from reference.lattices import PEROVSKITE, columns_image, lattice, pillar_image

PIXEL = (0.02, 0.02)


def wave_image(side, waves, level=100.0):
    """`level` plus cosines of (frequency y, frequency x in cycles per pixel, amplitude, phase)."""
    y, x = np.indices((side, side))
    image = np.full((side, side), level)
    for gy, gx, amplitude, phase in waves:
        image += amplitude * np.cos(2 * np.pi * (gy * y + gx * x) + phase)
    return image


def power_maximum(window, start):
    """Maximum of the Hann-windowed transform near `start`, by a general minimiser."""
    side = len(window)
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    taper = np.outer(hann, hann)
    tapered = (window - (window * taper).sum() / taper.sum()) * taper
    pixel = np.arange(side)

    def loss(bins):
        g = start + np.array(bins) / side
        return -np.log(np.abs(np.exp(-2j * np.pi * g[0] * pixel) @ tapered @ np.exp(-2j * np.pi * g[1] * pixel)))

    found = minimize(loss, (0.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14})
    return start + found.x / side


@settings(deadline=None, max_examples=25)
@given(
    gy=st.floats(-0.2, 0.2),
    gx=st.floats(0.08, 0.2),
    off=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    seed=st.integers(0, 1000),
)
def test_refined_peak_is_the_maximum_of_the_transform(gy, gx, off, seed):
    rng = np.random.default_rng(seed)
    image = rng.poisson(wave_image(64, [(gy, gx, 40, 1.0)])).astype(np.float32)
    start = np.array([gy, gx]) + np.array(off) / 64
    peaks = peaks_at(image, np.zeros((1, 2), np.int64), 64, (1.0, 1.0), start[None])
    # Newton stops at 1e-4 bin, Nelder-Mead's own tolerance is of that order
    assert np.allclose(peaks.per_nm[0, 0], power_maximum(image.astype(float), start), atol=3e-4 / 64)
    assert np.allclose(peaks.per_nm[0, 0], (gy, gx), atol=0.1 / 64)


@settings(deadline=None, max_examples=15)
@given(
    gy=st.floats(-0.2, 0.2),
    gx=st.floats(0.08, 0.2),
    jump=st.floats(0.0, 1.5),
    border=st.integers(20, 44),
    side=st.sampled_from([63, 64]),
)
def test_phase_step_is_the_largest_of_the_quarters(gy, gx, jump, border, side):
    image = wave_image(side, [(gy, gx, 40, 1.0)])
    image[:, border:] = wave_image(side, [(gy, gx, 40, 1.0 + jump)])[:, border:]
    peaks = peaks_at(image.astype(np.float32), np.zeros((1, 2), np.int64), side, (1.0, 1.0), np.array([[gy, gx]]))
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    taper = np.outer(hann, hann)
    tapered = (image - (image * taper).sum() / taper.sum()) * taper
    y, x = np.indices((side, side))
    turned = tapered * np.exp(-2j * np.pi * (peaks.per_nm[0, 0, 0] * y + peaks.per_nm[0, 0, 1] * x))
    half = side // 2
    quarters = [turned[rows, cols].sum() for rows in np.s_[:half, half:] for cols in np.s_[:half, half:]]
    expected = np.abs(np.angle(np.array(quarters) / turned.sum())).max()
    # the window's mean and the sums over its rows are float32: 1e-6 of the peak
    assert peaks.phase_step[0, 0] == pytest.approx(expected, abs=1e-4)


def test_noise_free_wave_is_exact():
    image = wave_image(128, [(0.0371, 0.1113, 30, 0.4)]).astype(np.float32)
    peaks = spectrum_peaks(image, 128, 64, pixel_nm=PIXEL, count=1)
    # Hann side lobes of the mirror image 28 bins away are below 1e-4 of the peak
    assert np.allclose(peaks.per_nm[0, 0] * 0.02, (0.0371, 0.1113), atol=1e-3 / 128)


def test_shot_noise_leaves_the_cramer_rao_bound_within_a_factor_of_two():
    rng = np.random.default_rng(5)
    amplitude, level, side = 10.0, 50.0, 64
    clean = wave_image(side, [(0.03, 0.12, amplitude, 0.0)], level)
    corner = np.zeros((1, 2), np.int64)
    found = [
        peaks_at(rng.poisson(clean).astype(np.float32), corner, side, (1.0, 1.0), np.array([[0.03, 0.12]])).per_nm[0, 0]
        for _ in range(200)
    ]
    # Rife and Boorstyn 1976: var(2 pi g) = 6 sigma^2 / (A^2 / 2 * N (n^2 - 1) / ... ) for a real wave on N = n^2 pixels
    bound = np.sqrt(24 * level / (amplitude**2 * side**2 * (side**2 - 1))) / (2 * np.pi)
    spread = np.std(found, axis=0)
    assert (spread > 0.8 * bound).all()  # 200 draws: the standard deviation is known to 5 %
    assert (spread < 2.5 * bound).all()  # the Hann taper gives up a factor near two


@pytest.mark.parametrize("strain", [0.0, 0.01])
def test_strain_of_one_percent_is_far_outside_the_noise(strain):
    image, _ = pillar_image(None, counts=60, strain=strain, seed=3)
    peaks = spectrum_peaks(image, 128, 64, pixel_nm=PIXEL)
    spacing = peaks.mean_spacing_nm()
    assert spacing.shape == (25,)
    # the strongest fringes of this lattice are (11), whose area spacing is a / sqrt(2); 0.1 % is a tenth of the strain
    assert np.allclose(spacing, PEROVSKITE[0] * (1 + strain) / np.sqrt(2), rtol=3e-3)
    assert abs(spacing.mean() / (PEROVSKITE[0] * (1 + strain) / np.sqrt(2)) - 1) < 1e-3


@settings(deadline=None, max_examples=10)
@given(angle=st.floats(-0.7, 0.7))
def test_mean_spacing_does_not_depend_on_rotation(angle):
    points, weights = lattice(*PEROVSKITE, 8.0, angle=angle, origin_nm=(4.0, 4.0))
    image = (100 * columns_image(points, weights, (256, 256), 0.02) + 20).astype(np.float32)
    spacing = spectrum_peaks(image, 128, 64, pixel_nm=PIXEL).mean_spacing_nm()
    assert np.allclose(spacing, PEROVSKITE[0] / np.sqrt(2), rtol=2e-3)


def test_peaks_come_in_the_order_of_their_angle_from_the_row_axis():
    waves = [(0.0, 0.09, 50, 0), (0.06, 0.0, 40, 0), (0.07, 0.07, 30, 0)]
    peaks = spectrum_peaks(wave_image(128, waves).astype(np.float32), 64, 64, pixel_nm=(0.02, 0.04), count=3)
    expected = np.array([(3.0, 0.0), (3.5, 1.75), (0.0, 2.25)])  # cycles per pixel over (0.02, 0.04) nm
    assert np.allclose(peaks.expected, expected, atol=0.1)
    assert np.allclose(peaks.spacings_nm()[0], 1 / np.hypot(*expected.T), rtol=5e-3)


def test_flat_noise_has_no_peak():
    image = np.random.default_rng(0).poisson(50, (256, 256)).astype(np.float32)
    peaks = spectrum_peaks(image, 64, 32, pixel_nm=PIXEL)
    assert peaks.per_nm.shape == (49, 0, 2)
    assert np.isnan(peaks.mean_spacing_nm()).all()


def test_another_lattice_in_a_window_gives_no_peak():
    image = wave_image(64, [(0.0, 0.15, 50, 0)]).astype(np.float32)
    peaks = spectrum_peaks(image, 64, 64, pixel_nm=(1.0, 1.0), expected_per_nm=np.array([[0.1, 0.1], [0.0, 0.15]]))
    assert np.isnan(peaks.per_nm[0, 0]).all()
    assert peaks.power[0, 0] == 0
    assert peaks.per_nm[0, 1] == pytest.approx((0, 0.15), abs=1e-4)


def test_wrong_expected_peaks_are_named():
    with pytest.raises(ValueError, match=r"expected_per_nm has shape \(2,\)"):
        spectrum_peaks(np.ones((64, 64), np.float32), 32, 16, pixel_nm=PIXEL, expected_per_nm=np.ones(2))


def test_a_window_with_two_lattices_out_of_step_is_disturbed():
    side = 128
    image = wave_image(side, [(0.0, 0.125, 50, 0.0)])
    image[:, side // 2 :] = wave_image(side, [(0.0, 0.125, 50, 2.0)])[:, side // 2 :]
    peaks = spectrum_peaks(image.astype(np.float32), 32, 16, pixel_nm=(0.04, 0.04), count=1)
    assert peaks.power.shape == (49, 1)
    column = np.tile(np.arange(7), 7)
    assert not peaks.undisturbed()[column == 3].any()
    assert peaks.undisturbed()[(column < 2) | (column > 4)].all()


def test_a_step_of_the_phase_is_seen_where_the_power_is_kept():
    side = 256
    image = wave_image(side, [(0.0, 0.125, 50, 0.0)])
    image[:, side // 2 :] = wave_image(side, [(0.0, 0.125, 50, 1.2)])[:, side // 2 :]
    peaks = spectrum_peaks(image.astype(np.float32), 64, 32, pixel_nm=(0.04, 0.04), count=1)
    column = np.tile(np.arange(7), 7)
    across = column == 3
    assert (peaks.power[across] > 0.75 * peaks.power.max()).all()
    assert not peaks.undisturbed()[across].any()
    assert peaks.undisturbed()[(column < 2) | (column > 4)].all()
