# SPDX-License-Identifier: BSD-3-Clause
"""Which site is next: the start design, a baseline's order, or the best acquisition; space filling where that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.experiment.belief import Belief
from probewise.experiment.config import BASELINES, Configuration
from probewise.experiment.history import History
from probewise.experiment.sites import Sites
from probewise.experiment.states import Plan
from probewise.types import BoolArray, FloatArray, IntArray, Posterior

ORDERS = ("raster", "serpentine", "coarse-to-fine", "halton", "random")


def site_order(name: str, sites: Sites, seed: int) -> IntArray:
    """(sites,) every site once, in the order of a design."""
    from probewise.acquisition import space_filling

    return np.asarray(space_filling.order(name, sites.shape, seed=seed, key=0), dtype=np.int64)


def survey_order(brightness: FloatArray, excluded: BoolArray, sites: Sites, seed: int) -> IntArray:
    """(sites,) as a person clicks: a threshold on the survey, the smaller side of it first, most conspicuous first."""
    from probewise.acquisition.space_filling import otsu_threshold

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
        self.start_sites = min(max(configuration.start_sites, round(self.objective.space_filling_first * free)), free)

    @property
    def follows_values(self) -> bool:
        return self.order is None

    @property
    def is_baseline(self) -> bool:
        return self.name in BASELINES

    def choose(self, history: History, taken: BoolArray) -> Choice:
        """Plans for the next sites, never a taken one."""
        step = len(history.steps)
        measured = history.measured
        if self.order is not None:
            return Choice([Plan(_first_free(self.order, taken), self.name)])
        if len(measured) < self.start_sites:
            return Choice([Plan(_first_free(self._start, taken), self._configuration.start.design)])
        doubt = self._doubt()
        if doubt:
            return Choice([self._spread(taken, step, doubt)])
        values = self._acquisition(self._belief.gp, step)
        free = values[~taken]
        from probewise.acquisition.space_filling import is_flat

        if self.name != "max-std" and is_flat(free, 1.0):
            return Choice([self._spread(taken, step, "the acquisition is flat")])
        sites = self._best(values, taken, step, int(measured[-1]) if len(measured) else None)
        details = {
            "max": float(free.max()),
            "mean": float(self._belief.mean[sites[0]]),
            "std": float(self._belief.std[sites[0]]),
        }
        plans = [Plan(site, self.name, float(values[site]), details=details) for site in sites]
        return Choice(plans)

    def _doubt(self) -> str:
        """Why the surrogate is not to be trusted, "" when it is."""
        if not self._belief.told:
            return "there are no values yet"
        fit = self._belief.last_fit
        if fit is None:
            return ""
        if fit.lengthscale < 1.0:
            return (
                f"the fitted lengthscale of {fit.lengthscale:.2g} pitches is under the pitch: "
                f"neighbours carry no information"
            )
        return "" if fit.stable else "the surrogate's fit is unstable"

    def _spread(self, taken: BoolArray, step: int, reason: str) -> Plan:
        from probewise.acquisition.space_filling import maximin

        site = int(maximin(_lattice(self._sites), taken, self._key(step)))
        return Plan(site, "space filling", reason=reason)

    def _key(self, step: int) -> tuple[int, int]:
        return (self._configuration.run.seed, step)

    def _parameters(self) -> dict[str, Any]:
        """Those of the objective, then what the configuration sets, in standardised units."""
        from probewise.acquisition.space_filling import otsu_threshold

        table, belief = self._configuration.acquisition, self._belief
        given = dict(self.objective.parameters) if self.name == self.objective.policy else {}
        if table.beta is not None and self.name in ("ucb", "straddle"):
            given["beta"] = table.beta
        if table.xi is not None and self.name in ("ei", "log-ei", "pi"):
            given["xi"] = table.xi
        if table.threshold is not None and self.name == "straddle":
            given["threshold"] = belief.standardised(table.threshold)
        if table.threshold is not None and self.name == "target":
            given.update(low=belief.standardised(table.threshold), high=np.inf)
        if self.name in ("ei", "log-ei", "pi"):
            given["best"] = float(belief.gp.mean[belief.gp.indices].max())
        if self.name in ("straddle", "target") and table.threshold is None:
            threshold = float(otsu_threshold(np.ascontiguousarray(belief.gp.values)))
            given.update({"threshold": threshold} if self.name == "straddle" else {"low": threshold, "high": np.inf})
        return given

    def _acquisition(self, posterior: Posterior, step: int) -> FloatArray:
        """(sites,) acquisition of the configured policy: mean over a site's candidates."""
        return self._belief.candidates.to_sites(evaluate(self.name, posterior, self._parameters(), self._key(step)))

    def _best(self, values: FloatArray, taken: BoolArray, step: int, last: int | None) -> list[int]:
        """Flat indices of the best `batch` sites, the believed value of each told before the next is chosen."""
        from probewise.acquisition import choose

        table, belief = self._configuration.acquisition, self._belief
        taken = taken.copy()
        posterior: Posterior = belief.gp
        cost = self._travel(last) if table.cost_weight and last is not None else None
        count = min(table.batch, int((~taken).sum()))
        sites: list[int] = []
        for number in range(count):
            if number:
                posterior = posterior.believe(self._middle(sites[-1]))
                values = self._acquisition(posterior, step)
            site = int(
                choose(posterior, values, visited=taken, cost=cost, cost_weight=table.cost_weight, key=self._key(step))[
                    0
                ]
            )
            taken[site] = True
            sites.append(site)
        return sites

    def _middle(self, site: int) -> int:
        """The candidate at the centre of a site."""
        own = self._belief.candidates.of_site[site]
        return int(own[len(own) // 2])

    def _travel(self, last: int) -> FloatArray:
        """(sites,) distance from the last site in diagonals of the field."""
        centres = self._sites.centres_nm
        distance = np.sqrt(((centres - centres[last]) ** 2).sum(axis=1))
        return np.asarray(distance / np.hypot(*self._sites.fov_nm))


def evaluate(name: str, posterior: Posterior, parameters: dict[str, Any], key: tuple[int, int]) -> FloatArray:
    """(c,) value of a policy by name at every candidate."""
    from probewise import acquisition

    if name == "thompson":
        return np.asarray(posterior.sample(key))
    functions = {
        "ucb": acquisition.upper_confidence_bound,
        "ei": acquisition.expected_improvement,
        "log-ei": acquisition.log_expected_improvement,
        "pi": acquisition.probability_of_improvement,
        "straddle": acquisition.straddle,
        "target": acquisition.target_probability,
        "max-std": acquisition.max_std,
    }
    return np.asarray(functions[name](posterior.mean, posterior.std, **parameters))


def is_space_filling(plan: Plan) -> bool:
    """Was the site chosen without looking at any value or at the survey?"""
    return plan.policy in (*ORDERS, "space filling")


def _first_free(order: IntArray, taken: BoolArray) -> int:
    return int(order[np.flatnonzero(~taken[order])[0]])


def _lattice(sites: Sites) -> Any:
    from probewise.types import Lattice

    return Lattice(sites.shape, sites.pitch_nm)
