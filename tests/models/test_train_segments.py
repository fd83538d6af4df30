# SPDX-License-Identifier: BSD-3-Clause
"""The miniature of the segmenter's training goes the whole way; the moments in its network mean what they say."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import probewise as pw
from probewise.image import Segmenter, network_input, resample
from probewise.inference import Card
from probewise.instrument import Detector, Distortions

ROOT = Path(__file__).resolve().parents[2]
torch = pytest.importorskip("torch", reason="training needs the extra `train`")

import segment_network  # noqa: E402


@pytest.mark.slow
def test_one_command_trains_exports_and_writes_a_card(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="training needs the extra `train`")
    pytest.importorskip("onnxruntime", reason="models run in the extra `cpu`")
    command = [sys.executable, str(ROOT / "models" / "train_segments.py"), "--minutes", "0.02", "--name", "mini"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    card = Card.load(tmp_path / "mini.json")
    assert card.recipe["steps"] >= 1
    assert 0 <= card.metrics["mean_iou"] <= 1
    found = Segmenter(tmp_path / "mini.onnx")(np.zeros((200, 160), dtype=np.float32), pixel_nm=0.02)
    assert found.probability.shape == (len(card.classes), 26, 20)
    np.testing.assert_allclose(found.probability.sum(axis=0), 1, atol=1e-5)  # float32 softmax of eight classes


def moments_of(specimen: str, centre_nm: np.ndarray, rotation_rad: float, **options: object) -> np.ndarray:
    """(6, 25, 25) moments of a frame of 8 nm without noise."""
    frame = pw.render(
        specimen,
        pw.RasterROI((400, 400), 4000),
        seed=3,
        context=pw.Context((8.0, 8.0), tuple(centre_nm - 100), rotation_rad),
        distortions=Distortions.none(),
        detector=Detector.ideal(),
        **options,
    )
    image, _ = network_input(resample(frame.image(), (200, 200)))
    with torch.inference_mode():
        return segment_network.LatticeMoments()(torch.from_numpy(image)[None, None])[0].numpy()


@pytest.mark.parametrize("rotation_rad", [0.0, 0.5])
def test_moments_of_order_one_point_against_the_polarisation(rotation_rad: float) -> None:
    from labels import class_map, polarisation

    truth = pw.truth("bfo", seed=3, mistilt_pm=0.0)
    seen, told = [], []
    for centre in np.random.default_rng(0).uniform(20, 180, (8, 2)):
        grid = np.stack(np.meshgrid(*[np.arange(-3.84, 4, 0.32)] * 2, indexing="ij"), axis=-1)
        turn = np.array(
            [
                [math.cos(rotation_rad), -math.sin(rotation_rad)],
                [math.sin(rotation_rad), math.cos(rotation_rad)],
            ]
        )
        places = centre + grid @ turn.T
        domain = class_map(truth, places)[4:-4, 4:-4] == 0
        vectors = moments_of("bfo", centre, rotation_rad, mistilt_pm=0.0)[:2, 4:-4, 4:-4]
        seen.append(vectors[::-1, domain].T)  # (x, y) to (y, x)
        told.append(polarisation(truth, places, rotation_rad)[4:-4, 4:-4][domain])
    a, b = np.concatenate(seen), np.concatenate(told)
    cosine = (a * b).sum(axis=1) / np.hypot(*a.T)
    # the ring lies inside the iron columns: those that come nearer weigh more, those that move away less
    assert np.median(cosine) < -0.95


def test_moments_of_order_six_turn_six_times_as_fast_as_graphene() -> None:
    centre = np.array([60.0, 150.0])
    angle = []
    for rotation_rad in (0.0, 0.1, 0.3):
        six = moments_of("graphene", centre, rotation_rad, defect_statistics="uncorrelated", defects=0)[2:4, 4:-4, 4:-4]
        angle.append(math.atan2(six[1].mean(), six[0].mean()))
    for number, rotation_rad in ((1, 0.1), (2, 0.3)):
        turned = angle[number] - angle[0] - 6 * rotation_rad
        # square pixels favour some directions a little: 3 degrees of the lattice
        assert math.cos(turned) > math.cos(6 * math.radians(3))
