# SPDX-License-Identifier: BSD-3-Clause
"""How a run is judged, from what the specimen documents and never from the run's own descriptor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.experiment.history import History, StepRecord
from probewise.experiment.sites import Sites
from probewise.experiment.states import SiteState
from probewise.types import BoolArray, FloatArray, Truth


@dataclass(frozen=True, eq=False)
class Target:
    """What counts as found in a run.

    interesting  (sites,) bool: sites of interest
    truth        of a simulated specimen, whose objects are found piece by piece
    values       (sites,) float64: the known map of a replay
    labels       (sites,) int64: object number of a site in a replay, 0 for none
    """

    interesting: BoolArray
    truth: Truth | None = None
    values: FloatArray | None = None
    labels: np.ndarray[Any, np.dtype[np.int64]] | None = None

    @classmethod
    def of_specimen(cls, truth: Truth, sites: Sites) -> Target:
        return cls(truth.interesting(sites.centres_nm, sites.side_nm), truth=truth)

    @classmethod
    def of_map(cls, values: FloatArray, interesting: BoolArray, shape: tuple[int, int], smallest: int = 3) -> Target:
        """Objects are 8-connected groups of at least `smallest` sites of interest."""
        from scipy import ndimage

        labels, count = ndimage.label(interesting.reshape(shape), structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        kept = np.flatnonzero(sizes >= smallest)
        kept = kept[kept > 0]
        renamed = np.zeros(count + 1, dtype=np.int64)
        renamed[kept] = np.arange(1, len(kept) + 1)
        return cls(np.asarray(interesting, dtype=bool).ravel(), values=values.ravel(), labels=renamed[labels].ravel())

    @property
    def objects(self) -> int:
        if self.truth is not None:
            return len(self.truth.objects)
        return int(self.labels.max(initial=0)) if self.labels is not None else 0

    def objects_found(self, history: History) -> int:
        measured = history.measured
        if self.truth is not None:
            return int(self.truth.found(scanned_nm(history), history.sites.side_nm).sum())
        if self.labels is None:
            return 0
        return len(set(self.labels[measured].tolist()) - {0})


def scanned_nm(history: History) -> FloatArray:
    """(n, 2) where the measured sub-scans really were, as far as that is known; else where they were sent."""
    measured = [step for step in history.steps if step.state is SiteState.MEASURED]
    off = np.array([step.off_nm or (0.0, 0.0) for step in measured]).reshape(-1, 2)
    return np.asarray(history.sites.centres_nm[history.measured] + off)


def recall_curve(history: History, interesting: BoolArray, full_raster_ns: float | None) -> FloatArray:
    """(steps + 1, 3): fraction of sites measured, raster equivalents spent (NaN in a replay) and recall.

    The first row stands after the survey. Sites of interest that are excluded count in the recall's
    denominator. A scan counts for the site that it really lay on.
    """
    count = max(int(interesting.sum()), 1)
    seen = np.zeros(history.sites.size, dtype=bool)
    rows = np.zeros((len(history.steps) + 1, 3))
    rows[:, 1] = history.spent_ns() / full_raster_ns if full_raster_ns else np.nan
    for number, step in enumerate(history.steps, start=1):
        if step.state is SiteState.MEASURED:
            seen[_site_seen(history, step)] = True
        rows[number, 0] = seen.mean()
        rows[number, 2] = (seen & interesting).sum() / count
    return rows


def _site_seen(history: History, step: StepRecord) -> int:
    if step.off_nm is None or max(abs(off) for off in step.off_nm) < history.sites.side_nm / 2:
        return step.site
    centres = history.sites.centres_nm
    return int(((centres - (centres[step.site] + step.off_nm)) ** 2).sum(axis=1).argmin())


def similarity(mean: FloatArray, target: FloatArray, shape: tuple[int, int]) -> float | None:
    """SSIM of a posterior mean with a known map: 7 x 7 uniform window, range of the truth; None where it has none."""
    from skimage.metrics import structural_similarity

    span = float(target.max() - target.min())
    if min(shape) < 7 or span == 0 or not np.isfinite(mean).all():
        return None
    compare: Callable[..., float] = structural_similarity
    return float(compare(target.reshape(shape), mean.reshape(shape), win_size=7, data_range=span))
