# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import probewise as pw
from probewise._core import image as _image
from probewise.image import label_atoms


def reference(maps, threshold):
    """scipy.ndimage.label and center_of_mass, class by class."""
    rows = []
    for label, probability in enumerate(maps):
        parts, count = ndimage.label(probability > threshold)
        numbers = np.arange(1, count + 1)
        centres = ndimage.center_of_mass(probability.astype(np.float64), parts, numbers)
        scores = ndimage.mean(probability.astype(np.float64), parts, numbers)
        rows += [(*centre, label, score) for centre, score in zip(centres, scores, strict=True)]
    return np.array(rows).reshape(-1, 4)


def field(seed, shape, smooth=1.0):
    """Probabilities with components of all shapes: smoothed noise through a logistic function."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape), smooth)
    return (1 / (1 + np.exp(-6 * noise / np.abs(noise).max()))).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 70), st.integers(1, 70), st.floats(0, 0.95), st.floats(0.3, 3), st.integers(0, 99)
)
def test_components_centroids_and_scores_are_those_of_scipy(k, rows, cols, threshold, smooth, seed):
    maps = np.stack([field(seed * 10 + i, (rows, cols), smooth) for i in range(k)])
    atoms = pw.find_atoms(maps, threshold)
    expected = reference(maps, np.float32(threshold))
    assert len(atoms) == len(expected)
    # SciPy numbers components by their first pixel in raster order too. Sums in float64 on both sides.
    np.testing.assert_allclose(atoms.yx, expected[:, :2], rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(atoms.label, expected[:, 2].astype(np.int64))
    np.testing.assert_allclose(atoms.score, expected[:, 3], rtol=1e-12)
    assert (atoms.yx.dtype, atoms.label.dtype, atoms.score.dtype) == (np.float64, np.int64, np.float64)


@pytest.mark.parametrize(
    ("name", "count"),
    [("spiral", 1), ("comb", 1), ("checkerboard", 32), ("diagonal", 8), ("full", 1), ("empty", 0), ("at threshold", 0)],
)
def test_components_of_known_shapes(name, count):
    y, x = np.indices((8, 8))
    spiral = ("########", ".......#", "######.#", "#....#.#", "#.##.#.#", "#.####.#", "#......#", "########")
    picture = {
        "spiral": np.array([[mark == "#" for mark in row] for row in spiral]),
        "comb": (y == 7) | (x % 2 == 0),
        "checkerboard": (y + x) % 2 == 0,
        "diagonal": y == x,
        "full": y >= 0,
        "empty": y < 0,
        "at threshold": y < 0,
    }[name]
    maps = np.where(picture, np.float32(0.9), np.float32(0.5 if name == "at threshold" else 0.1))[None]
    assert len(pw.find_atoms(maps)) == count


def test_a_snake_that_joins_from_below_is_one_atom():
    picture = np.zeros((20, 41), dtype=np.float32)
    picture[:, ::2] = 1
    picture[-1] = 1
    atoms = pw.find_atoms(picture[None])
    assert len(atoms) == 1
    np.testing.assert_allclose(atoms.yx[0], ndimage.center_of_mass(picture), rtol=1e-12)


def by_position(atoms):
    return atoms.yx[np.lexsort(atoms.yx.T)]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 60))
def test_a_turned_or_transposed_map_gives_turned_atoms(seed, rows, cols):
    probability = field(seed, (rows, cols))
    plain = pw.find_atoms(probability[None]).yx
    transposed = pw.find_atoms(np.ascontiguousarray(probability.T)[None])
    turned = pw.find_atoms(np.ascontiguousarray(np.rot90(probability))[None])
    for atoms, moved in ((transposed, plain[:, ::-1]), (turned, np.stack([cols - 1 - plain[:, 1], plain[:, 0]], 1))):
        # Other orders of summation: 1e-12 of coordinates up to 60.
        distance = np.abs(atoms.yx[:, None] - moved[None]).max(axis=2)
        assert len(atoms) == len(plain)
        assert (distance.min(axis=1) < 1e-9).all() if len(plain) else True


def test_a_shifted_map_gives_shifted_atoms():
    small = field(4, (30, 30), 2.0)
    large = np.zeros((60, 70), dtype=np.float32)
    large[13:43, 21:51] = small
    moved = pw.find_atoms(small[None]).yx + np.array([13, 21])
    np.testing.assert_allclose(pw.find_atoms(large[None]).yx, moved, atol=1e-10)


def test_names_go_with_the_labels():
    maps = np.zeros((2, 5, 5), dtype=np.float32)
    maps[1, 2, 2] = 1
    atoms = pw.find_atoms(maps, classes=("C", "Si"))
    assert atoms.classes == ("C", "Si")
    assert atoms.label.tolist() == [1]
    assert atoms.yx.tolist() == [[2.0, 2.0]]
    assert atoms.score.tolist() == [1.0]


def test_labels_come_from_the_interpolated_class_maps():
    rng = np.random.default_rng(8)
    presence = field(3, (40, 60), 2.0)
    maps = rng.dirichlet(np.ones(3), (20, 30)).astype(np.float32).transpose(2, 0, 1).copy()
    atoms = pw.find_atoms(presence[None])
    labelled = label_atoms(atoms, maps, 2, classes=("a", "b", "c"))
    place = (atoms.yx + 0.5) / 2 - 0.5
    values = [ndimage.map_coordinates(m.astype(np.float64), place.T, order=1, mode="nearest") for m in maps]
    np.testing.assert_array_equal(labelled.label, np.argmax(values, axis=0))
    assert labelled.classes == ("a", "b", "c")
    assert labelled.yx is atoms.yx


def test_points_go_over_to_another_grid_edge_to_edge():
    """Outer edges stay outer edges, middles of pixels go by pixel centre = index + 0.5; nothing goes beyond an edge."""
    yx = np.array([[-0.5, -0.5], [3.5, 5.5], [1.0, 2.5], [3.7, 5.9]])
    expected = [[-0.5, -0.5], [9.5, 2.5], [1.5 * 2.5 - 0.5, 3 * 0.5 - 0.5], [9.5, 2.5]]
    np.testing.assert_allclose(_image.rescaled(yx, (2.5, 0.5), (10, 3)), expected, rtol=1e-15)
    assert _image.rescaled(yx[:0], (2.5, 0.5), (10, 3)).shape == (0, 2)
    with pytest.raises(TypeError, match="yx is a float32 array"):
        _image.rescaled(yx.astype(np.float32), (1.0, 1.0), (4, 6))


def test_wrong_maps_are_refused():
    good = np.zeros((1, 4, 4), dtype=np.float32)
    with pytest.raises(TypeError, match="probability is a float64 array"):
        pw.find_atoms(good.astype(np.float64))
    with pytest.raises(ValueError, match=r"expected a C-contiguous array of shape \(classes, rows, cols\)"):
        pw.find_atoms(good[0])
    for threshold in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="threshold is"):
            pw.find_atoms(good, threshold)
    for bad in (np.nan, np.inf, -0.5, 1.5):
        maps = np.zeros((2, 4, 4), dtype=np.float32)
        maps[1, 2, 3] = bad
        with pytest.raises(ValueError, match="outside 0 to 1 in row 2 of class 1"):
            pw.find_atoms(maps)
    with pytest.raises(ValueError, match="classes names 2, expected 1"):
        pw.find_atoms(good, classes=("a", "b"))
    atoms = pw.find_atoms(good)
    with pytest.raises(ValueError, match="stride is 0"):
        label_atoms(atoms, good, 0)
    with pytest.raises(ValueError, match="classes names 2, expected 1"):
        label_atoms(atoms, good, 2, classes=("a", "b"))
    with pytest.raises(TypeError, match="maps is a float64 array"):
        label_atoms(atoms, good.astype(np.float64), 2)
    with pytest.raises(ValueError, match="at least one pixel"):
        label_atoms(atoms, good[:0], 2)
