# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.types import Context, Lattice, RasterROI, SiteLattice, Truth, TruthObject

finite = st.floats(min_value=0.5, max_value=50.0)


@given(rows=st.integers(1, 9), cols=st.integers(1, 9), dy=finite, dx=finite)
@settings(deadline=None, max_examples=50)
def test_lattice_points_follow_the_flat_index(rows, cols, dy, dx):
    points = Lattice((rows, cols), (dy, dx)).points()
    assert points.shape == (rows * cols, 2)
    for r in range(rows):
        for c in range(cols):
            assert tuple(points[r * cols + c]) == (r * dy, c * dx)


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [((0, 3), (1.0, 1.0), "shape is"), ((2, 3), (0.0, 1.0), "spacing is"), ((2, 3), (1.0, float("nan")), "spacing is")],
)
def test_lattice_refuses(shape, spacing, message):
    with pytest.raises(ValueError, match=message):
        Lattice(shape, spacing)


@given(rows=st.integers(1, 30), cols=st.integers(1, 30), fov_y=finite, fov_x=finite)
@settings(deadline=None, max_examples=50)
def test_site_centres_are_pixel_centres_of_the_field(rows, cols, fov_y, fov_x):
    sites = SiteLattice((rows, cols), 1.0, (fov_y, fov_x))
    centres = sites.centres_nm.reshape(rows, cols, 2)
    expected_y = (np.arange(rows) + 0.5) / rows * fov_y
    expected_x = (np.arange(cols) + 0.5) / cols * fov_x
    # Two roundings of a product against one: a few units in the last place.
    np.testing.assert_allclose(centres[:, :, 0], np.broadcast_to(expected_y[:, None], (rows, cols)), rtol=1e-14)
    np.testing.assert_allclose(centres[:, :, 1], np.broadcast_to(expected_x[None, :], (rows, cols)), rtol=1e-14)


@pytest.mark.parametrize("fov", [(0.0, 1.0), (1.0, -2.0), (float("inf"), 1.0)])
def test_context_refuses_an_impossible_field(fov):
    with pytest.raises(ValueError, match="fov_nm is"):
        Context(fov)


def test_context_refuses_a_shift_that_is_not_finite():
    with pytest.raises(ValueError, match="shift_nm is"):
        Context((1.0, 1.0), (float("nan"), 0.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (0, 4), "dwell_ns": 10}, "shape is"),
        ({"shape": (4, 4), "dwell_ns": 0}, "dwell_ns is"),
        ({"shape": (4, 4), "dwell_ns": 10, "discard_lines": -1}, "discard_lines is"),
        ({"shape": (4, 4), "dwell_ns": 10, "centre_yx": (0.1, 0.5), "size_yx": (0.3, 0.3)}, "leaves the frame"),
        ({"shape": (4, 4), "dwell_ns": 10, "centre_yx": (float("nan"), 0.5)}, "leaves the frame"),
        ({"shape": (4, 4), "dwell_ns": 10, "size_yx": (0.0, 1.0)}, "leaves the frame"),
    ],
)
def test_raster_roi_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        RasterROI(**arguments)


def test_raster_roi_duration_counts_discarded_lines_and_flyback():
    roi = RasterROI((3, 5), dwell_ns=100, discard_lines=2, flyback_ns=40)
    assert roi.duration_ns == (3 + 2) * (5 * 100 + 40)


def square(centre, side=2.0, step=0.5):
    offset = np.arange(-side / 2 + step / 2, side / 2, step)
    samples = np.stack(np.meshgrid(offset, offset, indexing="ij"), axis=-1).reshape(-1, 2) + np.array(centre)
    return TruthObject("square", samples, step * step, "nm^2")


def truth(*objects, site_holds):
    labels = np.zeros((4, 4), dtype=np.int16)
    return Truth("test", 0, (20.0, 20.0), tuple(objects), site_holds, labels, 5.0, ("background",))


def test_a_site_is_interesting_when_it_holds_enough_of_the_feature():
    subject = truth(square((5.0, 5.0)), site_holds=2.0)  # half of the 4 nm^2
    centres = np.array([[5.0, 5.0], [5.0, 6.0], [5.0, 6.6], [15.0, 15.0]])
    assert subject.interesting(centres, 2.0).tolist() == [True, True, False, False]


def test_an_object_is_found_when_the_sub_scans_together_hold_the_share():
    subject = truth(square((5.0, 5.0)), square((15.0, 15.0)), site_holds=1.0)
    quarter = np.array([[4.0, 4.0]])
    assert subject.found(quarter, 2.0).tolist() == [False, False]
    assert subject.found(np.array([[4.0, 4.0], [6.0, 6.0]]), 2.0).tolist() == [True, False]
    # The same quarter twice is still a quarter.
    assert subject.found(np.vstack([quarter, quarter]), 2.0).tolist() == [False, False]
    assert subject.found(np.empty((0, 2)), 2.0).tolist() == [False, False]
