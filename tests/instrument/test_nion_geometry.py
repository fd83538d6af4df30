# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.instrument.nion.geometry import SubScan, SurveyField
from probewise.types import Context, RasterROI

FOV_NM = (80.0, 100.0)
FIELD = SurveyField(FOV_NM)


def positions_nm(placed: SubScan):
    """(rows, cols, 2) of the pixels from the centre of the field, as Swift's own sub-scan is described."""
    r, c = np.indices(placed.shape)
    y = ((r + 0.5) / placed.shape[0] - 0.5) * placed.size_yx[0]
    x = ((c + 0.5) / placed.shape[1] - 0.5) * placed.size_yx[1]
    return (turned(y, x, placed.rotation_rad) + np.array(placed.centre_yx) - 0.5) * FIELD.side_nm


def turned(y, x, rotation_rad):
    """Counter-clockwise on the screen, where y goes down: a positive turn of (x, -y)."""
    plane = (x - 1j * y) * np.exp(1j * rotation_rad)
    return np.stack([-plane.imag, plane.real], axis=-1)


contexts = st.builds(
    Context,
    fov_nm=st.floats(5, 20).map(lambda side: (side, side)),
    shift_nm=st.tuples(st.floats(-20, 20), st.floats(-30, 30)),
    rotation_rad=st.floats(-math.pi, math.pi),
)


@st.composite
def rois(draw):
    """Square pixels in a square context."""
    rows, cols, pitch = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.floats(0.02, 0.1))
    return RasterROI(
        shape=(rows, cols),
        dwell_ns=1000,
        centre_yx=draw(st.tuples(st.floats(0.4, 0.6), st.floats(0.4, 0.6))),
        size_yx=(rows * pitch, cols * pitch),
        discard_lines=draw(st.integers(0, 2)),
    )


@settings(deadline=None, max_examples=60)
@given(context=contexts, roi=rois())
def test_pixels_lie_where_the_path_of_the_scan_has_them(context, roi):
    placed, executed = FIELD.place(roi, context)
    kept = positions_nm(placed)[executed.discard_lines :].reshape(-1, 2)
    path = roi.path
    offset = (path.yx[path.active] - 0.5) * context.fov_nm
    expected = turned(offset[:, 0], offset[:, 1], context.rotation_rad) + context.shift_nm
    np.testing.assert_allclose(kept, expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    context=contexts,
    roi=rois(),
    moved=st.tuples(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3)),
    grown=st.tuples(st.floats(0.99, 1.01), st.floats(0.99, 1.01)),
)
def test_what_the_microscope_took_instead_is_what_is_said(context, roi, moved, grown):
    placed, asked = FIELD.place(roi, context)
    taken = dataclasses.replace(
        placed,
        centre_yx=tuple(a + b for a, b in zip(placed.centre_yx, moved, strict=True)),
        size_yx=tuple(a * b for a, b in zip(placed.size_yx, grown, strict=True)),
    )
    executed = FIELD.executed(asked, context, placed, taken)
    again, _ = FIELD.place(executed, context)
    assert again.shape == taken.shape
    np.testing.assert_allclose(again.centre_yx, taken.centre_yx, atol=1e-12)
    np.testing.assert_allclose(again.size_yx, taken.size_yx, rtol=1e-12)
    assert FIELD.executed(asked, context, placed, placed) == asked


def test_a_microscope_that_turns_a_scan_or_takes_other_pixels_is_refused():
    roi, context = RasterROI((8, 8), 1000), Context((10.0, 10.0))
    placed, _ = FIELD.place(roi, context)
    for other in (dataclasses.replace(placed, rotation_rad=0.1), dataclasses.replace(placed, shape=(8, 9))):
        with pytest.raises(ValueError, match=r"on the microscope, expected \(8, 8\) at 0 rad"):
            FIELD.executed(roi, context, placed, other)


@pytest.mark.parametrize(
    ("shift_nm", "rotation_rad", "outside"),
    [
        ((35.0, 45.0), 0.0, None),  # fits the corner of 80 x 100 nm exactly
        ((35.001, 45.0), 0.0, "0.001 nm"),
        ((0.0, -45.001), 0.0, "0.001 nm"),
        ((35.0, 0.0), math.pi / 4, "2.071 nm"),  # the half diagonal of 10 nm is 7.071 nm
        ((41.0, 0.0), 0.0, "6 nm"),  # within the square of 100 nm, outside the field of 80 nm
    ],
)
def test_the_edges_of_the_survey_field(shift_nm, rotation_rad, outside):
    roi, context = RasterROI((8, 8), 1000), Context((10.0, 10.0), shift_nm, rotation_rad)
    if outside is None:
        assert FIELD.place(roi, context)[0].shape == (8, 8)
    else:
        with pytest.raises(ValueError, match=rf"reaches {outside} beyond the survey field, expected within its 80 nm"):
            FIELD.place(roi, context)


@pytest.mark.parametrize(("shape", "fits"), [((100, 80), True), ((100, 81), False), ((1000, 802), False)])
def test_pixels_are_square_to_half_a_pixel_over_the_frame(shape, fits):
    roi, context = RasterROI(shape, 1000), Context((50.0, 40.0))
    if fits:
        assert FIELD.place(roi, context)[0].shape == shape
    else:
        with pytest.raises(ValueError, match=r"a pixel is .* nm x .* nm, expected it square"):
            FIELD.place(roi, context)


def test_a_position_that_is_not_a_number_is_not_inside():
    roi = RasterROI((8, 8), 1000)
    object.__setattr__(roi, "centre_yx", (math.nan, 0.5))
    with pytest.raises(ValueError, match="reaches nan nm beyond the survey field"):
        FIELD.place(roi, Context((10.0, 10.0)))


def test_lines_that_would_be_discarded_above_the_survey_field_are_not_scanned():
    roi = RasterROI((8, 8), 1000, discard_lines=2)
    below, kept = FIELD.place(roi, Context((8.0, 8.0)))
    assert below.shape == (10, 8)
    assert kept == roi
    top, kept = FIELD.place(roi, Context((8.0, 8.0), (-36.0, 0.0)))
    assert top.shape == (8, 8)
    assert kept.discard_lines == 0


def test_codes_a_pixel_are_those_of_the_smaller_side():
    placed = SubScan((10, 40), (0.5, 0.5), (0.1, 0.1), 0.0)
    assert FIELD.codes_a_pixel(placed, 16) == pytest.approx(65536 * 0.1 / 40)


def test_a_position_in_the_field_is_one_in_the_square_about_it():
    assert FIELD.fraction((0.5, 0.25)) == (0.5, 0.25)
    assert FIELD.fraction((0.0, 1.0)) == pytest.approx((0.1, 1.0))
