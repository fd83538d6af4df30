# SPDX-License-Identifier: BSD-3-Clause
"""Poisson frames of ideal lattices, written for reading: Gaussian columns on a flat background."""

import numpy as np

from probewise.types import Context, Frame, RasterROI


def columns_image(points_nm, weights, shape, pixel_nm, sigma_nm=0.06):
    """Sum of Gaussians of peak `weights` at `points_nm` (n, 2) as (y, x) from the top left corner."""
    y = (np.arange(shape[0]) + 0.5) * pixel_nm
    x = (np.arange(shape[1]) + 0.5) * pixel_nm
    down = np.exp(-0.5 * ((y[None, :] - points_nm[:, :1]) / sigma_nm) ** 2)
    across = np.exp(-0.5 * ((x[None, :] - points_nm[:, 1:]) / sigma_nm) ** 2)
    return (down * weights[:, None]).T @ across


def lattice(spacing_nm, basis, side_nm, *, angle=0.0, origin_nm=(0.0, 0.0)):
    """Points and weights of a square lattice that covers 0..side_nm; basis is ((y, x, weight), ...) in cells."""
    cells = int(np.ceil(1.5 * side_nm / spacing_nm)) + 4
    i, j = (axis.ravel() for axis in np.indices((2 * cells, 2 * cells)) - cells)
    points = np.concatenate([np.stack([i + y, j + x], axis=1) for y, x, _ in basis]) * spacing_nm
    weights = np.concatenate([np.full(len(i), weight) for *_, weight in basis])
    cos, sin = np.cos(angle), np.sin(angle)
    points = points @ np.array([[cos, sin], [-sin, cos]]) + origin_nm
    inside = ((points > -0.5) & (points < side_nm + 0.5)).all(axis=1)
    return points[inside], weights[inside]


PEROVSKITE = (0.388, ((0, 0, 1.0), (0.5, 0.5, 0.45)))
ROCK_SALT = (0.418, ((0, 0, 0.45), (0.5, 0.5, 0.45), (0, 0.5, 0.45), (0.5, 0, 0.45)))


def pillar_image(disc, *, side_px=400, pixel_nm=0.02, counts=60.0, seed=0, current=1.0, strain=0.0):
    """Poisson counts of a perovskite frame with a rock-salt disc (y, x, radius in nm) or None in it; and the share of
    the frame that the disc fills."""
    rng = np.random.default_rng(seed)
    side_nm = side_px * pixel_nm
    image = np.full((side_px, side_px), 0.25)
    filled = 0.0
    for (spacing, basis), in_disc in ((PEROVSKITE, False), (ROCK_SALT, True)):
        points, weights = lattice(spacing * (1 + strain), basis, side_nm, origin_nm=rng.uniform(0, spacing, 2))
        keep = np.full(len(points), not in_disc)
        if disc is not None:
            keep = (np.hypot(*(points - disc[:2]).T) < disc[2]) == in_disc
        image += columns_image(points[keep], weights[keep], image.shape, pixel_nm)
    if disc is not None:
        place = (np.indices(image.shape) + 0.5) * pixel_nm
        filled = float((np.hypot(place[0] - disc[0], place[1] - disc[1]) < disc[2]).mean())
    return rng.poisson(image * counts * current).astype(np.float32), filled


def frame_of(image, *, pixel_nm=0.02, shift_nm=(0.0, 0.0), sequence=0):
    """A raster frame that holds `image`."""
    fov = (image.shape[0] * pixel_nm, image.shape[1] * pixel_nm)
    scan = RasterROI(image.shape, 4000)
    return Frame(image[None], ("HAADF",), Context(fov, shift_nm), scan, sequence, 0, scan.duration_ns, image.size)
