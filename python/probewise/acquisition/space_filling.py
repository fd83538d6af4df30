# SPDX-License-Identifier: BSD-3-Clause
"""Orders that look at no value: the baselines, the start of every run and the way out when a fit is unstable."""

from __future__ import annotations

import numpy as np

from probewise._core.acquisition import keyed_permutation
from probewise.types import BoolArray, FloatArray, IntArray, Lattice

ORDERS = ("raster", "serpentine", "coarse-to-fine", "halton", "random")


def order(name: str, shape: tuple[int, int], *, seed: int = 0, key: int = 0) -> IntArray:
    """Every site of a (rows, cols) lattice once, (c,) int64 flat indices in the order to measure.

    name  raster; serpentine; coarse-to-fine (lattices of halving spacing, each in raster order); halton (bases 2
          and 3, shifted by the seed); random
    seed, key  of the counter-based random numbers (halton, random)
    """
    rows, cols = shape
    if rows < 1 or cols < 1:
        raise ValueError(f"shape is {shape}, expected at least one row and one column")
    grid = np.arange(rows * cols, dtype=np.int64).reshape(rows, cols)
    if name == "raster":
        return grid.ravel()
    if name == "serpentine":
        grid[1::2] = grid[1::2, ::-1].copy()
        return grid.ravel()
    if name == "coarse-to-fine":
        return _coarse_to_fine(rows, cols)
    if name == "halton":
        return _halton(rows, cols, seed, key)
    if name == "random":
        return keyed_permutation(rows * cols, (seed, key))
    raise ValueError(f"name is {name!r}, expected one of {', '.join(ORDERS)}")


def next_site(sites: IntArray, visited: BoolArray) -> int:
    """The first of `sites` (in order) that `visited` (c,) does not hold; ValueError when none is left."""
    free = np.flatnonzero(~visited[sites])
    if free.size == 0:
        raise ValueError("no site of the order is free")
    return int(sites[free[0]])


def maximin(
    lattice: Lattice, visited: BoolArray, key: tuple[int, int] = (0, 0), *, free: BoolArray | None = None
) -> int:
    """The free site farthest from all visited ones, in the lattice's own unit; ties by the permutation of `key`.

    free  (c,) bool of the sites that may be chosen, when that is not all that are not visited (a mask)
    raises  ValueError when none is free
    """
    from scipy.ndimage import distance_transform_edt

    if visited.shape != (lattice.size,):
        raise ValueError(f"visited has shape {visited.shape}, expected ({lattice.size},)")
    allowed = ~visited if free is None else free & ~visited
    if not allowed.any():
        raise ValueError("no site is free")
    if visited.any():
        distance = distance_transform_edt(~visited.reshape(lattice.shape), sampling=lattice.spacing).ravel()
    else:
        distance = np.zeros(lattice.size)
    best = distance[allowed].max()
    ties = allowed & (distance == best)
    ranked = keyed_permutation(lattice.size, key)
    return int(ranked[ties[ranked]][0])


def _coarse_to_fine(rows: int, cols: int) -> IntArray:
    """Spacing halves from the largest power of two that fits; each lattice sits half a step off the corner."""
    stride = 1 << max((min(rows, cols) - 1).bit_length() - 1, 0)
    taken = np.zeros((rows, cols), dtype=bool)
    runs: list[IntArray] = []
    while stride >= 1:
        level = np.zeros_like(taken)
        level[stride // 2 :: stride, stride // 2 :: stride] = True
        runs.append(np.flatnonzero(level & ~taken))
        taken |= level
        stride //= 2
    return np.concatenate(runs)


def _halton(rows: int, cols: int, seed: int, key: int) -> IntArray:
    """Sites in the order in which Halton points fall into them; the few that the points miss for long come last."""
    words = keyed_permutation(1 << 10, (seed, key))[:2]
    shift = (words + 0.5) / (1 << 10)  # Cranley and Patterson: another set of points of the same evenness
    size = rows * cols
    count = 32 * size
    y = (_radical_inverse(count, 2) + shift[0]) % 1.0
    x = (_radical_inverse(count, 3) + shift[1]) % 1.0
    sites = np.minimum((y * rows).astype(np.int64), rows - 1) * cols + np.minimum((x * cols).astype(np.int64), cols - 1)
    found, first = np.unique(sites, return_index=True)
    ordered = found[np.argsort(first)]
    if len(ordered) == size:
        return ordered
    missed = np.setdiff1d(keyed_permutation(size, (seed, key)), ordered, assume_unique=True)
    return np.concatenate([ordered, missed])


def _radical_inverse(count: int, base: int) -> FloatArray:
    remaining = np.arange(1, count + 1)
    value = np.zeros(count)
    weight = 1.0 / base
    while remaining.any():
        value += weight * (remaining % base)
        remaining //= base
        weight /= base
    return value
