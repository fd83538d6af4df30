# SPDX-License-Identifier: BSD-3-Clause
"""The keys of summary.json, as the contract with its readers lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probewise.experiment import Experiment
from probewise.experiment.loading import load
from probewise.experiment.summary import _real_clock
from tiny_experiment import fake, tables, tiny

KEYS = [
    "schema", "version", "source", "workflow", "objective", "policy", "seed", "device",
    "sites", "measured", "rejected", "unreachable", "excluded", "steps", "stop_reason",
    "exposure", "truth", "dose", "time_s", "latency_ms", "models", "notices",
]  # fmt: skip
EXPOSURE = ["site_fraction", "exposed_fraction", "raster_equivalents", "max_hits"]
TRUTH = ["foi_sites", "objects", "objects_found", "reachable", "recall", "ssim"]
DOSE = ["electrons", "lost_electrons", "max_e_per_A2", "current_source"]
TIME = ["wall", "beam", "beam_duty"]
STAGES = ["scan", "vendor", "describe", "surrogate", "acquire", "decision"]


def simulated(directory: Path) -> dict[str, Any]:
    changes = tables(survey={"shape": (64, 64)}, sites={"shape": (8, 8)}, budget={"steps": 6})
    changes["instrument"] = {"fov_nm": 100.0}
    del changes["measure"]
    return Experiment("simulated:nio-lsmo", out=directory, **changes).run()


@pytest.mark.parametrize("kind", ["simulated", "fake", "without current", "replay"])
def test_the_keys_at_every_level(tmp_path: Path, kind: str) -> None:
    if kind == "simulated":
        simulated(tmp_path / "r")
    elif kind == "replay":
        target = Path(__file__).parents[2] / "bench" / "targets" / "nio_lsmo_784.npz"
        Experiment(
            instrument={"uri": f"image:{target}"}, run={"replay": True}, budget={"steps": 6}, out=tmp_path / "r"
        ).run()
    else:
        changes = tables()
        if kind == "without current":
            del changes["instrument"]["beam_current_pA"]
        Experiment(fake(), out=tmp_path / "r", **changes).run()
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert list(summary) == KEYS
    assert list(summary["exposure"]) == EXPOSURE
    assert list(summary["time_s"]) == TIME
    assert list(summary["latency_ms"]) == STAGES
    assert all(list(stage) == ["p50", "p95", "p99"] for stage in summary["latency_ms"].values())
    assert (summary["truth"] is None) == (kind in ("fake", "without current"))
    assert (summary["dose"] is None) == (kind in ("replay", "without current"))
    if summary["truth"] is not None:
        assert list(summary["truth"]) == TRUTH
        assert len(summary["truth"]["recall"]) == summary["steps"] + 1
        assert all(len(row) == 3 for row in summary["truth"]["recall"])
        assert (summary["truth"]["ssim"] is None) == (kind == "simulated")
    if summary["dose"] is not None:
        assert list(summary["dose"]) == DOSE


def test_the_beam_s_duty_needs_a_real_clock(tmp_path: Path) -> None:
    assert not _real_clock(load())
    assert not _real_clock(load(sets=["instrument.uri='image:a.png'"]))
    assert _real_clock(load(sets=["instrument.realtime=true"]))
    assert _real_clock(load(sets=["instrument.uri='nion:'", "instrument.fov_nm=200.0"]))
    duty = tiny(tmp_path / "r").run()["time_s"]["beam_duty"]
    assert duty is None or duty > 0
