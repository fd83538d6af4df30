# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.errors import ConfigurationError
from probewise.instrument.replay import open_replay
from probewise.types import Frame

GREY = np.random.default_rng(0).integers(0, 255, (40, 53)).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 39), st.integers(1, 60))
def test_windows_lie_where_the_studys_rule_puts_them(tmp_path_factory, side, step):
    path = tmp_path_factory.mktemp("replay") / "a.npy"
    np.save(path, GREY)
    replay = open_replay(path, side, step)
    corners = [(r, c) for r in np.arange(0, 40 - side, step) for c in np.arange(0, 53 - side, step)]
    assert replay.size == len(corners)
    assert replay.corners.tolist() == [list(map(int, corner)) for corner in corners]
    for index in {0, replay.size // 2, replay.size - 1}:
        frame = replay.measure(index)
        row, col = corners[index]
        np.testing.assert_array_equal(frame.image(), GREY[row : row + side, col : col + side])


def test_a_window_is_a_frame_in_its_place(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    replay = open_replay(tmp_path / "a.npy", 16, 4)
    assert replay.shape == (6, 10)
    assert replay.source == "replay:a.npy"
    assert (replay.target, replay.foi, replay.objects) == (None, None, None)
    assert any("one pixel as 1 nm" in notice for notice in replay.notices)
    frame = replay.measure(13)
    assert isinstance(frame, Frame)
    assert frame.sequence == 13
    assert frame.duration_ns == 0
    assert frame.pixel_nm == pytest.approx((1.0, 1.0))
    assert frame.scan.centre_yx == pytest.approx(((4 + 8) / 40, (12 + 8) / 53))
    assert frame.valid == 256


def test_the_studys_picture_has_784_windows(tmp_path):
    np.save(tmp_path / "study.npy", np.random.default_rng(0).random((1024, 1024)).astype(np.float32))
    assert open_replay(tmp_path / "study.npy", 128, 32).shape == (28, 28)


def test_a_told_map_gives_its_values_and_truth(tmp_path):
    rng = np.random.default_rng(0)
    value, foi, objects = rng.random((4, 6)), rng.random((4, 6)) > 0.5, rng.integers(0, 3, (4, 6))
    np.savez(tmp_path / "map.npz", value=value, foi=foi, objects=objects)
    replay = open_replay(tmp_path / "map.npz", 56, 14)
    assert replay.shape == (4, 6)
    assert replay.source == "replay:map.npz"
    assert [replay.measure(i) for i in range(24)] == value.ravel().tolist()
    np.testing.assert_array_equal(replay.target, value.ravel())
    np.testing.assert_array_equal(replay.foi, foi.ravel())
    np.testing.assert_array_equal(replay.objects, objects.ravel())
    np.savez(tmp_path / "bare.npz", value=value)
    assert open_replay(tmp_path / "bare.npz", 56, 14).foi is None


@pytest.mark.parametrize("index", [-1, 24])
def test_there_is_no_site_outside_the_map(tmp_path, index):
    np.savez(tmp_path / "map.npz", value=np.zeros((4, 6)))
    with pytest.raises(ValueError, match="expected a site from 0 to 23"):
        open_replay(tmp_path / "map.npz", 1, 1).measure(index)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"other": np.zeros((2, 2))}, "no `value`"),
        ({"value": np.zeros(4)}, r"`value` is float64 of shape \(4,\)"),
        ({"value": np.array([[np.nan, 1.0]])}, "expected finite real"),
        ({"value": np.zeros((2, 2)), "foi": np.zeros((2, 3), bool)}, r"`foi` is bool of shape \(2, 3\)"),
        ({"value": np.zeros((2, 2)), "objects": np.zeros((2, 2))}, "`objects` is float64"),
        ({"value": np.array([[object()]])}, "cannot be read"),
    ],
)
def test_a_map_that_is_none_is_refused(tmp_path, held, said):
    np.savez(tmp_path / "map.npz", **held)
    with pytest.raises(ConfigurationError, match=said):
        open_replay(tmp_path / "map.npz", 1, 1)


def test_missing_and_broken_maps_are_refused(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and then nothing")
    for name, said in (("none.npz", "no such file"), ("broken.npz", "cannot be read"), ("none.npy", "no such file")):
        with pytest.raises(ConfigurationError, match=said):
            open_replay(tmp_path / name, 1, 1)


@pytest.mark.parametrize(
    ("side", "step", "said"),
    [
        (0, 1, "sites.window_px is 0"),
        (8, -1, "sites.step_px is -1"),
        (8.0, 1, r"sites.window_px is 8.0"),
        (True, 1, "sites.window_px is True"),
        (40, 1, "sites.window_px is 40, expected less than the sides of a.npy, 40 x 53"),
    ],
)
def test_wrong_windows_are_named(tmp_path, side, step, said):
    np.save(tmp_path / "a.npy", GREY)
    with pytest.raises(ConfigurationError, match=said):
        open_replay(tmp_path / "a.npy", side, step)
