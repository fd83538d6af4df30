# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.descriptors.surroundings import NEIGHBOURS, UNLIKE, off_centre, surroundings

SHAPE = (200, 240)


def honeycomb(bond: float, shape=SHAPE, angle: float = 0.2) -> np.ndarray:
    a = bond * np.sqrt(3) * np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    i, j = np.mgrid[-60:60, -60:60]
    corner = (i.ravel()[:, None] * a[0] + j.ravel()[:, None] * a[1]) @ np.eye(2)
    both = np.concatenate([corner, corner + (a[0] + a[1]) / 3])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    yx = both @ turn.T + np.array(shape) / 2
    return yx[((yx > 2) & (yx < np.array(shape) - 3)).all(axis=1)]


def brute_distances(yx: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(yx[:, None] - yx[None], axis=2)
    return np.sort(distance, axis=1)[:, 1:]


def test_nearest_distance_and_inner_atoms_against_all_pairs():
    yx = np.random.default_rng(3).uniform(0, 100, (60, 2))
    found = surroundings(yx, np.zeros(60, dtype=np.int64), (101, 101))
    distance = brute_distances(yx)
    assert np.allclose(found.nearest_px, distance[:, 0], rtol=1e-12)
    edge = np.minimum(yx, 100 - yx).min(axis=1)
    assert (found.inner == (edge >= distance[:, NEIGHBOURS - 1])).all()


def test_atoms_around_a_hole_and_only_they_are_unlike():
    yx = honeycomb(7.1)
    middle = np.argmin(np.linalg.norm(yx - np.array(SHAPE) / 2, axis=1))
    hole = yx[middle]
    kept = np.delete(yx, middle, axis=0) + np.random.default_rng(0).normal(0, 0.25, (len(yx) - 1, 2))
    found = surroundings(kept, np.zeros(len(kept), dtype=np.int64), SHAPE)
    unlike = np.nan_to_num(found.unlike) > UNLIKE
    away = np.linalg.norm(kept - hole, axis=1)
    assert unlike[away < 1.2 * 7.1].all()
    assert not unlike[away > 4 * 7.1].any()


def test_one_shot_of_noise_makes_no_outliers():
    yx = honeycomb(7.1) + np.random.default_rng(1).normal(0, 0.35, honeycomb(7.1).shape)
    found = surroundings(yx, np.zeros(len(yx), dtype=np.int64), SHAPE)
    assert np.isfinite(found.unlike).sum() > 200
    assert np.nanmax(found.unlike) < UNLIKE
    assert 0.8 < np.nanmedian(found.unlike) < 1.2


@settings(deadline=None, max_examples=20)
@given(angle=st.floats(0, 6.2), scale=st.floats(0.5, 3))
def test_rotation_and_scale_change_nothing(angle, scale):
    rng = np.random.default_rng(5)
    yx = honeycomb(6.0, (120, 120)) + rng.normal(0, 0.2, honeycomb(6.0, (120, 120)).shape)
    label = np.zeros(len(yx), dtype=np.int64)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    moved = (yx - 60) @ turn.T + 1000
    # The frame is so large that every atom is inner: the lattice's own rim is the same in both.
    one = surroundings(yx + 940, label, (2000, 2000))
    other = surroundings(moved, label, (2000, 2000))
    assert one.inner.all()
    assert np.allclose(one.unlike, other.unlike, rtol=1e-6)


def test_each_class_has_its_own_measure():
    near, far = honeycomb(5.0), honeycomb(9.0, (200, 240)) + np.array([400.0, 0.0])
    yx = np.concatenate([near, far])
    label = np.repeat([0, 1], [len(near), len(far)]).astype(np.int64)
    apart = surroundings(yx, label, (600, 240))
    # Half of the atoms are far enough from their lattice's own rim; a measure common to both would fit one of them.
    assert np.nanmedian(apart.unlike[label == 0]) < 1e-6
    assert np.nanmedian(apart.unlike[label == 1]) < 1e-6


def test_few_atoms_have_no_surroundings():
    found = surroundings(np.zeros((3, 2)), np.zeros(3, dtype=np.int64), SHAPE)
    assert not found.inner.any()
    assert np.isnan(found.unlike).all()
    crowd = surroundings(honeycomb(7.1)[:19], np.zeros(19, dtype=np.int64), (1000, 1000))
    assert np.isnan(crowd.unlike).all()  # fewer than 20 of a class say nothing of what is usual


@settings(deadline=None, max_examples=20)
@given(dy=st.floats(-0.9, 0.9), dx=st.floats(-0.9, 0.9), angle=st.floats(0, 1.5))
def test_off_centre_gives_back_a_displacement(dy, dx, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), axis=-1).reshape(-1, 2) * 10
    middle = (np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij"), axis=-1).reshape(-1, 2) + 0.5) * 10
    moved = off_centre(middle @ turn.T + (dy, dx), grid @ turn.T)
    assert np.allclose(moved, (dy, dx), atol=1e-9)


def test_off_centre_outside_a_cage_is_unknown():
    grid = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 0.0], [10.0, 10.0]])
    assert np.isnan(off_centre(np.array([[40.0, 5.0]]), grid)).all()
    assert np.isnan(off_centre(np.array([[5.0, 5.0]]), grid[:3])).all()
    assert off_centre(np.zeros((0, 2)), grid).shape == (0, 2)


@pytest.mark.parametrize("count", [0, NEIGHBOURS])
def test_no_more_atoms_than_neighbours(count):
    found = surroundings(np.arange(2.0 * count).reshape(count, 2), np.zeros(count, dtype=np.int64), SHAPE)
    assert len(found.nearest_px) == count
    assert np.isnan(found.nearest_px).all()
