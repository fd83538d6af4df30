# SPDX-License-Identifier: BSD-3-Clause
"""N-FINDR: the end-members are the spectra whose simplex has the largest volume."""

from __future__ import annotations

import numpy as np

from probewise.types import FloatArray, IntArray


def largest_simplex(reduced: FloatArray) -> IntArray:
    """Rows of `reduced` (n, p - 1) that span the largest simplex, (p,) int64, ascending.

    The volume of p points is |det[1; E]| / (p - 1)!. It is linear in each column, so that one vector of cofactors
    gives the volume with every row in place of one vertex; a vertex is replaced by the best row while that enlarges
    the volume. The start is greedy (the row farthest from the mean, then farthest from the hull so far), so that the
    result depends on the rows alone.

    raises  ValueError when fewer than p rows are affinely independent
    source  Winter, SPIE 3753 (1999) 266
    """
    n, p = reduced.shape[0], reduced.shape[1] + 1
    lifted = np.hstack([np.ones((n, 1)), reduced])
    chosen = _greedy_start(reduced)
    # Each replacement enlarges the volume by a finite share, so that the loop ends; the limit only guards rounding.
    for _ in range(100 * p):
        replaced = False
        for vertex in range(p):
            vertices = lifted[chosen]
            # |det| with row x at `vertex` = |x . c|, c the column of cofactors, proportional to column of the inverse
            direction = np.linalg.inv(vertices)[:, vertex]
            gain = np.abs(lifted @ direction)
            best = int(np.argmax(gain))
            if gain[best] > 1 + 1e-9:
                chosen[vertex] = best
                replaced = True
        if not replaced:
            break
    return np.sort(chosen)


def _greedy_start(reduced: FloatArray) -> IntArray:
    p = reduced.shape[1] + 1
    offset = reduced - reduced.mean(axis=0)
    chosen = [int(np.argmax(np.einsum("ij,ij->i", offset, offset)))]
    rest = reduced - reduced[chosen[0]]
    scale = float(np.abs(rest).max())
    for _ in range(p - 1):
        length = np.sqrt(np.einsum("ij,ij->i", rest, rest))
        farthest = int(np.argmax(length))
        if length[farthest] <= 1e-9 * scale or scale == 0:
            raise ValueError(f"spectra span {len(chosen)} independent end-members, expected {p}")
        chosen.append(farthest)
        direction = rest[farthest] / length[farthest]
        rest = rest - np.outer(rest @ direction, direction)
    return np.array(chosen, dtype=np.int64)
