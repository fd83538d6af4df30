# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

import probewise as pw

LATTICE = pw.Lattice((4, 5))


def process(**changed):
    return pw.GaussianProcess(LATTICE, **{"kernel": "rbf", "lengthscale": 2.0, **changed})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"kernel": "cubic"}, ValueError, "kernel is 'cubic', expected one of rbf"),
        ({"lengthscale": 0.0}, ValueError, "lengthscale is 0"),
        ({"lengthscale": np.nan}, ValueError, "lengthscale is nan"),
        ({"lengthscale": [1.0, 2.0, 3.0]}, ValueError, r"lengthscale has shape \(3,\)"),
        ({"lengthscale": "2"}, TypeError, "lengthscale is '2'"),
        ({"variance": -1.0}, ValueError, "variance is -1"),
        ({"variance": "1"}, TypeError, "variance is '1'"),
        ({"noise": -1e-3}, ValueError, "noise is -0.001"),
        ({"noise": np.inf}, ValueError, "noise is inf"),
        ({"mean": np.nan}, ValueError, "mean is nan"),
        ({"alpha": 0.0}, ValueError, "alpha is 0"),
        ({"precision": "bfloat16"}, ValueError, "precision is 'bfloat16', expected 'float64', 'float32' or 'float16'"),
        ({"precision": "float16", "kernel": "rbf"}, ValueError, "precision is float16, expected float32 or float64"),
        ({"device": "tpu"}, ValueError, "device is 'tpu', expected one of auto, cpu, cuda"),
    ],
)
def test_wrong_settings_are_named(changed, error, message):
    with pytest.raises(error, match=message):
        process(**changed)


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ([[0.0, 1.0]], TypeError, "candidates is a list"),
        (np.zeros((3, 2), dtype=np.float32), TypeError, "float32"),
        (np.zeros(3), ValueError, "rank 2"),
        (np.zeros((0, 2)), ValueError, "empty"),
        (np.full((3, 2), np.nan), ValueError, "not finite"),
    ],
)
def test_wrong_candidates_are_named(candidates, error, message):
    with pytest.raises(error, match=message):
        pw.GaussianProcess(candidates, lengthscale=1.0)


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (20, 1.0, ValueError, "index is 20, expected 0 to 19"),
        (-1, 1.0, ValueError, "index is -1"),
        (2**70, 1.0, ValueError, "index is"),
        (True, 1.0, TypeError, "index is True"),
        (1.5, 1.0, TypeError, "index is 1.5"),
        (1, "a", TypeError, "value is 'a'"),
        (1, np.nan, ValueError, "value is nan"),
        (1, np.inf, ValueError, "value is inf"),
        (1, 1e200, ValueError, "expected a finite number of at most 1e150"),
        (np.array([0, 1]), np.array([1.0]), ValueError, "expected shape"),
        (np.array([0, 1]), np.array([1.0, np.nan]), ValueError, "value is nan"),
        (np.array([0, 40]), np.array([1.0, 1.0]), ValueError, "index is 40"),
        (np.array([[0]]), np.array([[1.0]]), ValueError, "shape"),
        (np.array([0]), np.array(["x"]), TypeError, "value is"),
        (np.array([2**63], dtype=np.uint64), np.array([1.0]), ValueError, "index is"),
    ],
)
def test_wrong_tells_are_named_and_add_nothing(index, value, error, message):
    gp = process()
    gp.tell(3, 1.0)
    before = gp.mean.copy()
    with pytest.raises(error, match=message):
        gp.tell(index, value)
    assert gp.indices.tolist() == [3]
    np.testing.assert_array_equal(gp.mean, before)


@pytest.mark.parametrize(
    ("index", "value", "noise", "error", "message"),
    [
        (1, 1.0, -1.0, ValueError, "noise is -1"),
        (1, 1.0, np.nan, ValueError, "noise is nan"),
        (1, 1.0, "a", TypeError, "noise is 'a'"),
        (1, 1.0, np.array([1.0]), TypeError, "noise is a float64 array"),
        (
            np.array([0, 1]),
            np.ones(2),
            np.ones(3),
            ValueError,
            r"noise is a float64 array of shape \(3,\)",
        ),
        (np.array([0, 1]), np.ones(2), np.array([0.1, np.inf]), ValueError, "noise is inf"),
        (np.array([0, 1]), np.ones(2), np.array(["x", "y"]), TypeError, "noise is"),
    ],
)
def test_wrong_noise_is_named_and_adds_nothing(index, value, noise, error, message):
    gp = process()
    gp.tell(3, 1.0)
    before = gp.mean.copy()
    with pytest.raises(error, match=message):
        gp.tell(index, value, noise=noise)
    assert gp.indices.tolist() == [3]
    np.testing.assert_array_equal(gp.mean, before)


def test_float32_refuses_values_that_its_maps_cannot_hold():
    gp = process(precision="float32")
    with pytest.raises(ValueError, match="1e30"):
        gp.tell(0, 1e31)


def test_set_values_wants_one_value_for_each_told():
    gp = process()
    gp.tell(np.array([1, 2]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="values has 3 entries, expected 2"):
        gp.set_values(np.zeros(3))
    with pytest.raises(TypeError, match="float64"):
        gp.set_values(np.zeros(2, dtype=np.float32))
    with pytest.raises(ValueError, match="value is nan"):
        gp.set_values(np.array([1.0, np.nan]))
    assert gp.values.tolist() == [1.0, 2.0]


def test_wrong_hyperparameters_change_nothing():
    gp = process()
    gp.tell(2, 1.0)
    before = gp.mean.copy()
    with pytest.raises(ValueError, match="variance"):
        gp.set_hyperparameters(1.0, -1.0, 0.1)
    np.testing.assert_array_equal(gp.mean, before)
    assert gp.lengthscale == 2.0


def test_key_index_and_tile_are_checked():
    gp = process()
    with pytest.raises(ValueError, match="key is"):
        gp.sample((-1, 0))
    with pytest.raises(ValueError, match="index is 99"):
        gp.believe(99)
    with pytest.raises(ValueError, match="tile is"):
        gp.bound(slice(5, 5))


def test_extreme_scales_stay_finite():
    for factor in (1e-30, 1e30):
        gp = pw.GaussianProcess(LATTICE, lengthscale=2.0, variance=factor**2, noise=1e-2 * factor**2)
        gp.tell(np.array([0, 7, 7]), factor * np.array([1.0, -1.0, 1.0]))
        assert np.isfinite(gp.mean).all()
        assert np.isfinite(gp.std).all()
        assert np.isfinite(gp.log_marginal_likelihood())
