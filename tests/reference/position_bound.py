# SPDX-License-Identifier: BSD-3-Clause
"""Cramer-Rao bound of atom positions, joint over all atoms, by the Fisher matrix; written for reading.

Pixels are independent with variance v_i and mean m_i = background + sum over atoms of amplitude * profile(r / width).
The information of the parameters is sum_i (dm_i/da)(dm_i/db)/v_i (that of the variance itself is left out: it is what
a weighted least-squares fit can reach). Parameters: y, x and amplitude of each atom, the common width, the background.
"""

import numpy as np
from scipy import sparse
from scipy.sparse import linalg


def gaussian(width_px):
    """Profile of peak 1 and its derivative by the radius, both of a radius in pixels."""
    return (
        lambda r: np.exp(-0.5 * (r / width_px) ** 2),
        lambda r: -r / width_px**2 * np.exp(-0.5 * (r / width_px) ** 2),
    )


def derivatives(shape, yx, amplitude, profile, slope, reach_px):
    """Sparse (pixels, 3 n + 2) derivatives of the mean counts, and the mean counts without background."""
    rows, cols = shape
    entries = []
    mean = np.zeros(shape)
    count = len(yx)
    for number, (y, x) in enumerate(yx):
        r = np.arange(max(0, int(y - reach_px)), min(rows, int(y + reach_px) + 2))
        c = np.arange(max(0, int(x - reach_px)), min(cols, int(x + reach_px) + 2))
        if not len(r) or not len(c):
            continue
        dy, dx = np.meshgrid(r - y, c - x, indexing="ij")
        radius = np.hypot(dy, dx)
        height, falling = profile(radius), amplitude[number] * slope(radius)
        pixel = (r[:, None] * cols + c[None, :]).ravel()
        over = np.where(radius > 0, falling / np.where(radius > 0, radius, 1), 0)
        for column, values in (
            (3 * number, -over * dy),
            (3 * number + 1, -over * dx),
            (3 * number + 2, height),
            (3 * count, -falling * radius),
        ):
            entries.append((pixel, np.full(pixel.size, column), values.ravel()))
        mean[np.ix_(r, c)] += amplitude[number] * height
    pixel, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    pixel = np.concatenate([pixel, np.arange(rows * cols)])
    column = np.concatenate([column, np.full(rows * cols, 3 * count + 1)])
    value = np.concatenate([value, np.ones(rows * cols)])
    return sparse.csc_matrix((value, (pixel, column)), shape=(rows * cols, 3 * count + 2)), mean


def position_bound(shape, yx, amplitude, profile, slope, reach_px, variance):
    """Least rms error (n, 2) of y and x in pixels of each atom, and the SNR (n,): SNR^2 = sum_i s_i^2 / v_i."""
    jacobian, _ = derivatives(shape, yx, amplitude, profile, slope, reach_px)
    weighted = sparse.diags(1 / np.ravel(variance)) @ jacobian
    information = (jacobian.T @ weighted).tocsc()
    scale = 1 / np.sqrt(information.diagonal())  # unit diagonal: amplitudes and pixels differ by powers of ten
    scaled = sparse.diags(scale) @ information @ sparse.diags(scale)
    covariance = linalg.splu(scaled.tocsc()).solve(np.eye(scaled.shape[0]))
    deviation = np.sqrt(np.diag(covariance)) * scale
    count = len(yx)
    own = np.asarray(amplitude) ** 2 * information.diagonal()[2 : 3 * count : 3]
    return np.stack([deviation[0 : 3 * count : 3], deviation[1 : 3 * count : 3]], axis=1), np.sqrt(own)
