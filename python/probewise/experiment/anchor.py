# SPDX-License-Identifier: BSD-3-Clause
"""Where the specimen is now: what is sent to the scan so that a site stays the site."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from probewise.types import Float32Array

if TYPE_CHECKING:
    from probewise.image.drift import Patch

Pair = tuple[float, float]

CLOSE_PX = 4.0  # a longer shift is measured again from where it led: scan errors grow with it
TRIES = 4
KNOWN = 4  # visits that the rate comes from


class Fix(NamedTuple):
    """Where the specimen was at a time. jumped: not where the visits before had led to expect it."""

    clock_ns: int
    anchor_nm: Pair
    jumped: bool = False


class Found(NamedTuple):
    """anchor_nm: None where it could not be told, and `doubts` say why."""

    anchor_nm: Pair | None
    error_nm: float
    doubts: tuple[str, ...]


def expected_nm(fixes: Sequence[Fix], clock_ns: int) -> Pair:
    """(y, x) nm where the specimen should be by now: the last fix, and the rate of the ones before it.

    The rate is that of the visits since the last jump; where it is the only one, of those before the jump.
    """
    if not fixes:
        return (0.0, 0.0)
    last = fixes[-1]
    minutes = (clock_ns - last.clock_ns) * 1e-9 / 60
    rate = rate_nm_per_min(fixes)
    return (last.anchor_nm[0] + rate[0] * minutes, last.anchor_nm[1] + rate[1] * minutes)


def rate_nm_per_min(fixes: Sequence[Fix]) -> Pair:
    """(y, x) least squares through the last fixes between two jumps; zero where there are none."""
    ends = [0, *(number for number, fix in enumerate(fixes) if fix.jumped), len(fixes)]
    for first, end in reversed(list(itertools.pairwise(ends))):
        run = fixes[max(first, end - KNOWN) : end]
        if len(run) < 2:
            continue
        minutes = np.array([(fix.clock_ns - run[-1].clock_ns) * 1e-9 / 60 for fix in run])
        minutes -= minutes.mean()
        spread = float((minutes**2).sum())
        if spread > 0:
            slope = minutes @ np.array([fix.anchor_nm for fix in run]) / spread
            return (float(slope[0]), float(slope[1]))
    return (0.0, 0.0)


def follow(patch: Patch, pixel_nm: float, start_nm: Pair, scan: Callable[[Pair], Float32Array]) -> Found:
    """Scan the patch at `start_nm` and where that leads, until it is found where it was looked for.

    scan  takes the anchor and gives the patch's image there
    """
    anchor, error = start_nm, math.inf
    for _ in range(TRIES):
        shift = patch.locate(scan(anchor))
        error = max(shift.error_px) * pixel_nm
        if not shift.believed:
            return Found(None, error, shift.doubts)
        anchor = (anchor[0] + shift.yx_px[0] * pixel_nm, anchor[1] + shift.yx_px[1] * pixel_nm)
        if math.hypot(*shift.yx_px) <= CLOSE_PX:
            return Found(anchor, error, ())
    return Found(None, error, (f"the patch is not where {TRIES} scans running led",))
