# SPDX-License-Identifier: BSD-3-Clause
"""How far points lie from the bulk of a cloud, the bulk found without being told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probewise.types import FloatArray, IntArray

_KEPT = 0.75  # share of the points that the centre and the covariance are of
_STEPS = 10
_RARE = 1e-4  # share of a normal cloud's points that would pass for outliers


@dataclass(frozen=True, eq=False)
class Bulk:
    """Centre and covariance of most of a cloud.

    centre     (k,)
    whitening  (k, k): distance = |whitening (z - centre)|
    limit      distance beyond which a point is an outlier
    """

    centre: FloatArray
    whitening: FloatArray
    limit: float

    def distance(self, points: FloatArray) -> FloatArray:
        """Mahalanobis distance of points (n, k), (n,)."""
        off = (points - self.centre) @ self.whitening.T
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", off, off)))


def bulk_of(points: FloatArray) -> Bulk:
    """Robust centre and covariance of points (n, k): concentration steps (Rousseeuw and Van Driessen, Technometrics
    41 (1999) 212) from coordinatewise median and median absolute deviation, with 75 % of the points kept.

    The covariance is scaled so that the median squared distance is that of a normal cloud, and the limit is where one
    such point in 10,000 would lie.
    raises  ValueError for fewer than k + 2 points
    """
    from scipy.stats import chi2

    count, k = points.shape
    if count < k + 2:
        raise ValueError(f"{count} patches were seen, expected at least {k + 2} to tell outliers in {k} variables")
    centre = np.median(points, axis=0)
    spread = 1.4826 * np.median(np.abs(points - centre), axis=0)
    # A variable that does not vary in the bulk carries no scale: it is measured by its range, or not at all.
    floor = np.maximum(1e-6 * np.ptp(points, axis=0), 1e-12)
    whitening = np.diag(1 / np.maximum(spread, floor))
    kept = max(k + 2, int(_KEPT * count))
    chosen = np.empty(0, dtype=np.int64)
    for _ in range(_STEPS):
        squared = (((points - centre) @ whitening.T) ** 2).sum(axis=1)
        nearest = np.sort(np.argsort(squared, kind="stable")[:kept])
        if np.array_equal(nearest, chosen):
            break
        chosen = nearest
        centre = points[chosen].mean(axis=0)
        covariance = np.atleast_2d(np.cov(points[chosen].T)) + np.diag(floor**2)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    squared = (((points - centre) @ whitening.T) ** 2).sum(axis=1)
    scale = float(np.sqrt(np.median(squared) / chi2.ppf(0.5, k)))
    return Bulk(centre, whitening / max(scale, 1e-12), float(np.sqrt(chi2.isf(_RARE, k))))


@dataclass(frozen=True, eq=False)
class Bulks:
    """One bulk for each frequent kind of point, the largest kind first.

    labels  (m,) of those kinds; a point of any other label is measured from the largest
    """

    labels: IntArray
    each: tuple[Bulk, ...]

    @property
    def limit(self) -> float:
        return self.each[0].limit

    def distance(self, points: FloatArray, label: IntArray) -> FloatArray:
        """Mahalanobis distance of points (n, k) from the bulk of their own kind, (n,)."""
        out = self.each[0].distance(points)
        for kind, bulk in zip(self.labels[1:], self.each[1:], strict=True):
            own = label == kind
            out[own] = bulk.distance(points[own])
        return out


def bulks_of(points: FloatArray, label: IntArray) -> Bulks:
    """A bulk for each label that 5 % of the points have, at least ten a variable, and for the largest in any case."""
    kinds, counts = np.unique(label, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    least = max(0.05 * len(points), 10.0 * points.shape[1])
    frequent = [int(kinds[i]) for place, i in enumerate(order) if place == 0 or counts[i] >= least]
    return Bulks(np.array(frequent, dtype=np.int64), tuple(bulk_of(points[label == kind]) for kind in frequent))
