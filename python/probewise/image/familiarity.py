# SPDX-License-Identifier: BSD-3-Clause
"""Whether a frame is like those that a network was made for, from what is computed anyway.

Statistics of the input and of the network's answer, Mahalanobis distance to the home frames of the same group: those
in which most atoms are of the same family, in a lattice or scattered. A stated share of home frames passes the limit. A
frame in which nothing is found is judged by its input alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise._core import image as _image
from probewise.types import Familiarity, Float32Array, FloatArray, IntArray

SMALLEST_PX = 96  # native pixels; home frames are no smaller
FEWEST_ATOMS = 8
NOTHING = "nothing"  # group of a frame with fewer atoms
SCATTERED = "scattered"  # group of a frame whose atoms form no lattice
INPUT = ("shrunk", "grown", "contrast", "skewness", "smooth x", "smooth y", "coarse x", "coarse y", "rows")
ANSWER = ("doubt", "density", "score", "certainty", "height")
LATTICE = ("spacing", "spread of the spacing", "neighbour 2", "neighbour 3", "neighbour 4", "neighbour 6")
_LATTICE_ATOMS = 20  # of fewer, a small spread says nothing
_LATTICE_SPREAD = math.log(0.25)  # of the middle half of the distances to the nearest atom, relative
_LEAST_SHARE = 0.05  # of a class: shares of rare classes have no spread at home


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of one frame: its group (the commonest family of classes, or NOTHING), and values by the names in `names_of`."""

    group: str
    values: FloatArray


def names_of(classes: Sequence[str], group: str) -> tuple[str, ...]:
    return INPUT if group == NOTHING else (*INPUT, *ANSWER, *LATTICE, *(f"share of {name}" for name in classes))


def atom_statistics(
    scaled: Float32Array,
    zoom: float,
    presence: Float32Array,
    classes: Float32Array,
    names: Sequence[str],
    yx: FloatArray,
    label: IntArray,
    score: FloatArray,
    stride: float,
) -> Statistics | None:
    """None for a frame that is too small to be judged.

    scaled    (rows, cols) the network's input on its native grid;  zoom  its pixels per pixel of the frame
    presence  (rows, cols) probability of an atom;  classes  (k, rows / stride, cols / stride) of each of the `names`
    yx        (n, 2) atoms on that grid;  label  (n,) index into `names`;  score  (n,) probability
    """
    if min(scaled.shape) < SMALLEST_PX:
        return None
    image, mean, deviation = _of_input(scaled, zoom)
    if len(yx) < FEWEST_ATOMS:
        return Statistics(NOTHING, np.array(image))
    doubt, certainty, height, near, low, high = _image.answer_statistics(scaled, presence, classes, stride, yx)
    answer = [
        math.log(doubt + 1e-3),
        math.log(len(yx) / scaled.size),
        float(np.add.reduce(score)) / len(score),
        math.log(1.001 - certainty),
        math.asinh((height - mean) / deviation),
    ]
    nearest = max(near[0], 1e-3)
    spread = math.log((high - low) / nearest + 0.02)
    lattice = [math.log(nearest), spread, *(math.log(max(one, 1e-3) / nearest) for one in near[1:])]
    share = [count / len(yx) for count in np.bincount(label, minlength=len(names)).tolist()]
    values = np.array([*image, *answer, *lattice, *share])
    group = _family(names, share)
    scattered = len(yx) < _LATTICE_ATOMS or spread > _LATTICE_SPREAD
    return Statistics(f"{SCATTERED} {group}" if scattered else group, values)


def _family(names: Sequence[str], share: Sequence[float]) -> str:
    """The commonest first word of a class: a perovskite's A and B, or metal and chalcogen, are about as many."""
    total: dict[str, float] = {}
    for name, part in zip(names, share, strict=True):
        word = name.partition(" ")[0]
        total[word] = total.get(word, 0.0) + part
    return max(total, key=total.__getitem__)


def _of_input(scaled: Float32Array, zoom: float) -> tuple[list[float], float, float]:
    """Values by the names in INPUT, the mean and the standard deviation."""
    mean, deviation, skewness, correlations, rows = _image.input_statistics(scaled)
    grown = math.log(zoom)  # noise of a frame that was resampled is smoother, differently each way
    # asinh is nearly the value where it is small, its logarithm where it is large: bright spots give it a long tail
    values = [max(-grown, 0.0), max(grown, 0.0), math.log(deviation), math.asinh(skewness), *correlations]
    return [*values, math.log(rows)], mean, deviation


class HomeFrames:
    """The reference statistics of a model.

    fitted by `fit_home`, kept in the card's field `ood`
    """

    def __init__(self, classes: Sequence[str], table: Mapping[str, Any]) -> None:
        """raises  ValueError for a table that `fit_home` did not make"""
        self._classes = tuple(classes)
        try:
            self.rate = float(table["rate"])
            self._few = frozenset(str(name) for name in table["few"])
            self._groups = {
                str(name): (
                    names_of(self._classes, str(name)),
                    np.array(one["mean"]),
                    _unpacked(one["whitening"]),
                    float(one["limit"]),
                )
                for name, one in table["groups"].items()
            }
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"ood is no table of home frames ({problem!r}), expected what fit_home makes") from problem
        for name, (names, mean, whitening, limit) in self._groups.items():
            length = len(names)
            if mean.shape != (length,) or len(whitening) != length or not limit > 0:
                raise ValueError(
                    f"ood.groups.{name} has {len(mean)} means, {len(whitening)} rows and the limit {limit}, expected "
                    f"{length} of both and a positive limit"
                )

    def judge(self, frame: Statistics) -> Familiarity | None:
        """Distance in units of the limit; infinite for a group that no home frame is in, None for one with too few."""
        known = self._groups.get(frame.group)
        if known is None:
            if frame.group in self._few:
                return None
            return Familiarity(float("inf"), self.rate, f"most atoms are taken for {frame.group}")
        names, mean, whitening, limit = known
        off = frame.values - mean
        white = whitening @ off
        worst = int((off * (white @ whitening)).argmax())
        reason = f"{names[worst]} is {frame.values[worst]:.3g}, {mean[worst]:.3g} in frames of {frame.group}"
        return Familiarity(math.sqrt(float(white @ white)) / limit, self.rate, reason)


def home_of(classes: Sequence[str], table: Mapping[str, Any] | None) -> HomeFrames | None:
    """The reference statistics of a card, None where it has none."""
    return None if table is None else HomeFrames(classes, table)


def fit_home(frames: Sequence[Statistics], *, rate: float = 0.01) -> dict[str, Any]:
    """The card's field `ood` from the statistics of home frames.

    rate    share of home frames beyond the limit of their group, each measured against a fit of four fifths without it
    raises  ValueError where no group has frames enough
    """
    lengths = {one.group: len(one.values) for one in frames}
    groups, few = {}, []
    for group, length in sorted(lengths.items()):
        values = np.array([one.values for one in frames if one.group == group])
        if len(values) < max(20, length):
            few.append(group)
            continue
        spread = _pooled([one for one in frames if len(one.values) == length])
        folds = np.arange(len(values)) % 5
        distance = np.empty(len(values))
        for fold in range(5):
            distance[folds == fold] = _distance(values[folds == fold], *_normal(values[folds != fold], spread))
        mean, whitening = _normal(values, spread)
        groups[group] = {
            "frames": len(values),
            "limit": round(float(np.quantile(distance, 1 - rate)), 4),
            "mean": mean.round(5).tolist(),
            "whitening": _packed(whitening),
        }
    if not groups:
        raise ValueError(f"frames holds {len(frames)}, expected more of one dominant class than it has statistics")
    return {"rate": rate, "groups": groups, "few": few}


def widened(table: Mapping[str, Any], frames: Sequence[Statistics]) -> dict[str, Any]:
    """The table of a network that was trained on with `frames`: in their groups they count as much as home does.

    A group that home does not have gets the spread of the others and their median limit.
    """
    groups = {name: dict(one) for name, one in table["groups"].items()}
    for name in sorted({one.group for one in frames}):
        values = np.array([one.values for one in frames if one.group == name])
        like = [_unpacked(one["whitening"]) for one in groups.values() if len(one["mean"]) == values.shape[1]]
        known = groups.get(name)
        if known is None and not like:
            continue
        mean, own = values.mean(axis=0), np.atleast_2d(np.cov(values.T, bias=True))
        if known is None:
            spread = np.mean([np.diag(_covariance(one)) for one in like], axis=0)
            covariance, limit = own + np.diag(spread), float(np.median([one["limit"] for one in groups.values()]))
        else:
            apart = mean - np.array(known["mean"])
            # a few frames say little of their own spread: that of home is added to it
            covariance = _covariance(_unpacked(known["whitening"])) + own / 2 + np.outer(apart, apart) / 4
            mean, limit = mean - apart / 2, float(known["limit"])
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        count = len(values) + (0 if known is None else int(known["frames"]))
        groups[name] = {
            "frames": count,
            "limit": limit,
            "mean": mean.round(5).tolist(),
            "whitening": _packed(whitening),
        }
    return {**table, "groups": groups}


def _covariance(whitening: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(whitening.T @ whitening))


def _pooled(frames: Sequence[Statistics]) -> FloatArray:
    """(f,) variances within the groups."""
    parts = [np.array([one.values for one in frames if one.group == name]) for name in {one.group for one in frames}]
    return np.asarray(sum(len(part) * part.var(axis=0) for part in parts) / len(frames))


def _normal(values: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and whitening of all but the farthest fiftieth, with a share of the pooled variances added."""
    mean, whitening = _moments(values, spread)
    distance = _distance(values, mean, whitening)
    return _moments(values[distance <= np.quantile(distance, 0.98)], spread)


def _moments(values: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
    shares = np.arange(values.shape[1]) >= len(INPUT) + len(ANSWER) + len(LATTICE)
    covariance = np.cov(values.T) + np.diag(0.05 * spread + np.where(shares, _LEAST_SHARE**2, 1e-6))
    return values.mean(axis=0), np.linalg.inv(np.linalg.cholesky(covariance))


def _distance(values: FloatArray, mean: FloatArray, whitening: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm((values - mean) @ whitening.T, axis=1))


def _packed(lower: FloatArray) -> list[str]:
    """A text for each row of a lower triangle: as numbers the card would be thousands of lines long."""
    return [" ".join(f"{value:.5g}" for value in row[: number + 1]) for number, row in enumerate(lower)]


def _unpacked(rows: Sequence[str]) -> FloatArray:
    out = np.zeros((len(rows), len(rows)))
    for number, row in enumerate(rows):
        out[number, : number + 1] = [float(value) for value in row.split()]
    return out
