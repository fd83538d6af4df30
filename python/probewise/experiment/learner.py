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
from probewise.experiment.refit import Refit
from probewise.types import Description, FloatArray, IntArray

NO_VALUE = "a site gave no finite value in any window: it counts as measured and the surrogate is told nothing there"


@dataclass(frozen=True)
class Lesson:
    """What was learnt from one frame.

    value  of the site, None while there is no basis
    basis  state and report of a new basis, None when it stayed
    fit    of the surrogate that was taken, None when none was due
    asked  a fit of the surrogate was asked for, to be taken `surrogate.fit_delay` frames later
    """

    value: float | None
    basis: tuple[dict[str, Any], dict[str, Any]] | None = None
    fit: FitRecord | None = None
    notices: tuple[str, ...] = ()
    asked: bool = False


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
        self._refit: Refit | None = None

    def go_on(self) -> None:
        """Begin the fit that was asked for, if there is one."""
        if self._refit is not None:
            self._refit.start()

    def close(self) -> None:
        """Wait for a fit that runs: no thread of ours outlives the run."""
        if self._refit is not None:
            self._refit.wait()

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
        if basis is not None:  # other values: what was asked for is a fit of the old ones
            self.close()
            self._refit = None
        if again is None:
            fit, asked = self._fit(basis is not None, notices)
        else:
            fit, asked = self._fit_again(again)
        return Lesson(value, basis, fit, tuple(notices), asked)

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

    def _fit(self, new_basis: bool, notices: list[str]) -> tuple[FitRecord | None, bool]:
        """The fit taken with this frame, and whether one was asked for. The first of a basis is waited for."""
        delay, record = self._configuration.surrogate.fit_delay, None
        if self._refit is not None and len(self.seen) >= self._refit.asked + delay:
            fitted, self._refit = self._refit.take(), None
            self.belief.take_over(fitted)
            record = self.belief.last_fit
        first = self.belief.last_fit is None and len(self.belief.told) >= max(self.start_sites, FEWEST_TO_FIT)
        due = new_basis or first or self._since_fit >= self._configuration.surrogate.fit_every
        asked = False
        if due and self._refit is None and len(self.belief.told) >= FEWEST_TO_FIT:
            self._since_fit = 0
            if new_basis or self.belief.last_fit is None or not delay:
                record = self.belief.fit()
            else:
                self._refit, asked = Refit(self.belief, len(self.seen)), True
        if record is not None:
            notices.extend(_remarks(record))
        return record, asked

    def _fit_again(self, again: Lesson) -> tuple[FitRecord | None, bool]:
        if again.fit is not None:
            if self._refit is not None:
                fitted, self._refit = self._refit.put_back(again.fit), None
                self.belief.take_over(fitted)
            else:
                self._since_fit = 0
                self.belief.apply(again.fit)
        if again.asked:
            self._since_fit = 0
            self._refit = Refit(self.belief, len(self.seen))
        return again.fit, again.asked


def _remarks(record: FitRecord) -> list[str]:
    if record.doubt:
        return [record.doubt]
    if record.weakness:
        return [record.weakness]
    if record.at_upper_bound:
        return [f"the surrogate's fit stopped at the upper bound of its {record.at_upper_bound[0]}"]
    return []


def _plain(report: Any) -> dict[str, Any]:
    """A report as tables of plain values and arrays."""
    return {name: getattr(report, name) for name in report.__dataclass_fields__ if name != "notices"}
