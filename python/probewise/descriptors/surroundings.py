# SPDX-License-Identifier: BSD-3-Clause
"""What surrounds each atom of one frame: how unlike the frame's other atoms it is, and where it sits among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probewise.types import BoolArray, FloatArray, IntArray

NEIGHBOURS = 9  # the first two shells of graphene; one and a half of a square lattice
# Robust standard deviations from which a distance counts: of 2,400 atoms with Gaussian position errors and 18 numbers
# each, fewer than one in ten frames has one beyond it.
UNLIKE = 5.0
# A share of the nearest spacing under which differences are those of positions, however quiet the frame is.
LEAST_SPREAD = 0.03


@dataclass(frozen=True, eq=False)
class Surroundings:
    """For each of n atoms.

    nearest_px  (n,) distance to the nearest atom, NaN where there is none
    inner       (n,) bool: no neighbour can be hidden beyond the frame's edge
    unlike      (n,) largest robust deviation of its neighbour distances from those of its class in this frame; NaN
                where not `inner` or where its class has fewer than 20 inner atoms
    """

    nearest_px: FloatArray
    inner: BoolArray
    unlike: FloatArray


def surroundings(yx: FloatArray, label: IntArray, shape: tuple[int, int]) -> Surroundings:
    """Distances to the nearest `NEIGHBOURS` atoms, compared within each class of one frame.

    yx     (n, 2) in pixels
    label  (n,) class of each atom
    shape  (rows, cols) of the frame
    The numbers compared are the sorted distances and the lengths of the running sums of unit vectors to the
    neighbours, which a 5-ring changes where distances alone stay alike; both ignore rotation.
    """
    count = len(yx)
    empty = np.full(count, np.nan)
    if count <= NEIGHBOURS:
        return Surroundings(empty, np.zeros(count, dtype=bool), empty.copy())
    from scipy.spatial import cKDTree

    distance, index = cKDTree(yx).query(yx, k=NEIGHBOURS + 1)
    distance, index = distance[:, 1:], index[:, 1:]
    edge = np.minimum(yx, np.array(shape, dtype=np.float64) - 1 - yx).min(axis=1)
    inner = np.asarray(edge >= distance[:, -1])
    numbers = distance
    unlike = empty.copy()
    for name in np.unique(label[inner]):
        own = inner & (label == name)
        if own.sum() >= 20:
            unlike[own] = _deviation(numbers[own])
    return Surroundings(distance[:, 0].copy(), inner, unlike)


def _deviation(numbers: FloatArray) -> FloatArray:
    centre = np.median(numbers, axis=0)
    spread = 1.4826 * np.median(np.abs(numbers - centre), axis=0)
    least = LEAST_SPREAD * centre[0]
    return np.asarray((np.abs(numbers - centre) / np.maximum(spread, least)).max(axis=1))


def off_centre(yx: FloatArray, cage: FloatArray, corners: int = 4) -> FloatArray:
    """How far each atom sits from the middle of the `corners` nearest atoms of a cage lattice, (n, 2) in pixels.

    NaN where the nearest corners do not surround it: fewer than `corners`, or distances that differ by more than half
    """
    out = np.full((len(yx), 2), np.nan)
    if len(cage) < corners or not len(yx):
        return out
    from scipy.spatial import cKDTree

    distance, index = cKDTree(cage).query(yx, k=corners)
    middle = cage[index].mean(axis=1)
    held = distance[:, -1] < 1.5 * distance[:, 0]
    held &= np.linalg.norm(yx - middle, axis=1) < distance.mean(axis=1) / math.sqrt(2) / 2
    out[held] = (yx - middle)[held]
    return out
