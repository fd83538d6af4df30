# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probewise as pw
from probewise.acquisition import maximin, space_filling

SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(space_filling.ORDERS), shape=SHAPES, seed=st.integers(0, 2**31), key=st.integers(0, 5))
def test_every_site_once(name, shape, seed, key):
    sites = space_filling.order(name, shape, seed=seed, key=key)
    assert sites.dtype == np.int64
    assert sorted(sites.tolist()) == list(range(shape[0] * shape[1]))


def test_orders_by_hand():
    np.testing.assert_array_equal(space_filling.order("raster", (2, 3)), [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(space_filling.order("serpentine", (2, 3)), [0, 1, 2, 5, 4, 3])
    # spacing 2 from the first full cell's centre, then the rest
    np.testing.assert_array_equal(space_filling.order("coarse-to-fine", (4, 4))[:4], [5, 7, 13, 15])


@pytest.mark.parametrize("name", ["halton", "random"])
def test_seed_and_key_change_the_order_and_nothing_else_does(name):
    same = space_filling.order(name, (9, 9), seed=1, key=2)
    np.testing.assert_array_equal(same, space_filling.order(name, (9, 9), seed=1, key=2))
    assert not np.array_equal(same, space_filling.order(name, (9, 9), seed=2, key=2))
    assert not np.array_equal(same, space_filling.order(name, (9, 9), seed=1, key=3))


def test_halton_fills_more_evenly_than_random():
    points = pw.Lattice((32, 32)).points()

    def largest_hole(sites):
        return np.linalg.norm(points[:, None] - points[sites][None], axis=2).min(axis=1).max()

    halton = np.mean([largest_hole(space_filling.order("halton", (32, 32), seed=s)[:60]) for s in range(8)])
    random = np.mean([largest_hole(space_filling.order("random", (32, 32), seed=s)[:60]) for s in range(8)])
    assert halton < 0.85 * random


def test_next_site_skips_what_was_visited():
    visited = np.zeros(6, dtype=bool)
    visited[[0, 1]] = True
    assert space_filling.next_site(np.array([1, 0, 4, 2]), visited) == 4
    with pytest.raises(ValueError, match="no site of the order is free"):
        space_filling.next_site(np.array([1, 0]), visited)


def test_maximin_is_the_farthest_free_site():
    lattice = pw.Lattice((7, 9), (1.0, 2.0))
    rng = np.random.default_rng(0)
    points = lattice.points()
    for step in range(30):
        visited = rng.random(63) < 0.2
        visited[step] = True
        free = rng.random(63) < 0.5
        allowed = free & ~visited
        chosen = maximin(lattice, visited, (1, step), free=free)
        distance = np.linalg.norm(points[:, None] - points[visited][None], axis=2).min(axis=1)
        assert allowed[chosen]
        assert distance[chosen] == pytest.approx(distance[allowed].max())


def test_maximin_starts_anywhere_and_ends_with_an_error():
    lattice = pw.Lattice((6, 6))
    nothing = np.zeros(36, dtype=bool)
    assert len({maximin(lattice, nothing, (seed, 0)) for seed in range(20)}) > 8
    with pytest.raises(ValueError, match="no site is free"):
        maximin(lattice, ~nothing)
    with pytest.raises(ValueError, match="visited has shape"):
        maximin(lattice, np.zeros(5, dtype=bool))


def test_wrong_order_arguments_are_named():
    with pytest.raises(ValueError, match="name is 'sobol'"):
        space_filling.order("sobol", (3, 3))
    with pytest.raises(ValueError, match="shape is"):
        space_filling.order("raster", (0, 3))
