# SPDX-License-Identifier: BSD-3-Clause
"""What is believed of all sites: standardised values, told to the surrogate, refitted on a schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from probewise.experiment.config import SurrogateTable
from probewise.experiment.sites import Candidates
from probewise.experiment.values import combine
from probewise.types import FloatArray, IntArray

Offset: TypeAlias = Literal["level", "lowest"]

# Share of the values' spread that is noise, from which on a notice says so.
NOISE_EXPLAINS = 0.8


@dataclass(frozen=True)
class FitRecord:
    """One fit as journalled: applying it again gives the same state without fitting.

    lengthscale in pitches, as the spacing of the candidates; variance and noise of the standardised values;
    offset and scale in units of the values
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


@dataclass
class Told:
    """What one frame gave: candidates and raw values, one each; variance in squared units of these, None: unknown."""

    site: int
    candidates: IntArray
    values: FloatArray
    variance: FloatArray | None = None


class Belief:
    """The Gaussian process over the candidates, in standardised values.

    device  of the Gaussian process
    offset  what is subtracted, and so the prior mean of places not measured: the values' "level" or the "lowest"
    """

    def __init__(
        self, candidates: Candidates, table: SurrogateTable, offset: Offset = "level", device: str = "cpu"
    ) -> None:
        from probewise.surrogate import GaussianProcess

        self.candidates = candidates
        self._rule: Offset = offset
        self.offset, self.scale = 0.0, 1.0
        self.told: list[Told] = []
        self.last_fit: FitRecord | None = None
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
        told = Told(site, unique, *combine(values, variance, inverse, len(unique)))
        self.told.append(told)
        noise = 0.0 if told.variance is None else told.variance / self.scale**2
        self.gp.tell(unique, (told.values - self.offset) / self.scale, noise=noise)

    def replace(self, candidates: list[IntArray], values: list[FloatArray]) -> None:
        """New values for all frames after a change of basis; another column may be finite at other candidates."""
        moved = False
        for told, indices, raw in zip(self.told, candidates, values, strict=True):
            unique, inverse = np.unique(indices, return_inverse=True)
            moved = moved or not np.array_equal(unique, told.candidates)
            told.candidates = unique
            told.values, _ = combine(raw, None, inverse, len(unique))
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
        everything = np.concatenate([told.values for told in self.told])
        spread = float(everything.std())
        scale = spread if spread > 0 else 1.0
        if self._rule == "lowest":
            offset = float(everything.min())
        else:
            self._tell_again(everything, scale)
            offset = float(self.gp.level())
        self._restate(offset, scale)

    def _restate(self, offset: float, scale: float) -> None:
        self.offset, self.scale = offset, scale
        everything = np.concatenate([told.values for told in self.told])
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

    def fit(self) -> FitRecord:
        """Standardise, move the hyper-parameters by MAP, and standardise again: the level depends on them."""
        self.standardise()
        result = self.gp.fit()
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
        )
        return self.last_fit

    def apply(self, record: FitRecord) -> None:
        """The state that `fit` left behind, from its record."""
        if record.evaluations > 0:  # otherwise nothing moved then
            self.gp.set_hyperparameters(record.lengthscale, record.variance, record.noise)
        self._restate(record.offset, record.scale)
        self.last_fit = record

    @property
    def mean(self) -> FloatArray:
        """(sites,) posterior mean in units of the values."""
        return self.candidates.to_sites(np.asarray(self.gp.mean, dtype=np.float64)) * self.scale + self.offset

    @property
    def std(self) -> FloatArray:
        """(sites,) posterior deviation in units of the values: mean over a site's candidates."""
        return self.candidates.to_sites(np.asarray(self.gp.std, dtype=np.float64)) * self.scale

    def standardised(self, value: float) -> float:
        return (value - self.offset) / self.scale


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
