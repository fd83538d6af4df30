# SPDX-License-Identifier: BSD-3-Clause
"""The miniature of the training goes the whole way: frames, steps, export, comparison, evaluation, card."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from probewise.inference import Card, load_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_one_command_trains_exports_and_writes_a_card(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra `train`")
    pytest.importorskip("onnxscript", reason="training needs the extra `train`")
    pytest.importorskip("onnxruntime", reason="models run in the extra `cpu`")
    command = [sys.executable, str(ROOT / "models" / "train_atoms.py"), "--minutes", "0.05", "--name", "mini"]
    command += ["--frames", str(tmp_path / "frames"), "--work", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PROBEWISE_DATA": str(tmp_path / "none")}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    card = Card.load(tmp_path / "mini.json")
    assert card.recipe["steps"] >= 1
    assert card.recipe["real_trained"] == []
    assert card.recipe["real_steps"] == 0
    assert card.recipe["frames"] == 40
    assert (tmp_path / "mini-rendered.pt").exists()
    assert "f1_snr_20" in card.metrics
    presence, classes = load_model(tmp_path / "mini.onnx").run(np.zeros((1, 1, 64, 48), dtype=np.float32))
    assert presence.shape == (1, 1, 64, 48)
    assert presence.min() >= 0
    assert presence.max() <= 1
    assert classes.shape == (1, len(card.classes), 32, 24)
    np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-5)  # float32 softmax of a few classes
