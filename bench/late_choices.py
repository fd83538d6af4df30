# SPDX-License-Identifier: BSD-3-Clause
"""What does it cost in discovery to choose without waiting: with refits that are taken late, or pipelined?

Simulated specimens as told maps: a site's value is the share of nine squares in it that hold the feature, by the
specimen's own truth, with noise of 0.1. Recall of the sites of interest after --steps of 25 x 25 sites, the means over
all seeds, and the paired difference from the run that waits for everything. One thread.

    python bench/late_choices.py [--seeds 24] [--first-seed 100] [--steps 80]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import probewise as pw
from probewise.experiment import Experiment
from probewise.experiment.recorder import machine

SIDE_NM, SHAPE, FOV_NM = 8.0, (25, 25), 200.0
SPECIMENS: dict[str, dict[str, Any]] = {"nio-lsmo": {}, "bfo": {}, "graphene": {"defect_statistics": "boundary"}}
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "waits": {"surrogate": {"fit_delay": 0}},
    "fits 1 late": {"surrogate": {"fit_delay": 1}},
    "fits 2 late": {"surrogate": {"fit_delay": 2}},
    "fits 3 late": {"surrogate": {"fit_delay": 3}},
    "pipelined": {"surrogate": {"fit_delay": 0}, "acquisition": {"pipelined": True}},
    "pipelined, fits 2 late": {"surrogate": {"fit_delay": 2}, "acquisition": {"pipelined": True}},
}


def told_map(specimen: str, seed: int, path: Path) -> bool:
    """Values and sites of interest of one specimen; whether it has any."""
    truth = pw.truth(specimen, seed=seed, fov_nm=FOV_NM, **SPECIMENS[specimen])
    pitch = FOV_NM / SHAPE[0]
    centres = (np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 2) + 0.5) * pitch
    thirds = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]) * SIDE_NM / 3
    share = np.mean([truth.interesting(centres + shift, SIDE_NM / 3) for shift in thirds], axis=0)
    values = share + np.random.default_rng(seed).normal(0.0, 0.1, len(share))
    interesting = truth.interesting(centres, SIDE_NM)
    np.savez(path, value=values.reshape(SHAPE), foi=interesting.reshape(SHAPE))
    return bool(interesting.any())


def recall(path: Path, out: Path, seed: int, steps: int, tables: dict[str, dict[str, Any]]) -> float:
    common = {"run": {"replay": True, "seed": seed}, "start": {"sites": 12}, "budget": {"steps": steps}}
    summary = Experiment(f"image:{path}", out=out, **common, **tables).run()
    return float(summary["truth"]["recall"][-1][2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "late_choices.json")
    arguments = parser.parse_args()
    rows = []
    for specimen in SPECIMENS:
        found: dict[str, list[float]] = {name: [] for name in RUNS}
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            with tempfile.TemporaryDirectory() as place:
                path = Path(place) / "map.npz"
                if not told_map(specimen, seed, path):
                    continue
                for number, (name, tables) in enumerate(RUNS.items()):
                    found[name].append(recall(path, Path(place) / f"run-{number}", seed, arguments.steps, tables))
        waits = np.array(found["waits"])
        for name, values in found.items():
            apart = np.array(values) - waits
            error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else None
            rows.append(
                {"specimen": specimen, "run": name, "seeds": len(values), "recall": float(np.mean(values)),
                 "difference": float(apart.mean()), "standard_error": error}
            )  # fmt: skip
            print(
                "  ".join(f"{key} {v:.3f}" if isinstance(v, float) else str(v) for key, v in rows[-1].items()),
                flush=True,
            )
    result = {"question": __doc__.splitlines()[0], "steps": arguments.steps, "first_seed": arguments.first_seed}
    result |= {**machine(), "rows": rows}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
