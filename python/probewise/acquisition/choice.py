# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probewise._core import acquisition as _core
from probewise.acquisition.functions import POLICY_PARAMETERS, check_parameter, score
from probewise.acquisition.threshold import otsu_threshold
from probewise.types import BoolArray, FloatArray, IntArray, Posterior

_MEMBER_STREAM = 1 << 40  # as the engine's: stream of a batch member's own draw
_WORD = 2**64


def choose(
    posterior: Posterior,
    acquisition: str | FloatArray,
    *,
    q: int = 1,
    visited: BoolArray | IntArray | None = None,
    allow_told: bool = False,
    cost: FloatArray | None = None,
    cost_weight: float = 0.0,
    key: tuple[int, int] = (0, 0),
    method: Literal["believer", "top"] = "believer",
    **parameters: float,
) -> IntArray:
    """The next candidates to measure, best first, (min(q, free),) int64; never twice the same.

    posterior    anything with mean, std, sample, believe, bound; a GaussianProcess takes one fused compiled pass
    acquisition  a name of POLICIES, or scores (c,) float64 of the caller's own (-inf allowed, NaN refused)
    visited      never chosen: (c,) bool, or indices
    allow_told   a candidate that the posterior was told may be chosen again (a replicate)
    cost         (c,) float64, say travel time or dose; score - cost_weight * cost is maximised, in the units of the
                 acquisition
    key          (seed, step): breaks ties by a permutation, and seeds the draws of thompson
    method       how members after the first are found: "believer" tells the posterior its own mean at each member
                 chosen, "top" takes the best of one map. With scores of the caller's own it is always the latter;
                 thompson takes one draw a member
    parameters   of the policy: ucb beta=1; ei, log-ei, pi best, xi=0; straddle threshold, beta=1.96; target low,
                 high=inf. `best` defaults to the largest posterior mean among told sites, `threshold` and `low` to
                 Otsu's of the told values
    raises       ValueError when nothing is free; ValueError, TypeError naming the argument
    """
    engine = _compiled(posterior)
    size = len(posterior.mean) if engine is None else int(engine.size)
    if not isinstance(q, (int, np.integer)):
        raise TypeError(f"q is {q!r}, expected an integer")
    if q < 1:
        raise ValueError(f"q is {q}, expected at least 1")
    if method not in ("believer", "top"):
        raise ValueError(f"method is {method!r}, expected 'believer' or 'top'")
    mask = _mask(visited, size)
    cost_weight = check_parameter("cost_weight", cost_weight)
    charge = _cost(cost, size)
    key = _key(key)
    if isinstance(acquisition, str) and engine is not None:
        known = policy_parameters(posterior, acquisition, parameters)
        chosen: IntArray = engine.choose(
            acquisition, known, int(q), mask, allow_told, charge, cost_weight, key, method == "believer"
        )
        if chosen.size == 0:
            raise ValueError(_NOTHING_FREE)
        return chosen
    blocked = np.zeros(size, dtype=bool) if mask is None else mask.copy()
    if not allow_told:
        blocked[_told(posterior)] = True
    return _choose_generic(posterior, acquisition, int(q), blocked, charge, cost_weight, key, method, parameters)


def evaluate(posterior: Posterior, policy: str, *, key: tuple[int, int] = (0, 0), **parameters: float) -> FloatArray:
    """Scores (c,) of a policy by name, with the defaults that `choose` takes."""
    known = policy_parameters(posterior, policy, parameters)
    if policy == "thompson":
        seed, stream = _key(key)
        return posterior.sample((seed, stream + _MEMBER_STREAM))
    return score(policy, posterior.mean, posterior.std, **known)


def policy_parameters(posterior: Posterior, policy: str, given: dict[str, float]) -> dict[str, float]:
    """All parameters of a policy: those given, and the defaults of the others, found from the told values."""
    if policy not in POLICY_PARAMETERS:
        raise ValueError(f"acquisition is {policy!r}, expected one of {', '.join(POLICY_PARAMETERS)}")
    defaults = POLICY_PARAMETERS[policy]
    for name in given:
        if name not in defaults:
            takes = ", ".join(defaults) or "no parameters"
            raise TypeError(f"{name!r} is not a parameter of {policy!r}, expected {takes}")
    known = {name: check_parameter(name, number) for name, number in given.items()}
    for name, default in defaults.items():
        if name in known:
            continue
        if default is not None:
            known[name] = default
        elif name == "best":
            engine = _compiled(posterior)
            if engine is not None:
                known[name] = engine.largest_told_mean()
                continue
            told = _told(posterior)
            known[name] = float(posterior.mean[told].max()) if told.size else float(posterior.mean.max())
        else:
            values = getattr(posterior, "values", None)
            if values is None or len(values) == 0:
                raise ValueError(f"{name} of {policy!r} is missing, and there are no told values to find it from")
            known[name] = otsu_threshold(values)
    if known.get("low", -np.inf) > known.get("high", np.inf):
        raise ValueError(f"low is {known['low']}, high {known['high']}, expected low not above high")
    return known


def _compiled(posterior: Posterior) -> Any:
    """The engine of a Gaussian process, on the CPU or a device; None of any other posterior."""
    engine = getattr(posterior, "engine", None)
    return engine if callable(getattr(engine, "largest_told_mean", None)) else None


_NOTHING_FREE = "no candidate is free: all are visited, masked or told"


def _choose_generic(
    posterior: Posterior,
    acquisition: str | FloatArray,
    q: int,
    blocked: BoolArray,
    cost: FloatArray | None,
    cost_weight: float,
    key: tuple[int, int],
    method: str,
    parameters: dict[str, float],
) -> IntArray:
    if not isinstance(acquisition, str):
        if parameters:
            raise TypeError(
                f"{', '.join(parameters)}: parameters belong to a policy by name, not to an array of scores"
            )
        scores = _own_scores(acquisition, len(blocked))
        method = "top"
    else:
        scores = None
        known = policy_parameters(posterior, acquisition, parameters)
    believes = method == "believer" and acquisition != "thompson" if isinstance(acquisition, str) else False
    chosen: list[int] = []
    while len(chosen) < q:
        if isinstance(acquisition, str) and (scores is None or believes or acquisition == "thompson"):
            if acquisition == "thompson":
                scores = posterior.sample((key[0], key[1] + (len(chosen) + 1) * _MEMBER_STREAM))
                _refuse_nan("posterior.sample", scores)
            else:
                scores = score(acquisition, posterior.mean, posterior.std, **known)
        assert scores is not None
        net = scores if cost is None else scores - cost_weight * cost
        best = _core.choose_best(np.ascontiguousarray(net, dtype=np.float64), blocked, key)
        if best < 0:
            break
        chosen.append(best)
        blocked[best] = True
        if believes and len(chosen) < q:
            posterior = posterior.believe(best)
    if not chosen:
        raise ValueError(_NOTHING_FREE)
    return np.array(chosen, dtype=np.int64)


def _own_scores(scores: object, size: int) -> FloatArray:
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float64:
        raise TypeError(f"acquisition is {_what(scores)}, expected a policy's name or float64 scores ({size},)")
    if scores.shape != (size,):
        raise ValueError(f"acquisition is {_what(scores)}, expected shape ({size},)")
    _refuse_nan("acquisition", scores)
    return np.ascontiguousarray(scores)


def _refuse_nan(name: str, scores: FloatArray) -> None:
    unknown = np.isnan(scores)
    if unknown.any():
        raise ValueError(f"{name} holds NaN at {int(unknown.argmax())}, expected numbers or -inf")


def _mask(visited: BoolArray | IntArray | None, size: int) -> BoolArray | None:
    if visited is None:
        return None
    given: npt.NDArray[np.generic] = np.asarray(visited)
    if given.dtype == np.bool_:
        if given.shape != (size,):
            raise ValueError(f"visited is {_what(given)}, expected shape ({size},), one entry for each candidate")
        return np.ascontiguousarray(given, dtype=np.bool_)
    if given.size == 0:
        return None
    if given.dtype.kind not in "iu" or given.ndim != 1:
        raise TypeError(f"visited is {_what(given)}, expected a ({size},) bool array or indices (n,)")
    indices = given.astype(np.int64)
    if indices.min() < 0 or indices.max() >= size:
        raise ValueError(f"visited holds {int(indices.min())} to {int(indices.max())}, expected 0 to {size - 1}")
    mask = np.zeros(size, dtype=bool)
    mask[indices] = True
    return mask


def _cost(cost: FloatArray | None, size: int) -> FloatArray | None:
    if cost is None:
        return None
    if not _is_float64(cost):
        raise TypeError(f"cost is {_what(cost)}, expected a float64 array of shape ({size},)")
    if cost.shape != (size,):
        raise ValueError(f"cost is {_what(cost)}, expected shape ({size},), one entry for each candidate")
    if not np.isfinite(cost).all():
        raise ValueError("cost holds a number that is not finite; mask such candidates with visited")
    return np.ascontiguousarray(cost)


def _told(posterior: Posterior) -> IntArray:
    indices = getattr(posterior, "indices", None)
    return np.empty(0, dtype=np.int64) if indices is None else np.asarray(indices, dtype=np.int64)


def _key(key: tuple[int, int]) -> tuple[int, int]:
    seed, step = int(key[0]), int(key[1])
    if not (0 <= seed < _WORD and 0 <= step < _MEMBER_STREAM):
        raise ValueError(f"key is {key}, expected (seed, step), seed under 2^64 and step under 2^40, neither negative")
    return seed, step


def _is_float64(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def _what(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return f"{value!r} ({type(value).__name__})"
