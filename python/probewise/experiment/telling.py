# SPDX-License-Identifier: BSD-3-Clause
"""What of a described frame the surrogate is told, and telling it all again after a change of basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probewise.experiment.belief import Belief
from probewise.experiment.describer import Describer, Scalarized
from probewise.types import Description, FloatArray, IntArray


@dataclass
class Seen:
    """A measured frame, without its pixels. told: it gave a finite value and the surrogate knows it."""

    site: int
    description: Description
    told: bool = False
    residual: FloatArray | None = None


def tell(describer: Describer, belief: Belief, seen: Seen) -> None:
    """Tell the surrogate one frame's values, where it has finite ones."""
    seen.residual = np.asarray(describer.residual(seen.description))
    values, candidates = _located(describer, belief, seen)
    seen.told = len(values) > 0
    if seen.told:
        own = describer.variance(seen.description) if isinstance(describer, Scalarized) else None
        belief.tell(seen.site, candidates, values, own)


def tell_anew(describer: Describer, belief: Belief, seen: Sequence[Seen]) -> None:
    """Value everything seen with a new basis, and tell it."""
    old = [one for one in seen if one.told]
    if old:
        located = [_located(describer, belief, one) for one in old]
        belief.replace([candidates for _, candidates in located], [values for values, _ in located])
    for one in seen:
        if one.told:
            one.residual = np.asarray(describer.residual(one.description))
        else:
            tell(describer, belief, one)
    belief.standardise()


def _located(describer: Describer, belief: Belief, seen: Seen) -> tuple[FloatArray, IntArray]:
    """Finite values and candidates of one frame: its own value, or those of its windows on a finer lattice."""
    if belief.candidates.refine == 1 and not isinstance(describer, Scalarized):
        values, centres = np.array([describer.value(seen.description)]), np.full((1, 2), 0.5)
    else:
        values, centres = describer.told(seen.description)
    finite = np.isfinite(values)
    return values[finite], belief.candidates.nearest(seen.site, centres[finite])
