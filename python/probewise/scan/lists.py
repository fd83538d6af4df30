# SPDX-License-Identifier: BSD-3-Clause
"""Lists of positions put into an order that travels little."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from probewise._core import scan as _scan
from probewise.scan.arguments import MOST_NS, check_integer, check_number, check_pair, check_shape
from probewise.scan.limits import check_dac_resolution, check_dwell, check_size, joined_path, needs_joining
from probewise.types import FloatArray, IntArray, Limits, ScanPath


def tour(
    points_yx: FloatArray,
    *,
    start: tuple[float, float] | None = None,
    settle_ns: int = 0,
    velocity: float = math.inf,
) -> IntArray:
    """Order in which to visit all points: nearest neighbour, then 2-opt, on travel plus settling.

    points_yx  (n, 2) float64 fractions
    start      where the beam is; None begins at the first point
    settle_ns  after every move
    velocity   fields per second; infinite shortens the way alone
    returns    (n,) int64, each index once
    """
    _check_points(points_yx)
    if start is None:
        start = (float(points_yx[0, 0]), float(points_yx[0, 1]))
    settle_ns = check_integer("settle_ns", settle_ns, 0, MOST_NS)
    if not check_number("velocity", velocity) > 0:
        raise ValueError(f"velocity is {velocity}, expected a positive number of fields per second")
    return _scan.tour(points_yx, check_pair("start", start), settle_ns * 1e-9, velocity)


def ordered(
    points_yx: FloatArray,
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    start: tuple[float, float] | None = None,
    limits: Limits | None = None,
) -> ScanPath:
    """Any list of points, each visited once, in the order of `tour`.

    points_yx  (n, 2) float64 fractions
    shape      (rows, cols) of the image whose pixels the points fall into
    """
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    _check_points(points_yx)
    check_size(len(points_yx), limits)
    settle_ns, velocity = (0, math.inf) if limits is None else (limits.settle_ns, limits.max_velocity_per_s)
    pixel = _scan.pixels(points_yx, shape)
    order = tour(points_yx, start=start, settle_ns=settle_ns, velocity=velocity)
    yx, pixel = np.ascontiguousarray(points_yx[order]), pixel[order]
    if limits is not None:
        check_dac_resolution(shape, limits.dac_bits)
        if needs_joining(limits):
            return joined_path(yx, pixel, shape, dwell_ns, limits)
    return ScanPath(
        yx=yx,
        dwell_ns=np.full(len(yx), dwell_ns, dtype=np.int64),
        active=np.ones(len(yx), dtype=bool),
        pixel=pixel,
        shape=shape,
    )


def _check_points(points_yx: Any) -> None:
    if not isinstance(points_yx, np.ndarray) or points_yx.dtype != np.float64:
        came = f"a {points_yx.dtype} array" if isinstance(points_yx, np.ndarray) else f"a {type(points_yx).__name__}"
        raise TypeError(f"points_yx is {came}, expected a float64 array of shape (n, 2)")
    if points_yx.ndim != 2 or points_yx.shape[1] != 2 or len(points_yx) < 1:
        raise ValueError(f"points_yx is of shape {points_yx.shape}, expected (n, 2) with at least one point")
    if not ((points_yx >= 0) & (points_yx <= 1)).all():  # also refuses NaN
        raise ValueError(f"points_yx runs from {points_yx.min()} to {points_yx.max()}, expected fractions within 0..1")
