# SPDX-License-Identifier: BSD-3-Clause
"""A symmetric grain boundary of graphene: the 21.8 degree (Sigma 7) tilt, one 5-7 pair per period.

Ring centres of graphene form a triangular lattice. Two lattices mirrored across the boundary and sharing the row on
it have one ring centre with five and one with seven neighbours per period; the atoms are the corners of the dual
graph (one per triangle of ring centres), relaxed with springs on bonds and angles (Keating 1966). The right grain
moves as a rigid body to its best distance.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from probewise.types import FloatArray, IntArray

LATTICE_NM = 0.246
BOND_NM = LATTICE_NM / math.sqrt(3)
PERIOD_NM = math.sqrt(7) * LATTICE_NM
_RIGID_NM = 1.7  # beyond this distance the grains are perfect
_EDGE_NM = 2.5


@dataclass(frozen=True, eq=False)
class Boundary:
    """Coordinates (s along the boundary, w across it), nm.

    strip_sw    (m, 2) atoms of one period with |w| < width_nm
    a_sw, b_sw  lattice vectors of the left grain (w < 0); the right one has the sign of w reversed
    shift_sw    rigid shift of the right grain after mirroring
    pair_sw     (2, 2) centres of the pentagon and the heptagon
    bonds       (k, 2) atoms of the whole relaxed model, `bond_nm` (k,) their lengths
    """

    strip_sw: FloatArray
    width_nm: float
    a_sw: FloatArray
    b_sw: FloatArray
    shift_sw: FloatArray
    pair_sw: FloatArray
    bonds: IntArray
    bond_nm: FloatArray


@functools.cache
def graphene_boundary() -> Boundary:
    """Build and relax the boundary (about 0.1 s, once a process)."""
    from scipy.spatial import Delaunay

    turn = -math.atan2(math.sqrt(3) / 2, 2.5)  # brings 2 a1 + a2 onto s
    angle = np.array([turn, turn + math.pi / 3])
    a_sw, b_sw = LATTICE_NM * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    i, j = np.mgrid[-60:61, -60:61].reshape(2, -1, 1)
    centres = i * a_sw + j * b_sw
    keep = (centres[:, 0] > -1e-9) & (centres[:, 0] < PERIOD_NM - 1e-9)
    centres = centres[keep & (centres[:, 1] < 1e-9) & (centres[:, 1] > -_EDGE_NM - 0.3)]
    mirrored = centres[centres[:, 1] < -1e-9] * (1, -1)
    rings = np.concatenate([centres, mirrored])

    copies = np.concatenate([rings + np.array([k * PERIOD_NM, 0.0]) for k in range(-3, 4)])
    triangles = Delaunay(copies)
    corners = copies[triangles.simplices].mean(axis=1)
    inner = (corners[:, 0] > -1e-9) & (corners[:, 0] < PERIOD_NM - 1e-9) & (np.abs(corners[:, 1]) < _EDGE_NM)
    index = np.flatnonzero(inner)
    number = {tuple(np.round(_wrapped(corners[t]), 6)): k for k, t in enumerate(index)}
    pairs, offsets = [], []
    for k, t in enumerate(index):
        for other in triangles.neighbors[t]:
            place = number.get(tuple(np.round(_wrapped(corners[other]), 6))) if other >= 0 else None
            if place is not None:
                pairs.append((k, place))
                offsets.append(corners[other][0] - corners[index[place]][0])
    atoms, shift = _relax(corners[index], np.array(pairs), np.array(offsets))

    degree = np.bincount(triangles.simplices.ravel(), minlength=len(copies))[3 * len(rings) : 4 * len(rings)]
    near = np.abs(rings[:, 1]) < 1.0
    pair: list[FloatArray] = []
    for size in (5, 7):
        ring = 3 * len(rings) + int(np.flatnonzero(near & (degree == size))[0])
        around = corners[(triangles.simplices == ring).any(axis=1)]
        own = np.array([number[tuple(np.round(_wrapped(corner), 6))] for corner in around])
        pair.append(np.array([around[:, 0].mean(), 0.0]) + (atoms[own] - corners[index[own]]).mean(axis=0))
        pair[-1][1] += around[:, 1].mean()
    ordered = np.sort(np.abs(atoms[:, 1]))
    rows = ordered[(ordered > 1.0) & (ordered < 1.5)]
    gap = int(np.argmax(np.diff(rows)))
    width = float(rows[gap : gap + 2].mean())
    bonds = np.array(pairs)
    ends = atoms[bonds[:, 1]] + np.stack([np.array(offsets), np.zeros(len(offsets))], axis=1)
    lengths = np.linalg.norm(ends - atoms[bonds[:, 0]], axis=1)
    return Boundary(atoms[np.abs(atoms[:, 1]) < width], width, a_sw, b_sw, shift, np.array(pair), bonds, lengths)


def _wrapped(point: FloatArray) -> FloatArray:
    return np.array([(point[0] + 1e-7) % PERIOD_NM - 1e-7, point[1]])


def _relax(atoms: FloatArray, pairs: IntArray, offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Minimise bond and angle springs; the left edge is fixed, the right edge one rigid body."""
    from scipy.optimize import minimize

    left, right = atoms[:, 1] < -_RIGID_NM, atoms[:, 1] > _RIGID_NM
    free = ~(left | right)
    jump = np.stack([offsets, np.zeros(len(offsets))], axis=1)
    by_atom: list[list[int]] = [[] for _ in atoms]
    for k, (atom, _) in enumerate(pairs):
        by_atom[atom].append(k)
    angles = np.array([(p, q) for own in by_atom for n, p in enumerate(own) for q in own[n + 1 :]])

    def moved(unknown: FloatArray) -> FloatArray:
        out = atoms.copy()
        out[free] = unknown[2:].reshape(-1, 2)
        out[right] += unknown[:2]
        return out

    def energy(unknown: FloatArray) -> tuple[float, FloatArray]:
        position = moved(unknown)
        bond = position[pairs[:, 1]] + jump - position[pairs[:, 0]]
        stretch = (bond**2).sum(axis=1) / BOND_NM**2 - 1
        bend = (bond[angles[:, 0]] * bond[angles[:, 1]]).sum(axis=1) / BOND_NM**2 + 0.5
        force = np.zeros_like(position)
        by_bond = stretch[:, None] * bond * 2
        np.add.at(force, pairs[:, 1], by_bond)
        np.add.at(force, pairs[:, 0], -by_bond)
        for end, other in ((0, 1), (1, 0)):
            by_angle = 0.4 * bend[:, None] * bond[angles[:, other]]
            np.add.at(force, pairs[angles[:, end], 1], by_angle)
            np.add.at(force, pairs[angles[:, end], 0], -by_angle)
        gradient = np.concatenate([force[right].sum(axis=0), force[free].ravel()]) / BOND_NM**2
        return float((stretch**2).sum() / 2 + 0.2 * (bend**2).sum()), gradient

    start = np.concatenate([np.zeros(2), atoms[free].ravel()])
    found = minimize(energy, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13})
    return moved(found.x), np.asarray(found.x[:2])
