# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from probewise.experiment.belief import Belief, FitRecord
from probewise.experiment.config import SurrogateTable
from probewise.experiment.sites import Candidates
from probewise.surrogate import GaussianProcess
from probewise.types import SiteLattice


def told(offset: str, values: list[float]) -> Belief:
    belief = Belief(Candidates.over(SiteLattice((20, 20), 1.0, (40.0, 40.0)), 1), SurrogateTable(), offset)  # type: ignore[arg-type]
    for number, value in enumerate(values):
        belief.tell(number * 7, np.array([number * 7]), np.array([value]))
    return belief


VALUES = [3.0, 3.1, 2.9, 3.2, 9.0, 2.8, 3.0, 8.5]


def test_lowest_takes_the_lowest_told_value() -> None:
    belief = told("lowest", VALUES)
    record = belief.fit()
    assert record.offset == belief.offset == 2.8
    assert belief.mean[399] == pytest.approx(2.8, abs=0.5)  # far from all told sites: the prior mean


def test_level_takes_the_process_s_own() -> None:
    belief = told("level", VALUES)
    record = belief.fit()
    plain = GaussianProcess(belief.candidates.space, kernel="matern52", lengthscale=record.lengthscale)
    plain.set_hyperparameters(record.lengthscale, record.variance, record.noise)
    plain.tell(np.arange(8) * 7, np.array(VALUES))
    assert record.offset == pytest.approx(plain.level(), rel=1e-9)
    assert record.offset == belief.offset


@pytest.mark.parametrize("offset", ["level", "lowest"])
def test_a_record_gives_the_same_state_to_the_bit(offset: str) -> None:
    living, again = told(offset, VALUES), told(offset, VALUES)
    again.apply(living.fit())
    assert living.mean.tobytes() == again.mean.tobytes()
    assert living.std.tobytes() == again.std.tobytes()


def with_variances(offset: str) -> Belief:
    """Frames with variances of their own among frames without."""
    belief = told(offset, VALUES)
    for number, value in enumerate([20.0, 3.0, 2.0], start=20):
        belief.tell(number * 7, np.array([number * 7]), np.array([value]), np.array([100.0 if value > 10 else 0.1]))
    return belief


@pytest.mark.parametrize("offset", ["level", "lowest"])
def test_variances_scale_with_the_values_and_come_back_to_the_bit(offset: str) -> None:
    living, again = with_variances(offset), with_variances(offset)
    record = living.fit()
    again.apply(record)
    assert living.mean.tobytes() == again.mean.tobytes()
    assert living.std.tobytes() == again.std.tobytes()
    plain = GaussianProcess(
        living.candidates.space, kernel="matern52", lengthscale=record.lengthscale, variance=record.variance,
        noise=record.noise,
    )  # fmt: skip
    indices = np.concatenate([frame.candidates for frame in living.told])
    values = np.concatenate([frame.values for frame in living.told])
    own = np.concatenate([np.zeros(8), [100.0, 0.1, 0.1]])
    plain.tell(indices, (values - record.offset) / record.scale, noise=own / record.scale**2)
    np.testing.assert_allclose(living.mean, plain.mean * record.scale + record.offset, rtol=1e-12)
    if offset == "level":
        assert record.offset == pytest.approx(plain.level() * record.scale + record.offset, rel=1e-9)


FIT = FitRecord(3.0, 1.0, 0.01, 0.0, 1.0, -3.0, (), 9, 0.5, True)


@pytest.mark.parametrize(
    ("record", "doubt", "weakness"),
    [
        (FIT, "", ""),
        (replace(FIT, lengthscale=0.4, stable=False), "", "under the pitch: neighbouring sites tell little"),
        # With the lowest value as prior mean the variance holds the level of the values, here 3 times their spread.
        (replace(FIT, lengthscale=34.0, variance=2.9, noise=0.98), "", "mostly noise: neighbouring sites tell little"),
        (replace(FIT, variance=0.1, noise=0.6, stable=False), "", "mostly noise"),
        (replace(FIT, stable=False), "unstable", ""),
        (replace(FIT, lengthscale=0.47, evaluations=0, stable=False), "unstable", "under the pitch"),
    ],
)
def test_why_a_fit_is_not_followed_and_what_it_lacks(record: FitRecord, doubt: str, weakness: str) -> None:
    assert doubt in record.doubt
    assert bool(record.doubt) == bool(doubt)
    assert weakness in record.weakness
    assert bool(record.weakness) == bool(weakness)


def test_another_column_may_be_finite_at_other_candidates() -> None:
    """A site whose cells are told by one column at two places and by the next at one, or at none."""
    belief, fresh = told("lowest", VALUES), told("lowest", [])
    candidates = [np.array([number * 7]) for number in range(len(VALUES))]
    values = [np.array([value]) for value in VALUES]
    candidates[2], values[2] = np.array([14, 15, 15]), np.array([1.0, 2.0, 4.0])
    candidates[5], values[5] = candidates[5][:0], values[5][:0]
    belief.replace(candidates, values)
    for number, (where, what) in enumerate(zip(candidates, values, strict=True)):
        fresh.tell(number * 7, where, what)
    fresh.standardise()
    assert belief.offset == fresh.offset == 1.0
    assert belief.scale == fresh.scale
    np.testing.assert_array_equal(belief.mean, fresh.mean)
    np.testing.assert_array_equal(belief.std, fresh.std)
