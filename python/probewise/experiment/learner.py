# SPDX-License-Identifier: BSD-3-Clause
"""From descriptions to belief: fits the basis, values the sites, tells the surrogate, refits on schedule.

A living step and one replayed from the journal go through the same lines; a replay brings the basis and the
hyper-parameters along instead of fitting them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from probewise.experiment.belief import Belief, FitRecord
from probewise.experiment.config import FEWEST_TO_FIT, Configuration
from probewise.experiment.describer import Describer, Scalarized
from probewise.experiment.refit import Basis, Refit, fit_basis
from probewise.experiment.telling import Seen, tell, tell_anew
from probewise.experiment.trend import FOLLOWED
from probewise.types import Description, FloatArray

NO_VALUE = "a site gave no finite value in any window: it counts as measured and the surrogate is told nothing there"

Asked: TypeAlias = Literal["", "fit", "basis"]


@dataclass(frozen=True)
class Lesson:
    """What was learnt from one frame.

    value  of the site, None while there is no basis
    basis  state and report of a new basis, None when it stayed
    fit    of the surrogate that was taken, None when none was due
    asked  what is to be fitted beside the loop and taken `surrogate.fit_delay` frames later: the surrogate, or the
           basis and then the surrogate
    """

    value: float | None
    basis: Basis | None = None
    fit: FitRecord | None = None
    notices: tuple[str, ...] = ()
    asked: Asked = ""


class Learner:
    """second  makes another describer like `describer`, for fits of the basis beside the loop; None waits for them"""

    def __init__(
        self,
        describer: Describer,
        belief: Belief,
        configuration: Configuration,
        start_sites: int,
        second: Callable[[], Describer] | None = None,
    ) -> None:
        self.describer = describer
        self.belief = belief
        self.seen: list[Seen] = []
        self.start_sites = start_sites
        self._configuration = configuration
        self._second = second
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
        if self.describer.fitted:
            tell(self.describer, self.belief, self.seen[-1])
        if again is None:
            basis, fit, asked = self._fit(notices)
        else:
            basis, fit, asked = self._fit_again(again)
        value: float | None = None
        if self.describer.fitted:
            value = self.describer.value(description)
            if not math.isfinite(value):
                value = None
                notices.insert(0, NO_VALUE)
        return Lesson(value, basis, fit, tuple(notices), asked)

    def _fit(self, notices: list[str]) -> tuple[Basis | None, FitRecord | None, Asked]:
        """What is taken with this frame, and what is asked for. What is first of its kind is waited for."""
        delay = self._configuration.surrogate.fit_delay
        basis: Basis | None = None
        fit: FitRecord | None = None
        asked: Asked = ""
        if self._refit is not None and len(self.seen) >= len(self._refit.seen) + delay:
            self._refit.finish()
            notices.extend(self._refit.notices)
            basis, fit = self._take(self._refit)
        if not (self._refit is not None and self._refit.of_basis) and self._basis_due():
            if self.describer.fitted and delay and self._second is not None:
                if self._refit is None:
                    asked = "basis"
                    self._ask(asked)
            else:
                basis, said = fit_basis(self.describer, self.seen, self._configuration)
                notices.extend(said)
                self._new_basis()
                fit = self._fit_now()
        if self._refit is None and self._fit_due():
            if self.belief.last_fit is None or not delay:
                fit = self._fit_now()
            else:
                asked = "fit"
                self._ask(asked)
        if fit is not None:
            notices.extend(_remarks(fit))
        return basis, fit, asked

    def _fit_again(self, again: Lesson) -> tuple[Basis | None, FitRecord | None, Asked]:
        refit = self._refit
        if refit is not None and (again.basis is not None if refit.of_basis else again.basis is None and again.fit):
            refit.put_back(again.basis, again.fit)
            self._take(refit)
        else:
            if again.basis is not None:
                self.describer.restore(again.basis[0])
                self._new_basis()
            if again.fit is not None:
                self._since_fit = 0
                self.belief.apply(again.fit)
        if again.asked:
            self._ask(again.asked)
        return again.basis, again.fit, again.asked

    def _ask(self, what: Asked) -> None:
        self._since_fit = 0
        if what == "basis":
            assert self._second is not None
            state = self.describer.state()
            self._refit = Refit(self.belief, self.seen, self._configuration, self._second, state)
        else:
            self._refit = Refit(self.belief, self.seen, self._configuration)

    def _take(self, refit: Refit) -> tuple[Basis | None, FitRecord | None]:
        """Go on from what was fitted, and tell it the frames since."""
        since = self.seen[len(refit.seen) :]
        self.belief.take_over(refit.belief, with_values=refit.basis is not None)
        if refit.basis is not None:
            self.describer.restore(refit.basis[0])
            self.seen[: len(refit.seen)] = refit.seen
            self._since_basis = len(since)
            for one in since:
                tell(self.describer, self.belief, one)
        self._refit = None
        return refit.basis, refit.fit

    def _basis_due(self) -> bool:
        if isinstance(self.describer, Scalarized):
            return False
        if not self.describer.fitted:
            return len(self.seen) >= self.start_sites
        newest = self.seen[len(self.seen) - self._since_basis :]
        recent = [seen.residual for seen in newest if seen.residual is not None]
        return self.describer.needs_refit(recent)

    def _new_basis(self) -> None:
        self.close()  # what was asked for is a fit of the old values
        self._refit = None
        self._since_basis = 0
        tell_anew(self.describer, self.belief, self.seen)

    def _fit_due(self) -> bool:
        first = self.belief.last_fit is None and len(self.belief.told) >= max(self.start_sites, FEWEST_TO_FIT)
        due = first or self._since_fit >= self._configuration.surrogate.fit_every
        return due and len(self.belief.told) >= FEWEST_TO_FIT

    def _fit_now(self) -> FitRecord | None:
        if len(self.belief.told) < FEWEST_TO_FIT:
            return None
        self._since_fit = 0
        return self.belief.fit()


def _remarks(record: FitRecord) -> list[str]:
    remarks = [FOLLOWED] if record.slope else []
    if record.doubt:
        remarks.append(record.doubt)
    elif record.weakness:
        remarks.append(record.weakness)
    elif record.at_upper_bound:
        remarks.append(f"the surrogate's fit stopped at the upper bound of its {record.at_upper_bound[0]}")
    return remarks
