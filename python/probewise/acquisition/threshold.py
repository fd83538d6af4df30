# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np

from probewise.types import FloatArray


def otsu_threshold(values: FloatArray) -> float:
    """The split of values (n,) into two classes of largest variance between them, half way between the two.

    Exact over all n - 1 splits, without a histogram; constant values are their own threshold.

    raises  ValueError when empty, not finite or not of rank 1
    source  Otsu, IEEE Trans. SMC 9 (1979) 62
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.ndim != 1 or ordered.size == 0 or not np.isfinite(ordered).all():
        raise ValueError(f"values has shape {ordered.shape}, expected finite numbers of shape (n,), n at least 1")
    if ordered[0] == ordered[-1]:
        return float(ordered[0])
    # Relative to the range, so that neither 1e-30 nor 1e300 loses the squares below.
    scaled = (ordered - ordered[0]) / (ordered[-1] - ordered[0])
    n = len(scaled)
    below = np.arange(1, n)
    sums = np.cumsum(scaled)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / (n - below)
    between = below * (n - below) * (mean_above - mean_below) ** 2
    split = int(np.argmax(np.where(scaled[1:] > scaled[:-1], between, -1.0)))
    return float(ordered[split] + (ordered[split + 1] - ordered[split]) / 2)
