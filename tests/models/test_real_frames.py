# SPDX-License-Identifier: BSD-3-Clause
"""Folds are disjoint and whole, settings are chosen by the sum over images, and intervals are those of the images."""

from __future__ import annotations

import numpy as np
import pytest

import real_frames
from frames import RealImage
from judge import Score


def image(number: int) -> RealImage:
    return RealImage(f"set/{number}", np.zeros((32, 32), dtype=np.float32), np.zeros((0, 2)), 0.02)


def test_each_image_is_held_out_in_one_fold() -> None:
    images = [image(number) for number in range(11)]
    held: list[str] = []
    for fold in range(real_frames.HELD_OUT_EVERY):
        trained, out = real_frames.split(images, fold)
        assert {one.name for one in trained} | {one.name for one in out} == {one.name for one in images}
        assert not {one.name for one in trained} & {one.name for one in out}
        held += [one.name for one in out]
    assert sorted(held) == sorted(one.name for one in images)


def test_the_best_setting_is_that_of_all_images_together() -> None:
    tables = [
        {"low": Score(10, 10, 0), "high": Score(5, 0, 5)},
        {"low": Score(1, 30, 0), "high": Score(1, 0, 0)},
    ]
    assert real_frames.added([table["low"] for table in tables]) == Score(11, 40, 0)
    assert real_frames.best(tables) == "high"  # 12 / 17 against 22 / 62


def test_blobs_are_scored_at_every_setting() -> None:
    counts = np.random.default_rng(0).normal(100, 1, (64, 64)).astype(np.float32)
    yx = np.array([[20.0, 20.0], [45.0, 30.0]])
    rows, cols = np.indices(counts.shape)
    for y, x in yx:
        counts += 40 * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8).astype(np.float32)
    table = real_frames.of_blobs(RealImage("set/0", counts, yx, 0.02))
    assert set(table) == set(real_frames.BLOBS)
    assert table[2.0, 8] == Score(2, 0, 0)
    assert table[real_frames.best([table])].f1 == 1


def test_label_contrast_is_high_on_spots_and_none_beside_them() -> None:
    counts = np.random.default_rng(1).normal(100, 1, (128, 128)).astype(np.float32)
    yx = np.random.default_rng(2).uniform(10, 118, (12, 2))
    rows, cols = np.indices(counts.shape)
    for y, x in yx:
        counts += 40 * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 18).astype(np.float32)
    assert real_frames.label_contrast(RealImage("set/0", counts, yx, 0.02)) > 3
    elsewhere = np.random.default_rng(3).uniform(10, 118, (400, 2))
    assert (
        abs(real_frames.label_contrast(RealImage("set/0", counts, elsewhere, 0.02))) < 0.25
    )  # 400 draws of unit width


def test_the_interval_holds_the_f1_and_shrinks_where_images_agree() -> None:
    pytest.importorskip("torch", reason="training needs the extra `train`")
    from evaluate_folds import interval

    same = [Score(5, 5, 5)] * 6
    assert interval(same) == (0.5, 0.5)
    assert interval(same, same) == (0.0, 0.0)
    mixed = [Score(10, 0, 0), Score(0, 10, 10)] * 6
    low, high = interval(mixed)
    assert low < real_frames.added(mixed).f1 < high
    better = [Score(10, 0, 0)] * 12
    assert interval(better, mixed)[0] > 0
