# SPDX-License-Identifier: BSD-3-Clause
"""Scan patterns as their formulas are written down, one sample at a time."""

import itertools
import math

import numpy as np

GOLDEN_ANGLE_RAD = math.pi * (3 - math.sqrt(5))


def centre(row, col, shape):
    return (row + 0.5) / shape[0], (col + 0.5) / shape[1]


def raster(shape, centre_yx, size_yx, discard_lines):
    """Positions of all lines without flyback, discarded ones first."""
    rows, cols = shape
    top, left = (c - s / 2 for c, s in zip(centre_yx, size_yx, strict=True))
    pitch = size_yx[0] / rows
    fits = top - discard_lines * pitch >= 0
    lines = [k if fits else 0 for k in range(-discard_lines, 0)] + list(range(rows))
    return np.array(
        [(top + (r + 0.5) * pitch, left + (c + 0.5) * size_yx[1] / cols) for r in lines for c in range(cols)]
    )


def serpentine_pixels(shape):
    rows, cols = shape
    return [r * cols + (c if r % 2 == 0 else cols - 1 - c) for r in range(rows) for c in range(cols)]


def hilbert_pixels(side):
    """The curve by its recursive definition: four copies, the first transposed, the last transposed about the other
    diagonal."""
    if side == 1:
        return np.zeros((1, 2), dtype=int)
    half = side // 2
    part = hilbert_pixels(half)
    right, diagonal, down = np.array([0, half]), np.array([half, half]), np.array([half, 0])
    curve = [part[:, ::-1], part + right, part + diagonal, half - 1 - part[:, ::-1] + down]
    path = np.concatenate(curve)
    if np.abs(np.diff(path, axis=0)).sum(axis=1).max() != 1:
        raise AssertionError("the parts do not join")
    return path


def polar(radius, angle):
    return 0.5 + radius * math.sin(angle), 0.5 + radius * math.cos(angle)


def archimedean(points, turns):
    return np.array([polar(0.5 * t, 2 * math.pi * turns * t) for t in times(points)])


def constant_velocity(points, turns):
    """theta = sqrt(4 pi v t / P), r = P theta / 2 pi with pitch P = R / turns; v from r(T) = R."""
    pitch = 0.5 / turns
    speed = math.pi * 0.25 / pitch  # T = pi R^2 / (P v) = 1
    result = []
    for t in times(points):
        theta = math.sqrt(4 * math.pi * speed * t / pitch)
        result.append(polar(pitch * theta / (2 * math.pi), theta))
    return np.array(result)


def fermat(points, turns):
    return np.array([polar(0.5 * math.sqrt(t), 2 * math.pi * turns * t) for t in times(points)])


def vogel(points):
    return np.array([polar(0.5 * math.sqrt((n + 0.5) / points), n * GOLDEN_ANGLE_RAD) for n in range(points)])


def lissajous(points, cycles):
    return np.array(
        [
            (0.5 + 0.5 * math.sin(2 * math.pi * cycles[0] * t), 0.5 + 0.5 * math.cos(2 * math.pi * cycles[1] * t))
            for t in times(points)
        ]
    )


def times(points):
    return [(i + 0.5) / points for i in range(points)]


def shortest_tour(points_yx, start):
    """Length of the best open tour, by trying all orders."""

    def length(order):
        stops = [start, *(points_yx[i] for i in order)]
        return sum(math.dist(a, b) for a, b in itertools.pairwise(stops))

    return min(length(order) for order in itertools.permutations(range(len(points_yx))))
