# SPDX-License-Identifier: BSD-3-Clause
"""Rendered frames are read back as they were drawn, and the same seed draws the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import frame_cache
from frames import SIDE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames")
    frame_cache.render(path, frames=24, seed=5, processes=1)
    return path


def test_what_is_read_is_what_was_drawn(folder: Path) -> None:
    cache = frame_cache.open_cache(folder)
    drawn = frame_cache.drawn_frames(5 * 100_000, 24)
    assert len(cache) == len(drawn) == 24
    for number, (expected, material) in enumerate(drawn):
        got = cache[number]
        np.testing.assert_array_equal(got.image, expected.image.astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(got.yx, expected.yx, atol=1e-4)  # float32 of numbers below 300
        np.testing.assert_array_equal(got.label, expected.label)
        assert got.gain == expected.gain
        assert cache.about["material"][number] == material
    assert cache.images.shape == (24, SIDE, SIDE)
    assert isinstance(cache.images, np.memmap)


def test_a_folder_without_frames_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no frames in"):
        frame_cache.open_cache(tmp_path)


def test_parts_that_do_not_belong_together_are_refused(folder: Path, tmp_path: Path) -> None:
    for part in folder.iterdir():
        (tmp_path / part.name).write_bytes(part.read_bytes())
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps({**about, "gain": about["gain"][:-1]}))
    with pytest.raises(ValueError, match="23 gains"):
        frame_cache.open_cache(tmp_path)
