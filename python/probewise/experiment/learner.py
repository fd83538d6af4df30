# SPDX-License-Identifier: BSD-3-Clause
"""From descriptions to belief: fits the basis, values the sites, tells the surrogate, refits on schedule.

A living step and one replayed from the journal go through the same lines; a replay brings the basis and the
hyper-parameters along instead of fitting them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError
from probewise.experiment.belief import Belief, FitRecord
from probewise.experiment.config import FEWEST_TO_FIT, Configuration
from probewise.experiment.describer import Describer, Scalarized
from probewise.experiment.trend import FOLLOWED
from probewise.types import Description, FloatArray, IntArray

NO_VALUE = "a site gave no finite value in any window: it counts as measured and the surrogate is told nothing there"


@dataclass(frozen=True)
class Lesson:
    """What was learnt from one frame.

    value  of the site, None while there is no basis
    basis  state and report of a new basis, None when it stayed
    fit    of the surrogate, None when it was not due
    """

    value: float | None
    basis: tuple[dict[str, Any], dict[str, Any]] | None = None
    fit: FitRecord | None = None
    notices: tuple[str, ...] = ()


@dataclass
class Seen:
    """A measured frame, without its pixels. told: it gave a finite value and the surrogate knows it."""

    site: int
    description: Description
    told: bool = False
    residual: FloatArray | None = None


class Learner:
    def __init__(self, describer: Describer, belief: Belief, configuration: Configuration, start_sites: int) -> None:
        self.describer = describer
        self.belief = belief
        self.seen: list[Seen] = []
        self._configuration = configuration
        self.start_sites = start_sites
        self._since_basis = 0
        self._since_fit = 0

    @property
    def values(self) -> FloatArray | None:
        """(n,) value of each measured frame as the basis stands, None before there is one."""
        if not self.describer.fitted:
            return None
        return np.array([self.describer.value(seen.description) for seen in self.seen])

    def learn(self, site: int, description: Description, *, again: Lesson | None = None) -> Lesson:
        """Take one frame in; with `again` (a journalled lesson) what was fitted then is put back, not fitted anew."""
        notices: list[str] = []
        self.seen.append(Seen(site, description))
        self._since_basis += 1
        self._since_fit += 1
        value: float | None = None
        if self.describer.fitted:
            value = self._tell(self.seen[-1])
        basis = self._basis(notices) if again is None else self._basis_again(again.basis)
        if basis is not None:
            value = self._value(self.seen[-1])
        if value is None and self.describer.fitted:
            notices.append(NO_VALUE)
        fit = self._fit(basis is not None, notices) if again is None else self._fit_again(again.fit)
        return Lesson(value, basis, fit, tuple(notices))

    def _tell(self, seen: Seen) -> float | None:
        """Tell the surrogate one frame's values; None when it has no finite one."""
        seen.residual = np.asarray(self.describer.residual(seen.description))
        values, candidates = self._located(seen)
        seen.told = len(values) > 0
        if seen.told:
            own = self.describer.variance(seen.description) if isinstance(self.describer, Scalarized) else None
            self.belief.tell(seen.site, candidates, values, own)
        return self._value(seen)

    def _value(self, seen: Seen) -> float | None:
        value = self.describer.value(seen.description)
        return value if math.isfinite(value) else None

    def _located(self, seen: Seen) -> tuple[FloatArray, IntArray]:
        """Finite values and candidates of one frame: its own value, or those of its windows on a finer lattice."""
        if self.belief.candidates.refine == 1 and not isinstance(self.describer, Scalarized):
            values, centres = np.array([self.describer.value(seen.description)]), np.full((1, 2), 0.5)
        else:
            values, centres = self.describer.told(seen.description)
        finite = np.isfinite(values)
        return values[finite], self.belief.candidates.nearest(seen.site, centres[finite])

    def _basis_due(self) -> bool:
        if isinstance(self.describer, Scalarized):
            return False
        if not self.describer.fitted:
            return len(self.seen) >= self.start_sites
        newest = self.seen[len(self.seen) - self._since_basis :]
        recent = [seen.residual for seen in newest if seen.residual is not None]
        return self.describer.needs_refit(recent)

    def _basis(self, notices: list[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if not self._basis_due():
            return None
        try:
            report = self.describer.fit([seen.description for seen in self.seen], seed=self._configuration.run.seed)
        except ValueError as error:  # the rule finds nothing in what was measured
            raise ConfigurationError(f"component.by is {self._configuration.component.by!r}: {error}") from error
        notices.extend(report.notices)
        self._take_basis()
        return self.describer.state(), _plain(report)

    def _basis_again(
        self, basis: tuple[dict[str, Any], dict[str, Any]] | None
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if basis is not None:
            self.describer.restore(basis[0])
            self._take_basis()
        return basis

    def _take_basis(self) -> None:
        """Value everything seen with the new basis, and tell it."""
        self._since_basis = 0
        old = [seen for seen in self.seen if seen.told]
        if old:
            located = [self._located(seen) for seen in old]
            self.belief.replace([candidates for _, candidates in located], [values for values, _ in located])
        for seen in self.seen:
            if seen.told:
                seen.residual = np.asarray(self.describer.residual(seen.description))
            else:
                self._tell(seen)
        self.belief.standardise()

    def _fit(self, new_basis: bool, notices: list[str]) -> FitRecord | None:
        first = self.belief.last_fit is None and len(self.belief.told) >= max(self.start_sites, FEWEST_TO_FIT)
        due = new_basis or first or self._since_fit >= self._configuration.surrogate.fit_every
        if not due or len(self.belief.told) < FEWEST_TO_FIT:
            return None
        self._since_fit = 0
        record = self.belief.fit()
        if record.slope:
            notices.append(FOLLOWED)
        if record.doubt:
            notices.append(record.doubt)
        elif record.weakness:
            notices.append(record.weakness)
        elif record.at_upper_bound:
            notices.append(f"the surrogate's fit stopped at the upper bound of its {record.at_upper_bound[0]}")
        return record

    def _fit_again(self, fit: FitRecord | None) -> FitRecord | None:
        if fit is not None:
            self._since_fit = 0
            self.belief.apply(fit)
        return fit


def _plain(report: Any) -> dict[str, Any]:
    """A report as tables of plain values and arrays."""
    return {name: getattr(report, name) for name in report.__dataclass_fields__ if name != "notices"}
