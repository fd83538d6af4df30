# SPDX-License-Identifier: BSD-3-Clause
"""Circular harmonics against pictures evaluated point by point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.training.harmonics import disc_basis, generators, patch_grid, seen_of_drawn

SIDES = (24, 27)


def blobs(yx, places, width):
    """A sum of Gaussians at coordinates (n, 2)."""
    return sum(np.exp(-((yx - place) ** 2).sum(axis=1) / (2 * width**2)) for place in places)


def smooth(side, seed, reach=1.0):
    """(function of coordinates): atoms of 2.2 px, well inside what the basis represents."""
    places = np.random.default_rng(seed).uniform(-reach, reach, (6, 2))
    return lambda yx: blobs(yx, places, 2.2 / ((side - 1) / 2))


def turned(yx, angle):
    """x R of the row-vector convention."""
    return yx @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def rotate(coefficients, angle, order):
    a, b = np.split(coefficients, 2)
    cosine, sine = np.cos(order * angle), np.sin(order * angle)
    return np.concatenate([a * cosine + b * sine, b * cosine - a * sine])


def relative(error, reference):
    return float((error**2).sum() / (reference**2).sum())


def test_grid_runs_down_and_to_the_left():
    grid = patch_grid(3).reshape(3, 3, 2)
    assert grid[0, 0].tolist() == [-1, 1]
    assert grid[2, 0].tolist() == [1, 1]
    assert grid[0, 2].tolist() == [-1, -1]


@pytest.mark.parametrize("side", SIDES)
def test_coefficients_hold_a_smooth_picture(side):
    basis, grid = disc_basis(side), patch_grid(side)
    for seed in range(5):
        picture = smooth(side, seed)(grid) * basis.mask
        drawn = basis.synthesis(grid) @ (basis.analysis.T @ picture) * basis.mask
        # Atoms cut by the rim of the disc are what is lost.
        assert relative(drawn - picture, picture) < 0.04


@given(angle=st.floats(-7, 7), seed=st.integers(0, 99), side=st.sampled_from(SIDES))
@settings(deadline=None, max_examples=20)
def test_rotation_is_a_phase(angle, seed, side):
    basis, grid = disc_basis(side), patch_grid(side)
    pattern = smooth(side, seed, reach=0.7)
    upright, rotated = (basis.analysis.T @ (pattern(yx) * basis.mask) for yx in (grid, turned(grid, angle)))
    # The pixels of the disc's rim are not rotationally symmetric.
    assert relative(rotate(upright, angle, basis.order) - rotated, rotated) < 2e-3


def test_functions_of_one_order_turn_exactly():
    basis = disc_basis(24)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 2))
    coefficients = np.random.default_rng(1).normal(size=basis.size)
    expected = basis.synthesis(turned(points, 0.7)) @ coefficients
    assert np.allclose(basis.synthesis(points) @ rotate(coefficients, 0.7, basis.order), expected, atol=1e-9)


def test_generators_shift_a_pattern():
    from scipy.linalg import expm

    side, margin = 27, 0.2
    seen, drawn = disc_basis(side), disc_basis(side, margin=margin)
    moves, grid = generators(drawn, 1 + margin), patch_grid(side)
    line = np.linspace(-1 - margin, 1 + margin, 40)
    wide = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    wide = wide[np.linalg.norm(wide, axis=1) <= 1 + margin]
    for seed, shift in enumerate([(0.05, 0.1), (-0.15, 0.0), (0.1, -0.1)]):
        pattern = smooth(side, seed, reach=1.2)
        coefficients = np.linalg.lstsq(drawn.synthesis(wide), pattern(wide), rcond=1e-6)[0]
        moved = expm(shift[0] * moves[0] + shift[1] * moves[1]) @ coefficients
        expected = seen.analysis.T @ (pattern(grid + shift) * seen.mask)
        still = seen.analysis.T @ (pattern(grid) * seen.mask)
        error = relative(seen_of_drawn(seen, drawn) @ moved - expected, expected)
        assert error < 0.01
        assert error < 0.1 * relative(still - expected, expected)
