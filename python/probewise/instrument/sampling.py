# SPDX-License-Identifier: BSD-3-Clause
"""Reading a picture between its pixels. Positions are in pixels, pixel (r, c) spans [r, r + 1) x [c, c + 1)."""

from __future__ import annotations

import numpy as np

from probewise.types import Float32Array, FloatArray


def bilinear(picture: Float32Array, y: FloatArray, x: FloatArray) -> FloatArray:
    """Bilinear interpolation between pixel centres; beyond them the edge value goes on.

    y, x     of the positions, any equal shape
    returns  float64 of that shape
    """
    rows, cols = picture.shape
    row = np.clip(y - 0.5, 0, rows - 1)
    col = np.clip(x - 0.5, 0, cols - 1)
    top = np.minimum(row.astype(np.int64), max(rows - 2, 0))
    left = np.minimum(col.astype(np.int64), max(cols - 2, 0))
    down, right = row - top, col - left
    upper = picture[top, left] * (1 - right) + picture[top, left + 1] * right
    lower = picture[top + 1, left] * (1 - right) + picture[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float64)


def area_means(picture: Float32Array, y_edges: FloatArray, x_edges: FloatArray) -> FloatArray:
    """Means over the cells of a rectangular grid, pixels weighted by the area inside.

    y_edges, x_edges  (rows + 1,), (cols + 1,) increasing, within the picture
    returns           (rows, cols) float64
    """
    first = [int(np.floor(edges[0])) for edges in (y_edges, x_edges)]
    last = [int(np.ceil(edges[-1])) for edges in (y_edges, x_edges)]
    values = picture[first[0] : last[0], first[1] : last[1]].astype(np.float64)
    for edges in (y_edges - first[0], x_edges - first[1]):
        summed = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        whole = np.minimum(edges.astype(np.int64), len(values) - 1)
        at_edges = summed[whole] + values[whole] * (edges - whole)[:, None]
        values = (np.diff(at_edges, axis=0) / np.diff(edges)[:, None]).T
    return np.asarray(values)
