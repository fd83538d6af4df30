# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from probewise._core import descriptors as _descriptors
from probewise.descriptors.surroundings import (
    FEWEST,
    LEAST_SPREAD,
    NEIGHBOURS,
    TOGETHER,
    UNLIKE,
    off_centre,
    surroundings,
)

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


def scattered(seed: int, count: int, stretch: float) -> np.ndarray:
    """Points in clusters and alone, in a field that is `stretch` times wider than high."""
    rng = np.random.default_rng(seed)
    alone = rng.uniform(0, 50, (count - count // 2, 2))
    clusters = rng.uniform(0, 50, (3, 2))[rng.integers(3, size=count // 2)] + rng.normal(0, 0.5, (count // 2, 2))
    return np.concatenate([alone, clusters]) * (1.0, stretch)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(16, 200),
    stretch=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    k=st.integers(1, 16),
)
def test_nearest_points_against_a_tree(seed, count, stretch, k):
    points = scattered(seed, count, stretch)
    asked = np.concatenate([points[:20], scattered(seed + 1, 20, stretch) * 1.5 - 10])
    distance, number = _descriptors.nearest(points, asked, k)
    expected = cKDTree(points).query(asked, k=range(1, k + 1))[0]
    assert np.allclose(distance, expected, rtol=1e-12, atol=1e-12)  # the tree's sums may be rounded otherwise
    assert np.allclose(np.linalg.norm(points[number] - asked[:, None], axis=2), distance, rtol=1e-12, atol=1e-12)
    assert all(len(set(row)) == k for row in number)


def reference_unlike(yx: np.ndarray, label: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    distance, near = cKDTree(yx).query(yx, k=NEIGHBOURS + 1)
    distance, near = distance[:, 1:], near[:, 1:TOGETHER]
    inner = np.minimum(yx, np.array(shape) - 1.0 - yx).min(axis=1) >= distance[:, -1]
    own = np.full(len(yx), np.nan)
    for kind in np.unique(label):
        members = inner & (label == kind)
        if members.sum() >= FEWEST:
            off = distance[members] - np.median(distance[members], axis=0)
            least = LEAST_SPREAD * np.median(distance[members, 0])
            spread = np.maximum(1.4826 * np.median(np.abs(off), axis=0), least)
            own[members] = ((off / spread) ** 2).mean(axis=1)
    group = np.column_stack([own, own[near]])
    known = np.isfinite(own)
    unlike = np.full(len(yx), np.nan)
    unlike[known] = np.sqrt(np.nanmean(group[known], axis=1))
    return unlike


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), kinds=st.integers(1, 4))
def test_unlike_against_numpy(seed, kinds):
    rng = np.random.default_rng(seed)
    yx = rng.uniform(0, (199, 239), (250, 2))
    label = rng.integers(kinds, size=len(yx)) * 3
    found = surroundings(yx, label, SHAPE).unlike
    assert np.allclose(found, reference_unlike(yx, label, SHAPE), rtol=1e-9, equal_nan=True)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60), neighbours=st.integers(0, 15))
def test_discord_against_a_tree(seed, count, neighbours):
    rng = np.random.default_rng(seed)
    yx, label, angle = rng.uniform(0, 1, (count, 2)), rng.integers(3, size=count), rng.uniform(-np.pi, np.pi, count)
    found = _descriptors.discord(yx, label, np.column_stack([np.cos(angle), np.sin(angle)]), neighbours)
    for i in range(count):
        own = np.flatnonzero(label == label[i])
        near = own[np.argsort(np.linalg.norm(yx[own] - yx[i], axis=1))[: neighbours + 1]]
        assert found[i] == pytest.approx(1 - abs(np.exp(1j * angle[near]).mean()), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _descriptors.nearest(np.zeros((3, 2)), np.zeros((1, 2)), 4), "k is 4 of 3 points, expected 1 to 16"),
        (lambda: _descriptors.nearest(np.zeros((30, 2)), np.zeros((1, 2)), 17), "k is 17 of 30 points"),
        (
            lambda: _descriptors.nearest(np.full((3, 2), np.nan), np.zeros((1, 2)), 1),
            "points holds values that are not",
        ),
        (lambda: _descriptors.nearest(np.zeros((3, 2)), np.full((1, 2), np.inf), 1), "queries holds values that are"),
        (lambda: _descriptors.nearest(np.zeros((3, 3)), np.zeros((1, 2)), 1), "expected length 2 on axis 1"),
        (
            lambda: _descriptors.surroundings(np.zeros((9, 2)), np.zeros(9, dtype=np.int64), (5, 5), 9, 7, 20, 0.03),
            "neighbours is 9 of 9 atoms",
        ),
        (
            lambda: _descriptors.surroundings(np.zeros((9, 2)), np.zeros(9, dtype=np.int64), (5, 5), 3, 5, 20, 0.03),
            "together is 5, expected 1 to 4",
        ),
        (
            lambda: _descriptors.surroundings(np.zeros((9, 2)), np.zeros(8, dtype=np.int64), (5, 5), 3, 4, 20, 0.03),
            "expected length 9 on axis 0",
        ),
        (
            lambda: _descriptors.discord(np.zeros((2, 2)), np.zeros(2, dtype=np.int64), np.zeros((2, 2)), 16),
            "neighbours is 16, expected fewer than 16",
        ),
        (
            lambda: _descriptors.discord(np.zeros((2, 2)), np.zeros(2, dtype=np.int64), np.zeros((3, 2)), 1),
            "terms is a",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
