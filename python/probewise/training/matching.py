# SPDX-License-Identifier: BSD-3-Clause
"""Found atoms against true ones: pairs within a tolerance, counts, F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probewise.types import BoolArray, FloatArray, IntArray


def pairs(found: FloatArray, true: FloatArray, tolerance: float) -> tuple[IntArray, IntArray]:
    """Indices of one-to-one pairs at most `tolerance` apart, nearest first."""
    from scipy.spatial import cKDTree

    if len(found) == 0 or len(true) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    near = cKDTree(found).sparse_distance_matrix(cKDTree(true), tolerance, output_type="ndarray")
    used_found, used_true = np.zeros(len(found), dtype=bool), np.zeros(len(true), dtype=bool)
    out = []
    for i, j, _ in sorted(near.tolist(), key=lambda entry: entry[2]):
        if not used_found[i] and not used_true[j]:
            used_found[i] = used_true[j] = True
            out.append((i, j))
    both = np.array(out, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@dataclass
class Score:
    """Hits, false alarms and misses, summed over frames."""

    hit: int = 0
    false: int = 0
    missed: int = 0

    def add(self, found: FloatArray, true: FloatArray, tolerance: float, counted: FrameEdge) -> None:
        """Pairs may use atoms in the margin; only atoms inside it are counted."""
        i, j = pairs(found, true, tolerance)
        free_found, free_true = np.ones(len(found), dtype=bool), np.ones(len(true), dtype=bool)
        free_found[i], free_true[j] = False, False
        self.hit += int(counted.inside(true[j]).sum())
        self.false += int((free_found & counted.inside(found)).sum())
        self.missed += int((free_true & counted.inside(true)).sum())

    @property
    def f1(self) -> float | None:
        total = 2 * self.hit + self.false + self.missed
        return 2 * self.hit / total if total else None

    def table(self) -> dict[str, float | int | None]:
        return {"f1": None if self.f1 is None else round(self.f1, 4), **self.__dict__}


@dataclass(frozen=True)
class FrameEdge:
    """The part of a frame in which atoms are counted: all but `margin` pixels at its rim."""

    shape: tuple[int, int]
    margin: float

    def inside(self, yx: FloatArray) -> BoolArray:
        high = np.array(self.shape) - 1 - self.margin
        return np.asarray(((yx >= self.margin) & (yx <= high)).all(axis=-1), dtype=bool)
