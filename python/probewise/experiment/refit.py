# SPDX-License-Identifier: BSD-3-Clause
"""Fits beside the loop: on a snapshot, in a thread of its own, taken when they are due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from probewise.errors import ConfigurationError
from probewise.experiment.belief import Belief, FitRecord
from probewise.experiment.config import FEWEST_TO_FIT, Configuration
from probewise.experiment.describer import Describer
from probewise.experiment.telling import Seen, tell_anew

Basis: TypeAlias = tuple[dict[str, Any], dict[str, Any]]  # state and report


def fit_basis(describer: Describer, seen: Sequence[Seen], configuration: Configuration) -> tuple[Basis, list[str]]:
    """Fit the basis to all frames; its state and report, and notices."""
    try:
        report = describer.fit([one.description for one in seen], seed=configuration.run.seed)
    except ValueError as error:  # the rule finds nothing in what was measured
        raise ConfigurationError(f"component.by is {configuration.component.by!r}: {error}") from error
    names = (name for name in report.__dataclass_fields__ if name != "notices")
    return (describer.state(), {name: getattr(report, name) for name in names}), list(report.notices)


class Refit:
    """What a learner asked for: new hyper-parameters, and a new basis before them where `second` is given.

    The outcome depends on what is given here alone, not on when it is done: `basis` and its `notices`, `seen` as the
    new basis values them, and `belief`, fitted.

    second  makes a describer for this purpose, which begins with `state`; None keeps the basis
    """

    def __init__(
        self,
        belief: Belief,
        seen: Sequence[Seen],
        configuration: Configuration,
        second: Callable[[], Describer] | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.seen = list(seen)
        self.basis: Basis | None = None
        self.fit: FitRecord | None = None
        self.notices: list[str] = []
        self._make: Callable[[], Belief] = belief.snapshot()
        self._configuration = configuration
        self._second = second
        self._state = state
        self._belief: Belief | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def of_basis(self) -> bool:
        return self._second is not None

    @property
    def belief(self) -> Belief:
        assert self._belief is not None
        return self._belief

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="probewise-fit", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until the thread has ended, if there is one."""
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """Wait for the outcome; raises what the fit raised."""
        self.start()
        self.wait()
        if self._error is not None:
            raise self._error

    def put_back(self, basis: Basis | None, fit: FitRecord | None) -> None:
        """The same outcome from what was journalled, without fitting."""
        belief = self._make()
        if self._second is not None and basis is not None:
            describer = self._second()
            describer.restore(basis[0])
            self._tell_anew(describer, belief)
        if fit is not None:
            belief.apply(fit)
        self.basis, self.fit, self._belief = basis, fit, belief

    def _work(self) -> None:
        try:
            belief = self._make()
            if self._second is not None and self._state is not None:
                describer = self._second()
                describer.restore(self._state)
                self.basis, self.notices = fit_basis(describer, self.seen, self._configuration)
                self._tell_anew(describer, belief)
            if len(belief.told) >= FEWEST_TO_FIT:
                self.fit = belief.fit()
            self._belief = belief
        except BaseException as error:  # noqa: BLE001  raised where the fit is taken
            self._error = error

    def _tell_anew(self, describer: Describer, belief: Belief) -> None:
        self.seen = [replace(one) for one in self.seen]  # the loop goes on with its own until these are taken
        tell_anew(describer, belief, self.seen)
