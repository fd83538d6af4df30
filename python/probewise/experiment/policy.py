# SPDX-License-Identifier: BSD-3-Clause
"""Which site is next: the start design, a baseline's order, or the best acquisition; space filling where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.experiment.belief import Belief
from probewise.experiment.config import Configuration
from probewise.experiment.history import History
from probewise.experiment.sites import Sites, is_lattice
from probewise.experiment.states import Plan
from probewise.types import BoolArray, FloatArray, IntArray, Lattice, Posterior

ORDERS = ("raster", "serpentine", "coarse-to-fine", "halton", "random")


def site_order(name: str, sites: Sites, seed: int) -> IntArray:
    """(sites,) every site once, in the order of a design."""
    from probewise.acquisition import space_filling

    return np.asarray(space_filling.order(name, sites.shape, seed=seed, key=0), dtype=np.int64)


def survey_order(brightness: FloatArray, excluded: BoolArray, sites: Sites, seed: int) -> IntArray:
    """(sites,) as a person clicks: a threshold on the survey, the smaller side of it first, most conspicuous first."""
    from probewise.acquisition import otsu_threshold

    usable = brightness[~excluded]
    threshold = otsu_threshold(np.ascontiguousarray(usable, dtype=np.float64))
    bright_is_rare = (usable > threshold).sum() * 2 <= usable.size
    conspicuous = brightness if bright_is_rare else -brightness
    rank = np.empty(sites.size, dtype=np.int64)
    rank[site_order("random", sites, seed)] = np.arange(sites.size)  # equal ones in a seeded order
    return np.lexsort((rank, -conspicuous))


@dataclass(frozen=True)
class Choice:
    """Sites in the order of their turn; `reached` is why the objective would stop here, when it would."""

    plans: list[Plan]
    reached: str | None = None


class Chooser:
    """Keeps the orders of a run and picks from them or from the belief."""

    def __init__(
        self,
        configuration: Configuration,
        sites: Sites,
        belief: Belief,
        *,
        survey_means: FloatArray | None,
        excluded: BoolArray,
    ) -> None:
        from probewise.acquisition import objective

        self._configuration = configuration
        self._sites = sites
        self._belief = belief
        self.objective = objective(configuration.acquisition.objective)
        self.name = configuration.acquisition.policy or self.objective.policy
        seed = configuration.run.seed
        self.order: IntArray | None = None
        if self.name in ORDERS:
            self.order = site_order(self.name, sites, seed)
        elif self.name == "survey-threshold":
            if survey_means is None:
                from probewise.errors import ConfigurationError

                raise ConfigurationError("acquisition.policy is 'survey-threshold', expected a survey (survey.shape)")
            self.order = survey_order(survey_means, excluded, sites, seed)
        self._start = site_order(configuration.start.design, sites, seed)
        free = int((~excluded).sum())
        wanted = max(configuration.start_sites, round(self.objective.space_filling_first * sites.size))
        self.start_sites = min(wanted, free)

    def choose(self, history: History, taken: BoolArray, pending: Sequence[int] = ()) -> Choice:
        """Plans for the next sites, never a taken one.

        pending  sites that are being scanned or wait for it: their values are believed to be what is expected there
        """
        from probewise.acquisition import is_flat

        step = len(history.steps)
        measured = history.measured
        if self.order is not None:
            return Choice([Plan(_first_free(self.order, taken), self.name)])
        if len(measured) < self.start_sites:
            return Choice([Plan(_first_free(self._start, taken), self._configuration.start.design)])
        doubt = self._doubt()
        if doubt:
            return Choice([self._spread(taken, step, doubt)])
        posterior = self._belief.posterior
        for site in pending:
            posterior = posterior.believe(self._middle(site))
        parameters = self._parameters(posterior)
        values = self._evaluate(posterior, parameters, step)
        if self.name != "max-std" and is_flat(values[~taken], 1.0):
            return Choice([self._spread(taken, step, "the acquisition is flat")])
        last = int(pending[-1]) if pending else int(measured[-1]) if len(measured) else None
        sites = self._best(posterior, values, parameters, taken, step, last)
        mean, std = self._belief.mean, self._belief.std
        plans = [
            Plan(
                site,
                self.name,
                float(values[site]),
                details={"mean": float(mean[site]), "std": float(std[site]), **_finite(parameters)},
            )
            for site in sites
        ]
        return Choice(plans, self._reached(plans[0], history, taken))

    def _reached(self, plan: Plan, history: History, taken: BoolArray) -> str | None:
        """Why the objective would stop here: asked only while its own policy chooses."""
        if self.name != self.objective.policy or plan.acquisition is None:
            return None
        before = [
            step.plan.acquisition
            for step in history.steps
            if step.plan.acquisition is not None and step.plan.attempt == 0
        ]
        candidates = self._belief.candidates
        free = np.zeros(candidates.of_site.size, dtype=bool)
        free[candidates.of_site[~taken]] = True
        return self.objective.stop.check(self._belief.posterior, plan.acquisition, before, free=free)

    def _doubt(self) -> str:
        """Why the surrogate is not to be trusted, "" when it is."""
        if not self._belief.told:
            return "there are no values yet"
        fit = self._belief.last_fit
        return "" if fit is None else fit.doubt

    def _spread(self, taken: BoolArray, step: int, reason: str) -> Plan:
        site = farthest(self._sites, taken, self._key(step))
        return Plan(site, "space filling", reason=reason)

    def _key(self, step: int) -> tuple[int, int]:
        return (self._configuration.run.seed, step)

    def _parameters(self, posterior: Posterior) -> dict[str, float]:
        """All parameters of the policy, in standardised units: those set, the objective's, then the defaults."""
        from probewise.acquisition.choice import policy_parameters

        table, belief = self._configuration.acquisition, self._belief
        own = self.objective.parameters if self.name == self.objective.policy else {}
        given = dict(own)
        if table.beta is not None and self.name in ("ucb", "straddle"):
            given["beta"] = table.beta
        if table.xi is not None and self.name in ("ei", "log-ei", "pi"):
            given["xi"] = table.xi
        if table.threshold is not None and self.name in ("straddle", "target"):
            given["threshold" if self.name == "straddle" else "low"] = belief.standardised(table.threshold)
        return policy_parameters(posterior, self.name, given)

    def _best(
        self,
        posterior: Posterior,
        values: FloatArray,
        parameters: dict[str, float],
        taken: BoolArray,
        step: int,
        last: int | None,
    ) -> list[int]:
        """The best `batch` sites, the believed value of each told before the next is chosen."""
        from probewise.acquisition import choose

        table = self._configuration.acquisition
        cost = self._travel(last) if table.cost_weight and last is not None else None
        if self._belief.candidates.refine == 1:
            options: dict[str, Any] = dict(parameters)
            sites = choose(
                posterior,
                self.name,
                q=table.batch,
                visited=taken,
                cost=cost,
                cost_weight=table.cost_weight,
                key=self._key(step),
                **options,
            )
            return [int(site) for site in sites]
        return self._best_on_finer_lattice(posterior, values, parameters, taken.copy(), step, cost)

    def _best_on_finer_lattice(
        self,
        posterior: Posterior,
        values: FloatArray,
        parameters: dict[str, float],
        taken: BoolArray,
        step: int,
        cost: FloatArray | None,
    ) -> list[int]:
        """As `choose`, for sites that hold several candidates each."""
        from probewise._core.acquisition import choose_best

        table = self._configuration.acquisition
        sites: list[int] = []
        for number in range(min(table.batch, int((~taken).sum()))):
            if number:
                posterior = posterior.believe(self._middle(sites[-1]))
                values = self._evaluate(posterior, parameters, step)
            net = values if cost is None else values - table.cost_weight * cost
            sites.append(int(choose_best(np.ascontiguousarray(net), taken, self._key(step))))
            taken[sites[-1]] = True
        return sites

    def _evaluate(self, posterior: Posterior, parameters: dict[str, float], step: int) -> FloatArray:
        """(sites,) the policy's score: mean over a site's candidates."""
        from probewise.acquisition import evaluate

        scores = evaluate(posterior, self.name, key=self._key(step), **parameters)
        return self._belief.candidates.to_sites(scores)

    def _middle(self, site: int) -> int:
        """The candidate at the centre of a site."""
        own = self._belief.candidates.of_site[site]
        return int(own[len(own) // 2])

    def _travel(self, last: int) -> FloatArray:
        """(sites,) distance from the last site in diagonals of the field."""
        centres = self._sites.centres_nm
        distance = np.sqrt(((centres - centres[last]) ** 2).sum(axis=1))
        return np.asarray(distance / np.hypot(*self._sites.fov_nm))


def _first_free(order: IntArray, taken: BoolArray) -> int:
    return int(order[np.flatnonzero(~taken[order])[0]])


def farthest(sites: Sites, taken: BoolArray, key: tuple[int, int]) -> int:
    """The free site farthest from all taken ones."""
    if is_lattice(sites):
        from probewise.acquisition import maximin

        return maximin(Lattice(sites.shape, sites.pitch_nm), taken, key)
    centres = sites.centres_nm
    if not taken.any():
        return int(np.flatnonzero(~taken)[0])
    distance = ((centres[:, None] - centres[taken][None]) ** 2).sum(axis=2).min(axis=1)
    return int(np.argmax(np.where(taken, -1.0, distance)))


def _finite(parameters: dict[str, float]) -> dict[str, float]:
    """For the journal, which holds no infinities."""
    return {name: value for name, value in parameters.items() if np.isfinite(value)}
