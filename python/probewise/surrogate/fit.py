# SPDX-License-Identifier: BSD-3-Clause
"""Hyperparameters by maximum a posteriori.

Everything is optimised in logarithms of relative quantities: lengthscale over the spacing of the candidates, variance
and noise over the variance of the told values. Priors and bounds are stated in these, so that scaling values or
coordinates scales the result and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probewise._core.surrogate import Likelihood
from probewise.errors import NotPositiveDefinite
from probewise.types import FloatArray, Lattice


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit found.

    lengthscale              float, or (d,) when the process has one for each axis
    variance, noise          in squared units of the values
    log_marginal_likelihood  at these, priors not included
    at_bound                 names of those that ended on a bound: "lengthscale", "variance", "noise"
    evaluations              of the likelihood; 0 when there was nothing to fit and nothing moved
    stable                   False: the maps say nothing beyond the told sites (lengthscale under the spacing, noise
                             explains everything, too few or constant values, not converged)
    """

    lengthscale: float | FloatArray
    variance: float
    noise: float
    log_marginal_likelihood: float
    at_bound: tuple[str, ...]
    evaluations: int
    stable: bool


# Centre and width of the normal priors on the logarithms, and the bounds, relative as said above. The lower bound of
# the noise is 1 % of the variance of the values: scan and shot noise are never less, and a fit of few sites that
# calls them exact makes improvement-based policies polish single maxima. The lower bound of the lengthscale lets
# neighbouring candidates correlate (Matern 5/2 by 0.3): a shorter one explains scatter as well as noise does, but takes
# the map away from under it.
LENGTHSCALE_PRIOR = (math.log(3.0), 1.0)
VARIANCE_PRIOR = (0.0, 1.5)
NOISE_PRIOR = (math.log(1e-2), 2.0)
SHORTEST = 0.7
VARIANCE_BOUNDS = (1e-3, 1e3)
NOISE_BOUNDS = (1e-2, 4.0)

NOISE_EXPLAINS = 0.8  # share of noise in variance + noise from which on nothing is left to map
FEWEST = 3


def length_unit(candidates: Lattice | FloatArray) -> float:
    """Spacing of a lattice (geometric mean of both), or the median distance of a point to its nearest other point."""
    if isinstance(candidates, Lattice):
        return math.sqrt(candidates.spacing[0] * candidates.spacing[1])
    from scipy.spatial import cKDTree

    distinct = np.unique(candidates, axis=0)
    if len(distinct) < 2:
        return 1.0
    return float(np.median(cKDTree(distinct).query(distinct, k=2)[0][:, 1]))


def fit_hyperparameters(
    *,
    points: FloatArray,
    values: FloatArray,
    own_noise: FloatArray,
    mean: float,
    kernel: str,
    alpha: float,
    unit: float,
    extent: float,
    present: tuple[FloatArray, float, float],
    isotropic: bool,
    warm: bool,
) -> FitResult:
    """Fit on told points (n, d) and values (n,); `unit` and `extent` are lengths of the candidates.

    own_noise  (n,) variance of each value beyond the fitted noise
    isotropic  one lengthscale for all axes, otherwise one each
    warm       start from `present` (lengthscale (d,), variance, noise) too, not only from the centre of the priors
    """
    from scipy.optimize import minimize

    scale = float(np.var(values)) if len(values) else 0.0
    offset = values - mean
    floor = 1e-24 * float(np.max(np.abs(offset), initial=0.0)) ** 2
    if len(np.unique(points, axis=0)) < FEWEST or not scale > floor:
        return _nothing_to_fit(present, isotropic)
    axes = points.shape[1]
    free = 1 if isotropic else axes
    likelihood = Likelihood(
        np.ascontiguousarray(points / unit), offset / math.sqrt(scale), kernel, alpha, own_noise / scale
    )
    longest = max(2.0 * extent / unit, 2.0 * SHORTEST)
    bounds = [(math.log(SHORTEST), math.log(longest))] * free
    bounds += [(math.log(low), math.log(high)) for low, high in (VARIANCE_BOUNDS, NOISE_BOUNDS)]
    priors = np.array([LENGTHSCALE_PRIOR] * free + [VARIANCE_PRIOR, NOISE_PRIOR])
    evaluations = 0
    likeliest: dict[bytes, float] = {}  # log likelihood by place, so that the best is not evaluated again

    def objective(logs: FloatArray) -> tuple[float, FloatArray]:
        nonlocal evaluations
        evaluations += 1
        scales = np.full(axes, math.exp(logs[0])) if isotropic else np.exp(logs[:axes])
        try:
            value, slope = likelihood.evaluate(scales, math.exp(logs[-2]), math.exp(logs[-1]))
        except NotPositiveDefinite:
            return 1e25, np.zeros_like(logs)
        likeliest[logs.tobytes()] = value
        if isotropic:
            slope = np.concatenate([[slope[:axes].sum()], slope[axes:]])
        apart = (logs - priors[:, 0]) / priors[:, 1]
        return -value + 0.5 * float(apart @ apart), -slope + apart / priors[:, 1]

    lowest, highest = np.array(bounds).T
    starts = [np.clip(priors[:, 0], lowest, highest)]
    if warm:
        lengths, variance, noise = present
        relative = np.array([*(lengths[:free] / unit), variance / scale, max(noise / scale, NOISE_BOUNDS[0])])
        starts.append(np.clip(np.log(relative), lowest, highest))
    # Converged to 1e-7 of the objective: a thousandth of what one value of a thousand tells about it.
    options = {"ftol": 1e-7, "gtol": 1e-4}
    runs = [minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts]
    best = min(runs, key=lambda run: float(run.fun))
    logs = np.asarray(best.x, dtype=np.float64)
    scales, variance, noise = np.exp(logs[:free]), math.exp(logs[-2]), math.exp(logs[-1])
    touching = np.minimum(logs - lowest, highest - logs) < 1e-6
    names = ["lengthscale"] * free + ["variance", "noise"]
    at_bound = tuple(dict.fromkeys(name for name, touches in zip(names, touching, strict=True) if touches))
    value = likeliest[logs.tobytes()]
    stable = bool(best.success) and float(scales.min()) >= 1.0 and noise < NOISE_EXPLAINS * (variance + noise)
    return FitResult(
        lengthscale=float(scales[0]) * unit if isotropic else scales * unit,
        variance=variance * scale,
        noise=noise * scale,
        log_marginal_likelihood=value - 0.5 * len(values) * math.log(scale),
        at_bound=at_bound,
        evaluations=evaluations,
        stable=stable,
    )


def _nothing_to_fit(present: tuple[FloatArray, float, float], isotropic: bool) -> FitResult:
    lengths, variance, noise = present
    return FitResult(
        lengthscale=float(lengths[0]) if isotropic else lengths,
        variance=variance,
        noise=noise,
        log_marginal_likelihood=math.nan,
        at_bound=(),
        evaluations=0,
        stable=False,
    )
