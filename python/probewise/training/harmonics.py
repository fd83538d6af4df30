# SPDX-License-Identifier: BSD-3-Clause
"""Circular harmonics on the disc of a patch: a basis in which a rotation is a product with phases.

Coordinates are those of the spatial decoder: x0 runs from -1 to 1 along the rows, x1 from 1 to -1 along the columns,
and x' = x R + shift with R = [[cos, sin], [-sin, cos]] for a row vector. With x = r (cos t, sin t) a rotation by phi
takes t to t + phi, so a pattern sum_k R_k(r) (a_k cos(m_k t) + b_k sin(m_k t)) has coefficients
a cos(m phi) + b sin(m phi) and b cos(m phi) - a sin(m phi) after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probewise.types import FloatArray, IntArray


def patch_grid(side_px: int) -> FloatArray:
    """(side * side, 2) coordinates of the pixels' centres; the disc is where their length is at most 1."""
    rows = np.linspace(-1, 1, side_px)
    x0, x1 = np.meshgrid(rows, -rows, indexing="ij")
    return np.stack([x0.ravel(), x1.ravel()], axis=1)


@dataclass(frozen=True, eq=False)
class DiscBasis:
    """K radial functions, each with one angular order; a picture is K cosine coefficients and then K sine ones.

    side_px    of the patch
    order      (K,) int64, angular order m of each function
    ring       (J,) radii of the Gaussian rings that the radial functions are made of
    width      of a ring
    mix        (J, K): radial function k = sum_j mix[j, k] ring_j, times r^2 / (r^2 + width^2) where m > 0
    analysis   (side * side, 2 K): pixels to coefficients, least squares on the disc
    """

    side_px: int
    order: IntArray
    ring: FloatArray
    width: float
    mix: FloatArray
    analysis: FloatArray

    @property
    def size(self) -> int:
        """Real coefficients, 2 K."""
        return 2 * len(self.order)

    @property
    def mask(self) -> FloatArray:
        """(side * side,) 1 on the disc."""
        return np.asarray(np.linalg.norm(patch_grid(self.side_px), axis=1) <= 1 + 1e-9, dtype=np.float64)

    def synthesis(self, yx: FloatArray) -> FloatArray:
        """(points, 2 K): values of the functions at coordinates (points, 2)."""
        radius = np.linalg.norm(yx, axis=1)
        angle = np.arctan2(yx[:, 1], yx[:, 0])[:, None] * self.order
        radial = _radial(radius, self.order, self.ring, self.width, self.mix)
        return np.concatenate([radial * np.cos(angle), radial * np.sin(angle)], axis=1)


def disc_basis(side_px: int, *, detail: float = 1.0, margin: float = 0.0, highest: int = 12) -> DiscBasis:
    """A basis for patches of `side_px`.

    detail   largest spatial frequency that is represented, rad per pixel
    margin   how far beyond the disc the functions reach, in disc radii: what a shifted decoder needs
    highest  angular order
    """
    half = (side_px - 1) / 2
    reach = 1.0 + margin
    spacing = np.pi / (1.25 * detail * half)
    ring = np.linspace(0, reach, max(2, int(np.ceil(reach / spacing)) + 1))
    width = 0.75 * float(ring[1])
    radius = (np.arange(400) + 0.5) / 400 * reach
    columns, orders = [], []
    for m in range(highest + 1):
        # A function of order m is evanescent inside the radius m / detail.
        used = np.flatnonzero(ring * detail * half >= m - 0.5)
        if not len(used):
            break
        raw = _regular(radius, m, width)[:, None] * _rings(radius, ring[used], width)
        weight = np.sqrt(radius)[:, None]
        values, vectors = np.linalg.eigh((raw * weight).T @ (raw * weight))
        keep = values > 1e-3 * values.max()
        mix = np.zeros((len(ring), int(keep.sum())))
        mix[used] = vectors[:, keep] / np.sqrt(values[keep])
        columns.append(mix)
        orders += [m] * int(keep.sum())
    order, mix = np.array(orders, dtype=np.int64), np.concatenate(columns, axis=1)
    grid = patch_grid(side_px)
    basis = DiscBasis(side_px, order, ring, width, mix, np.empty(0))
    inside = basis.mask
    functions = basis.synthesis(grid) * inside[:, None]
    # Unit length over the disc's pixels: a coefficient then carries the noise of one pixel. Sine and cosine share it.
    length = np.sqrt((functions**2).sum(axis=0))
    length = np.maximum(length[: len(order)], length[len(order) :])
    mix = mix / length
    functions /= np.tile(length, 2)
    gram = functions.T @ functions
    analysis = np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), functions.T).T
    return DiscBasis(side_px, order, ring, width, mix, np.asarray(analysis, dtype=np.float64))


def generators(basis: DiscBasis, reach: float) -> FloatArray:
    """(2, 2 K, 2 K): G with f(x + d) = sum exp(d0 G[0] + d1 G[1]) c for a pattern f of coefficients c.

    Least squares on the disc of radius `reach`; what the basis cannot hold of a derivative is lost.
    """
    side = np.linspace(-reach, reach, int(basis.side_px * reach) + 1)
    points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    points = points[np.linalg.norm(points, axis=1) <= reach]
    functions, step = basis.synthesis(points), 1e-3
    gram = functions.T @ functions
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    moved = [(basis.synthesis(points + one) - basis.synthesis(points - one)) / (2 * step) for one in step * np.eye(2)]
    return np.stack([np.linalg.solve(gram, functions.T @ derivative) for derivative in moved])


def seen_of_drawn(seen: DiscBasis, drawn: DiscBasis) -> FloatArray:
    """(2 K seen, 2 K drawn): coefficients in `seen` of a picture that has coefficients in `drawn`."""
    return np.asarray(seen.analysis.T @ (drawn.synthesis(patch_grid(seen.side_px)) * seen.mask[:, None]))


def _rings(radius: FloatArray, ring: FloatArray, width: float) -> FloatArray:
    return np.exp(-((radius[:, None] - ring) ** 2) / (2 * width**2))


def _regular(radius: FloatArray, order: IntArray | int, width: float) -> FloatArray:
    """Brings functions of order above 0 to 0 in the middle, where their angle is undefined."""
    fade = radius**2 / (radius**2 + width**2)
    return np.asarray(np.where(np.asarray(order) > 0, fade[..., None] if np.ndim(order) else fade, 1.0))


def _radial(radius: FloatArray, order: IntArray, ring: FloatArray, width: float, mix: FloatArray) -> FloatArray:
    return np.asarray(_regular(radius, order, width) * (_rings(radius, ring, width) @ mix))
