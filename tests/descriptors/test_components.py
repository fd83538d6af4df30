# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.stats import skew

import probewise as pw
from probewise.descriptors.components import orientation


def columns(seed=0, n=400):
    """A wide symmetric column, a rare positive one, a rare negative one that is weaker, a constant one."""
    rng = np.random.default_rng(seed)
    rare = np.where(rng.uniform(size=n) < 0.05, 3.0, 0.0)
    weak = np.where(rng.uniform(size=n) < 0.05, -1.0, 0.0)
    return np.column_stack([rng.uniform(-2, 2, n), rare, weak, np.full(n, 7.0)])


def test_rare_is_the_largest_variance_times_skewness():
    values = columns()
    score = values[:, :3].var(axis=0) * np.abs(skew(values[:, :3]))
    assert pw.select_component(values) == int(np.argmax(score)) == 1
    assert pw.select_component(-values) == 1


def test_max_variance_is_the_study_s_rule():
    assert pw.select_component(columns(), "max-variance") == 0


def test_index_callable_and_template():
    values = columns()
    assert pw.select_component(values, 3) == 3
    assert pw.select_component(values, np.int64(2)) == 2
    assert pw.select_component(values, lambda table: int(np.argmin(table.min(axis=0)))) == 0
    assert pw.select_component(values, -5 * values[:, 2] + 1) == 2


def test_constant_components_are_never_ranked():
    values = np.column_stack([np.full(50, 3.0), np.linspace(0, 1e-3, 50) ** 3])
    assert pw.select_component(values) == 1
    with pytest.raises(ValueError, match="all 2 components are constant over 50 values"):
        pw.select_component(np.ones((50, 2)))


def test_orientation_makes_the_skewness_positive():
    values = columns()
    assert [orientation(column) for column in values.T[1:3]] == [1.0, -1.0]
    assert orientation(np.ones(5)) == 1.0
    for first, second in np.random.default_rng(0).uniform(30, 40, (50, 2)):  # two values have no skewness but rounding
        assert orientation(np.array([first, second])) == 1.0


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("largest", "by is 'largest'"),
        (4, "component 4, expected an integer from 0 to 3"),
        (-1, "component -1"),
        (True, "by is True"),
        (lambda table: "second", "component 'second'"),
        (np.ones(3), r"template of shape \(3,\), expected finite floats \(400,\)"),
    ],
)
def test_wrong_rules_are_named(by, message):
    with pytest.raises(ValueError, match=message):
        pw.select_component(columns(), by)


@pytest.mark.parametrize("values", [np.ones(4), np.ones((4, 2), int), np.full((4, 2), np.nan), np.ones((0, 2))])
def test_wrong_values_are_refused(values):
    with pytest.raises(ValueError, match="values is"):
        pw.select_component(values)
