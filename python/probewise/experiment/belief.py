# SPDX-License-Identifier: BSD-3-Clause
"""What is believed of all sites: standardised values, told to the surrogate, refitted on a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from probewise.experiment.config import SurrogateTable
from probewise.experiment.sites import Candidates
from probewise.experiment.trend import Trended, slope
from probewise.experiment.values import combine
from probewise.types import FloatArray, IntArray, Posterior

Offset: TypeAlias = Literal["level", "lowest"]

# Share of the values' spread that is noise, from which on a notice says so.
NOISE_EXPLAINS = 0.8


@dataclass(frozen=True)
class FitRecord:
    """One fit as journalled: applying it again gives the same state without fitting.

    lengthscale in pitches, as the spacing of the candidates; variance and noise of the standardised values;
    offset and scale in units of the values, slope in these over the brightness that is told
    """

    lengthscale: float
    variance: float
    noise: float
    offset: float
    scale: float
    log_marginal_likelihood: float | None
    at_bound: tuple[str, ...]
    evaluations: int
    spacing: float
    stable: bool
    slope: float = 0.0

    @property
    def doubt(self) -> str:
        """Why the maps are not to be followed, "" when they are: where there was nothing to fit, or no end of it.

        Little information is no reason. Point defects are one or none in a cell, so that nearly all of the spread is
        noise about a density that does lead on; walls are narrower than a pitch; and sites spread over the field cannot
        tell what their neighbours would have. Spreading the sites then cost four tenths of the recall of a boundary in
        graphene. Where neighbours tell nothing at all, following them costs nothing.
        """
        if self.stable or (self.evaluations > 0 and self.weakness):
            return ""
        return "the surrogate's fit is unstable"

    @property
    def weakness(self) -> str:
        """What the maps lack, "" when nothing.

        Noise is compared with the spread of the values, which is 1: where the prior mean is their lowest, the
        variance holds their level as well.
        """
        if self.noise >= NOISE_EXPLAINS * min(1.0, self.variance + self.noise):
            return "the spread of the values is mostly noise: neighbouring sites tell little of each other"
        if self.lengthscale < 1.0:
            return "the fitted lengthscale is under the pitch: neighbouring sites tell little of each other"
        return ""

    @property
    def at_upper_bound(self) -> list[str]:
        """Those of `at_bound` that wanted to be larger; a noise at its lower bound is that of good data."""
        typical = {"lengthscale": self.spacing, "variance": 1.0, "noise": 1.0}  # each between its bounds
        return [name for name in self.at_bound if getattr(self, name) > typical[name]]

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "at_bound": list(self.at_bound)}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> FitRecord:
        return cls(**{**table, "at_bound": tuple(table["at_bound"])})


@dataclass(frozen=True)
class Told:
    """What one frame gave: candidates and raw values, one each; variance in squared units of these, None: unknown."""

    site: int
    candidates: IntArray
    values: FloatArray
    variance: FloatArray | None = None


class Belief:
    """The Gaussian process over the candidates, in standardised values less their trend.

    device      of the Gaussian process
    offset      what is subtracted, and so the prior mean of places not measured: the values' "level" or the "lowest";
                where there is a trend, the level of what it leaves over
    brightness  (c,) that the values may follow, found at each fit (`slope`); None: nothing is known
    """

    def __init__(
        self,
        candidates: Candidates,
        table: SurrogateTable,
        offset: Offset = "level",
        brightness: FloatArray | None = None,
        device: str = "cpu",
    ) -> None:
        from probewise.surrogate import GaussianProcess

        self.candidates = candidates
        self._table = table
        self._rule: Offset = offset
        self._device = device
        self._brightness = np.zeros(candidates.of_site.size) if brightness is None else brightness
        self.offset, self.scale, self.slope = 0.0, 1.0, 0.0
        self.told: list[Told] = []
        self.last_fit: FitRecord | None = None
        self._moved = False  # whether a fit has set the hyper-parameters
        self._lost: tuple[str, ...] = ()
        self.gp = GaussianProcess(
            candidates.space,
            kernel=table.kernel,
            lengthscale=table.lengthscale,
            noise=table.noise,
            precision=table.precision,
            device=device,
        )

    def tell(self, site: int, candidates: IntArray, values: FloatArray, variance: FloatArray | None = None) -> None:
        """Add one frame's values; several at one candidate become one first, since one frame's windows overlap.

        variance  of each value's own error, None where it is not known
        """
        unique, inverse = np.unique(candidates, return_inverse=True)
        self._add(Told(site, unique, *combine(values, variance, inverse, len(unique))))

    def _add(self, told: Told) -> None:
        self.told.append(told)
        noise = 0.0 if told.variance is None else told.variance / self.scale**2
        self.gp.tell(told.candidates, (self._rest(told) - self.offset) / self.scale, noise=noise)

    def replace(self, candidates: list[IntArray], values: list[FloatArray]) -> None:
        """New values for all frames after a change of basis; another column may be finite at other candidates."""
        moved, again = False, []
        for told, indices, raw in zip(self.told, candidates, values, strict=True):
            unique, inverse = np.unique(indices, return_inverse=True)
            moved = moved or not np.array_equal(unique, told.candidates)
            again.append(replace(told, candidates=unique, values=combine(raw, None, inverse, len(unique))[0]))
        self.told = again
        if moved:
            self.gp.reset()
            self.gp.tell(
                np.concatenate([told.candidates for told in self.told]),
                np.concatenate([told.values for told in self.told]),
            )
        self.standardise()

    def standardise(self) -> None:
        """Offset and scale from all values so far, and everything told again with them."""
        if not self.told:
            return
        everything = np.concatenate([self._rest(told) for told in self.told])
        spread = float(everything.std())
        scale = spread if spread > 0 else 1.0
        if self._rule == "lowest" and self.slope == 0:
            offset = float(everything.min())
        else:
            self._tell_again(everything, scale)
            offset = float(self.gp.level())
        self._restate(offset, scale)

    def _restate(self, offset: float, scale: float) -> None:
        self.offset, self.scale = offset, scale
        everything = np.concatenate([self._rest(told) for told in self.told])
        self._tell_again((everything - offset) / scale, scale)

    def _tell_again(self, values: FloatArray, scale: float) -> None:
        """Other values in place of all told ones; variances of their own change with the scale, and the factor too."""
        if all(told.variance is None for told in self.told):
            self.gp.set_values(values)
            return
        noise = [np.zeros(len(told.values)) if told.variance is None else told.variance for told in self.told]
        indices = np.concatenate([told.candidates for told in self.told])
        self.gp.reset()
        self.gp.tell(indices, values, noise=np.concatenate(noise) / scale**2)

    def _rest(self, told: Told) -> FloatArray:
        """Values of one frame without what brightness tells of them."""
        return told.values - self.slope * self._brightness[told.candidates] if self.slope else told.values

    def _slope(self) -> float:
        known = [told for told in self.told if len(told.values)]
        bright = np.array([self._brightness[told.candidates].mean() for told in known])
        return slope(bright, np.array([told.values.mean() for told in known]))

    def fit(self) -> FitRecord:
        """Find the trend, standardise, move the hyper-parameters by MAP, and standardise again: the level depends on
        them.
        """
        self.slope = self._slope()
        self.standardise()
        result = self.gp.fit()
        self._moved |= result.evaluations > 0
        self.standardise()
        self.last_fit = FitRecord(
            lengthscale=float(result.lengthscale),
            variance=float(result.variance),
            noise=float(result.noise),
            offset=self.offset,
            scale=self.scale,
            log_marginal_likelihood=_finite(result.log_marginal_likelihood),
            at_bound=tuple(result.at_bound),
            evaluations=int(result.evaluations),
            spacing=1.0 / self.candidates.refine,
            stable=bool(result.stable),
            slope=self.slope,
        )
        return self.last_fit

    def apply(self, record: FitRecord) -> None:
        """The state that `fit` left behind, from its record."""
        if record.evaluations > 0:  # otherwise nothing moved then
            self.gp.set_hyperparameters(record.lengthscale, record.variance, record.noise)
            self._moved = True
        self.slope = record.slope
        self._restate(record.offset, record.scale)
        self.last_fit = record

    def snapshot(self) -> Callable[[], Belief]:
        """What is believed now; what is returned makes it, on whatever thread, into a belief of its own."""
        told = list(self.told)
        hyperparameters = (self.gp.lengthscale, self.gp.variance, self.gp.noise)
        moved, offset, scale, slope = self._moved, self.offset, self.scale, self.slope
        device = self._device if self.gp.device == "cuda" else "cpu"  # it may have been lost

        def make() -> Belief:
            belief = Belief(self.candidates, self._table, self._rule, self._brightness, device)
            if moved:
                belief.gp.set_hyperparameters(*hyperparameters)
                belief._moved = True
            belief.offset, belief.scale, belief.slope = offset, scale, slope
            for one in told:
                belief._add(one)
            return belief

        return make

    def take_over(self, fitted: Belief, *, with_values: bool) -> None:
        """Go on with the belief that a snapshot of this one has become.

        with_values  its values are others, and what came since the snapshot is still to be told; otherwise it is here
        """
        if with_values:
            self.told = fitted.told
        else:
            for one in self.told[len(fitted.told) :]:
                fitted._add(one)
        self._lost = self.notices
        self.gp, self.offset, self.scale, self.slope = fitted.gp, fitted.offset, fitted.scale, fitted.slope
        self.last_fit, self._moved = fitted.last_fit, fitted._moved

    @property
    def notices(self) -> tuple[str, ...]:
        """What became of a device that was lost; a fit beside the loop may have met the same loss once more."""
        return self._lost or self.gp.notices

    @property
    def posterior(self) -> Posterior:
        """What policies ask: standardised, the trend included."""
        return Trended(self.gp, self.slope / self.scale * self._brightness) if self.slope else self.gp

    @property
    def fine_mean(self) -> FloatArray:
        """(c,) posterior mean of the candidates in units of the values."""
        return np.asarray(self.posterior.mean, dtype=np.float64) * self.scale + self.offset

    @property
    def fine_std(self) -> FloatArray:
        """(c,) posterior deviation of the candidates in units of the values."""
        return np.asarray(self.gp.std, dtype=np.float64) * self.scale

    @property
    def mean(self) -> FloatArray:
        """(sites,) posterior mean in units of the values."""
        return self.candidates.to_sites(np.asarray(self.posterior.mean, dtype=np.float64)) * self.scale + self.offset

    @property
    def std(self) -> FloatArray:
        """(sites,) posterior deviation in units of the values: mean over a site's candidates."""
        return self.candidates.to_sites(np.asarray(self.gp.std, dtype=np.float64)) * self.scale

    def standardised(self, value: float) -> float:
        return (value - self.offset) / self.scale


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
