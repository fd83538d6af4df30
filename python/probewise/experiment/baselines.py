# SPDX-License-Identifier: BSD-3-Clause
"""What a policy that looks at no value would have found: its recall curve, without an instrument."""

from __future__ import annotations

import numpy as np

from probewise.experiment.policy import ORDERS, site_order, survey_order
from probewise.experiment.sites import Sites
from probewise.types import BoolArray, FloatArray, IntArray

WITHOUT_VALUES = (*ORDERS, "survey-threshold")


def baseline_order(
    policy: str, sites: Sites, excluded: BoolArray, seed: int, survey_means: FloatArray | None = None
) -> IntArray:
    """(free sites,) in the order in which a baseline visits them."""
    if policy == "survey-threshold":
        if survey_means is None:
            raise ValueError("survey_means is None, expected the survey's site means for survey-threshold")
        order = survey_order(survey_means, excluded, sites, seed)
    elif policy in ORDERS:
        order = site_order(policy, sites, seed)
    else:
        raise ValueError(f"policy is {policy!r}, expected one of {', '.join(WITHOUT_VALUES)}")
    return order[~excluded[order]]


def recall_of(
    policy: str,
    interesting: BoolArray,
    sites: Sites,
    *,
    excluded: BoolArray,
    seed: int,
    steps: int,
    survey_ns: float = 0.0,
    site_ns: float = 0.0,
    full_raster_ns: float | None = None,
    survey_means: FloatArray | None = None,
) -> FloatArray:
    """(m, 3) site_fraction, raster_equivalents (NaN without `full_raster_ns`) and recall, first row after the survey.

    policy       raster serpentine coarse-to-fine halton random survey-threshold
    interesting  (sites,) bool; excluded ones count in the denominator
    steps        at most this many sites; site_ns is the beam time of each
    survey_means (sites,) for survey-threshold only
    """
    order = baseline_order(policy, sites, excluded, seed, survey_means)[:steps]
    found = np.concatenate([[0], np.cumsum(interesting[order])])
    count = np.arange(len(order) + 1)
    spent = (survey_ns + count * site_ns) / full_raster_ns if full_raster_ns else np.full(len(count), np.nan)
    return np.stack([count / sites.size, spent, found / max(int(interesting.sum()), 1)], axis=1)
