# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from probewise.image.drift import LEAST_COMMON, Patch, correlations, patch_places, reference_patch

SIDE, DETAIL = 112, 3.0
MOVED = (8.0, 6.0)
SHIFTS = st.tuples(st.floats(-20, 20), st.floats(-20, 20))


def texture(seed, side=SIDE, grain=4.0, room=32):
    """A specimen without any order, larger than a frame of it."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side + 2 * room,) * 2), grain)
    return field / field.std()


def lattice(spacing=(5.0, 5.0), side=SIDE, room=32):
    rows, cols = np.mgrid[: side + 2 * room, : side + 2 * room]
    return np.cos(2 * np.pi * rows / spacing[0]) * np.cos(2 * np.pi * cols / spacing[1])


def frame(specimen, shift=(0.0, 0.0), noise=0.0, seed=0, room=32, side=SIDE):
    """What is seen of a specimen when its content has moved by `shift`."""
    grid = np.mgrid[room : room + side, room : room + side] - np.array(shift)[:, None, None]
    image = ndimage.map_coordinates(specimen, grid, order=3)
    return (100 + 20 * image + 20 * noise * np.random.default_rng(seed).standard_normal(image.shape)).astype(np.float32)


def test_the_correlation_is_pearsons_over_the_common_part():
    generator = np.random.default_rng(3)
    a, b = generator.standard_normal((2, 9, 12))
    found = correlations(a, b)
    assert found.shape == (17, 23)
    for dy in range(-8, 9):
        for dx in range(-11, 12):
            here = a[max(0, -dy) : 9 - max(0, dy), max(0, -dx) : 12 - max(0, dx)]
            there = b[max(0, dy) : 9 + min(0, dy), max(0, dx) : 12 + min(0, dx)]
            if here.size < LEAST_COMMON * a.size:
                assert np.isnan(found[dy + 8, dx + 11])
            else:
                expected = np.corrcoef(here.ravel(), there.ravel())[0, 1]
                assert found[dy + 8, dx + 11] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(SHIFTS, st.integers(0, 1000), st.floats(0.2, 5.0), st.floats(-50.0, 50.0))
def test_a_shift_is_found_whatever_gain_and_offset(shift, seed, gain, offset):
    specimen = texture(seed)
    moved = (gain * frame(specimen, shift) + offset).astype(np.float32)
    found = Patch(frame(specimen), DETAIL).locate(moved)
    assert found.believed or found.rival > 0.7
    # What enters over the edge changes the band next to it: a few hundredths of a pixel.
    assert found.yx_px == pytest.approx(shift, abs=0.1)


@settings(deadline=None, max_examples=15)
@given(SHIFTS, st.integers(0, 1000))
def test_swapped_frames_give_the_opposite_shift(shift, seed):
    specimen = texture(seed)
    first, second = frame(specimen, noise=0.3, seed=1), frame(specimen, shift, noise=0.3, seed=2)
    there, back = Patch(first, DETAIL).locate(second), Patch(second, DETAIL).locate(first)
    # Both are fits of the same noise, about another frame's grid.
    assert np.array(there.yx_px) == pytest.approx(-np.array(back.yx_px), abs=0.06)
    assert there.rival == pytest.approx(back.rival, abs=1e-6)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.25, -1.5), (-7.4, 9.9)])
def test_the_shift_agrees_with_phase_cross_correlation(shift):
    specimen = texture(5)
    reference, moved = frame(specimen, noise=0.2, seed=1), frame(specimen, shift, noise=0.2, seed=2)
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    theirs, _, _ = phase_cross_correlation(
        (moved - moved.mean()) * window, (reference - reference.mean()) * window, upsample_factor=50, normalization=None
    )
    ours = Patch(reference, DETAIL).locate(moved)
    assert ours.believed
    # The window stays where it is while the content moves, which draws theirs towards zero by up to 5 %.
    assert ours.yx_px == pytest.approx(theirs, abs=0.1 + 0.05 * np.abs(shift).max())


def test_the_error_is_that_of_the_noise():
    specimen = texture(7)
    patch = Patch(frame(specimen, noise=0.5, seed=1000), DETAIL)
    scores = []
    for seed in range(30):
        shift = np.random.default_rng(seed).uniform(-5, 5, 2)
        found = patch.locate(frame(specimen, shift, noise=0.5, seed=seed))
        assert found.believed
        scores.append((np.array(found.yx_px) - shift) / found.error_px)
    # 60 scores, half of each one's noise that of the one reference: their mean is as uncertain as one score.
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.8


def test_a_jump_by_a_lattice_vector_is_seen_where_something_breaks_the_lattice():
    specimen = 3 * lattice() + texture(2)
    patch = reference_patch(
        frame(specimen, noise=0.5, seed=1), frame(specimen, MOVED, noise=0.5, seed=2), moved_px=MOVED
    )
    assert patch is not None
    for shift in ((5.0, 0.0), (0.0, -5.0), (10.0, 15.0), (2.5, 2.5)):
        found = patch.locate(frame(specimen, shift, noise=0.5, seed=3))
        assert found.believed
        assert found.yx_px == pytest.approx(shift, abs=0.3)  # six times the error that it states


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_a_lattice_alone_is_no_reference(noise):
    specimen = lattice((8.0, 11.0))
    first, second = frame(specimen, noise=noise, seed=1), frame(specimen, MOVED, noise=noise, seed=2)
    assert reference_patch(first, second, moved_px=MOVED) is None
    jumped = Patch(first, DETAIL).locate(frame(specimen, (8.0, 0.0), noise=noise, seed=3))
    assert not jumped.believed
    assert not Patch(first, DETAIL).locate(second).believed


def test_a_straight_edge_is_no_reference():
    edge = np.tanh((np.mgrid[:160, :160][1] - 80) / 2.0)
    first, second = frame(edge, noise=0.2, seed=1), frame(edge, MOVED, noise=0.2, seed=2)
    assert reference_patch(first, second, moved_px=MOVED) is None


def test_what_stays_with_the_frame_is_no_reference():
    spots = 3 * texture(4)
    first, second = (frame(spots, noise=0.3, seed=seed) + frame(lattice(), seed=0) for seed in (1, 2))
    assert reference_patch(first, second, moved_px=(0.0, 0.0)) is not None
    assert reference_patch(first, second, moved_px=MOVED) is None


@pytest.mark.parametrize(
    ("moved", "doubt"),
    [
        (lambda: frame(texture(12), noise=0.3, seed=2), "another place fits"),
        (lambda: frame(texture(11), (30.0, 0.0), noise=0.3, seed=2), "shift is 30.0 px, expected at most 20.0"),
        (lambda: np.full((SIDE, SIDE), 100.0, dtype=np.float32), "correlation is 0.00"),
    ],
)
def test_what_cannot_be_told_is_said(moved, doubt):
    patch = Patch(frame(texture(11), noise=0.3, seed=1), DETAIL, reach_px=20.0)
    found = patch.locate(moved())
    assert not found.believed
    assert any(doubt in text for text in found.doubts), found.doubts


def test_places_are_distinct_where_there_is_something_to_see():
    survey = np.random.default_rng(0).normal(100, 1, (256, 256)).astype(np.float32)
    rows, cols = np.mgrid[:256, :256]
    survey += (50 * (np.hypot(rows - 70, cols - 180) < 9) + 50 * (np.hypot(rows - 82, cols - 192) < 5)).astype(
        np.float32
    )
    places = patch_places(survey, 64)
    assert len(places) >= 1
    assert np.abs(places[0] - (74, 184)).max() < 32
    assert all(np.abs(a - b).max() >= 64 for n, a in enumerate(places) for b in places[:n])
    ordered = (100 + 10 * lattice((9.0, 9.0), side=192)).astype(np.float32)
    assert len(patch_places(ordered, 64)) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Patch(np.zeros((64, 64)), 2.0), TypeError, "float32"),
        (lambda: Patch(np.zeros((64, 64), np.float32), 0.5), ValueError, "detail_px is 0.5"),
        (lambda: Patch(np.zeros((30, 64), np.float32), 2.0), ValueError, "expected at least 56"),
        (lambda: Patch(np.zeros((64, 64), np.float32), 2.0, correlation=0.0), ValueError, "correlation is 0.0"),
        (lambda: Patch(np.zeros((64, 64), np.float32), 2.0, reach_px=0.0), ValueError, "reach_px is 0.0"),
        (lambda: Patch(np.eye(64, dtype=np.float32), 2.0).locate(np.eye(65, dtype=np.float32)), ValueError, "expected"),
        (lambda: patch_places(np.zeros((64, 64), np.float32), 30), ValueError, "expected a side of 56 to 64"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
