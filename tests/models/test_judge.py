# SPDX-License-Identifier: BSD-3-Clause
"""Pairs of found and true atoms, their counts, and the blob detector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge import FrameEdge, Score, blobs, pairs


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(0, 20))
def test_pairs_are_one_to_one_within_the_tolerance_and_leave_no_pair_over(seed: int, found: int, true: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.uniform(0, 20, (found, 2)), random.uniform(0, 20, (true, 2))
    i, j = pairs(a, b, 2.0)
    assert len(set(i.tolist())) == len(i) == len(set(j.tolist()))
    assert (np.hypot(*(a[i] - b[j]).T) <= 2.0).all()
    free_a, free_b = np.delete(a, i, axis=0), np.delete(b, j, axis=0)
    assert (np.linalg.norm(free_a[:, None] - free_b[None], axis=2) > 2.0).all()


def test_score_counts_inside_the_margin_only() -> None:
    true = np.array([[10.0, 10.0], [20.0, 20.0], [1.0, 1.0], [30.0, 10.0]])
    found = np.array([[10.5, 10.0], [20.0, 25.0], [2.0, 40.0]])
    score = Score()
    score.add(found, true, 1.0, FrameEdge((50, 50), 5.0))
    assert (score.hit, score.false, score.missed) == (1, 1, 2)
    assert score.f1 == pytest.approx(2 / 5)
    assert Score().f1 is None


def test_blob_detector_finds_blobs_of_its_size() -> None:
    random = np.random.default_rng(2)
    rows, cols = np.indices((120, 120))
    true = np.array([[20.0, 30.0], [60.0, 80.0], [95.0, 40.0]])
    image = sum(np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 18) for y, x in true)
    image = (image + random.normal(0, 0.02, image.shape)).astype(np.float32)
    yx, height = blobs(image, 3.0)
    found = yx[height > 8]
    i, _ = pairs(found, true, 2.0)
    assert len(found) == len(i) == 3
    assert height.min() > 1
    assert len(yx) > 3
