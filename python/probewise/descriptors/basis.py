# SPDX-License-Identifier: BSD-3-Clause
"""A basis that is fitted again and again: what stays the same, and when to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probewise.types import FloatArray, IntArray

# Correlation of the values on the visited windows below which a component counts as new.
_SAME_COMPONENT = 0.5


@dataclass(frozen=True, eq=False)
class BasisReport:
    """What a fit of the basis did.

    mapping     (k,) int64, for each component the column it was before the fit, -1 for a new one
    similarity  (k,) float64, correlation with that column on the visited windows, 0 at the first fit
    component   the column that is followed
    name        of that column
    sign        -1.0 when low values of the column are followed
    explained   (k,) float64, see `Unmixing`
    residual    median relative residual of the fitted windows
    notices     what was done that a reader should know
    """

    mapping: IntArray
    similarity: FloatArray
    component: int
    name: str
    sign: float
    explained: FloatArray
    residual: float
    notices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ColumnMatch:
    """How fresh columns take the places of previous ones.

    order     (k,) int64, fresh column that goes to each place
    signs     (k,) float64, factor on it
    previous  (k,) int64, the place itself where the component is the same as before, -1 where it is new
    """

    order: IntArray
    signs: FloatArray
    previous: IntArray


def match_columns(previous: FloatArray, fresh: FloatArray, *, signed: bool) -> tuple[ColumnMatch, FloatArray]:
    """Assign fresh columns (n, k) to previous ones (n, m) by the correlation of their values on the same windows.

    signed   the sign of a column is arbitrary (PCA, SVD): absolute correlation, and the factor that restores it
    returns  the match and the correlation at each place, (k,); places without a partner take the columns left over
    """
    from scipy.optimize import linear_sum_assignment

    correlation = _correlation(previous, fresh)
    similarity = np.abs(correlation) if signed else correlation
    k = fresh.shape[1]
    rows, columns = linear_sum_assignment(-similarity)
    order = np.full(k, -1, dtype=np.int64)
    signs, agreement = np.ones(k), np.zeros(k)
    for row, column in zip(rows, columns, strict=True):
        if row < k:
            order[row] = column
            agreement[row] = similarity[row, column]
            signs[row] = -1.0 if signed and correlation[row, column] < 0 else 1.0
    order[order < 0] = np.setdiff1d(np.arange(k), order)
    same = agreement >= _SAME_COMPONENT
    return ColumnMatch(order, signs, np.where(same, np.arange(k), -1)), agreement


def residual_limit(sites: Sequence[float]) -> float:
    """Residual above which a site is unlike all fitted ones: above their largest, and above median + 5 robust
    standard deviations (1.4826 x median absolute deviation)."""
    values = np.array(sites)
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return max(float(values.max()), median + 5 * deviation)


def _correlation(previous: FloatArray, fresh: FloatArray) -> FloatArray:
    """Correlations (m, k); 0 for a constant column."""
    a, b = previous - previous.mean(axis=0), fresh - fresh.mean(axis=0)
    lengths = np.outer(np.sqrt((a * a).sum(axis=0)), np.sqrt((b * b).sum(axis=0)))
    return np.asarray(np.divide(a.T @ b, lengths, out=np.zeros(lengths.shape), where=lengths > 0))
