# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.experiment.values import Values, combine, returned

PLACE = [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (([[1.0]], PLACE), ValueError, r"values has shape \(1, 1\), expected \(n,\)"),
        ((["x"], PLACE), TypeError, r"values is \['x'\], expected numbers"),
        (([True], PLACE), TypeError, r"values is \[True\], expected numbers"),
        (([np.nan], PLACE), ValueError, "values holds nan, expected finite numbers"),
        (([1.0, 2.0], PLACE), ValueError, r"centre_yx has shape \(1, 2\), expected \(2, 2\)"),
        (([1.0], [[0.5, -0.1]]), ValueError, "centre_yx holds -0.1, expected fractions 0 to 1"),
        (([1.0], PLACE, [0.1, 0.2]), ValueError, r"variance has shape \(2,\), expected \(1,\)"),
        (([1.0], PLACE, [-0.5]), ValueError, "variance holds -0.5, expected 0 or more"),
    ],
)
def test_wrong_fields_are_named(fields: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Values(*fields)


@pytest.mark.parametrize("given", [2, 2.0, np.float32(2), np.array(2.0), (2, None)[:1]])
def test_one_number_is_a_value_at_the_centre(given: Any) -> None:
    values = returned(given)
    assert (values.values.tolist(), values.centre_yx.tolist(), values.variance) == ([2.0], PLACE, None)


def test_a_pair_is_a_value_and_its_variance() -> None:
    values = returned((2, np.float64(0.25)))
    assert (values.values.tolist(), values.variance.tolist()) == ([2.0], [0.25])  # type: ignore[union-attr]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12), exact=st.booleans(), scale=st.floats(1e-200, 1e200))
def test_values_combine_as_one_place_at_a_time(seed: int, count: int, exact: bool, scale: float) -> None:
    rng = np.random.default_rng(seed)
    place = np.concatenate([np.arange(3), rng.integers(0, 3, count)])
    values, variance = rng.normal(size=count + 3), rng.uniform(0.1, 1.0, count + 3)
    mean, error = combine(values, variance * scale, place, 3)
    assert error is not None
    for k in range(3):
        weights = 1 / variance[place == k]
        assert mean[k] == pytest.approx(weights @ values[place == k] / weights.sum(), abs=1e-12)
        assert error[k] == pytest.approx(scale / weights.sum(), rel=1e-12)
    plain, unknown = combine(values, None, place, 3)
    assert unknown is None
    assert plain[0] == pytest.approx(values[place == 0].mean(), abs=1e-12)
    if exact:
        variance[1] = 0.0
        mean, error = combine(values, variance, place, 3)
        assert error is not None
        assert (mean[1], error[1]) == (values[1], 0.0)
