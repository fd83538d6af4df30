# SPDX-License-Identifier: BSD-3-Clause
"""`probewise bench`: that it measures what it says, on fewer repeats than a user's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from probewise.app import bench
from probewise.app.cli import status


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "REPEATS", 4)
    monkeypatch.setattr(bench, "STEPS", 2)
    monkeypatch.setattr(bench, "POINTS", 50)
    monkeypatch.setattr(bench, "TOLD", (16,))
    monkeypatch.setattr(bench, "RUNS", {"linear": bench.RUNS["linear"]})


def test_figures_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["bench", "--json", str(tmp_path / "bench.json")]) == 0
    shown, progress = capsys.readouterr()
    measured = json.loads((tmp_path / "bench.json").read_text())
    assert len(measured["rows"]) == 3 + 1 + 2 + 1
    for row in measured["rows"]:
        assert row["what"] in shown
        assert math.isfinite(row["median_ms"])
        assert 0 < row["median_ms"] <= row["p95_ms"]
    assert 0 < measured["rows"][0]["beam_duty"] <= 1
    assert "2 steps of linear" in progress


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from probewise.errors import ConfigurationError

    def missing(name: str) -> None:
        raise ConfigurationError("onnxruntime is missing; type: pip install onnxruntime")

    monkeypatch.setattr("probewise.inference.load_model", missing)
    assert status(["bench"]) == 0
    assert "not measured: onnxruntime is missing" in capsys.readouterr().out
