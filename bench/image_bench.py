# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks of the image room share: calls in turn, medians, one JSON file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import probewise
from probewise._core import simd_level

RESULTS = Path(__file__).parent / "results"


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, Any]]:
    """Median and best wall time and median processor time of each call in ms, one after the other in each round."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            begun, used = time.perf_counter(), time.process_time()
            call()
            processor[name].append((time.process_time() - used) * 1e3)
            wall[name].append((time.perf_counter() - begun) * 1e3)
    return [
        {
            "call": name,
            "median_ms": statistics.median(wall[name][2:]),  # the first two warm caches and buffers
            "best_ms": min(wall[name][2:]),
            "processor_ms": statistics.median(processor[name][2:]),
        }
        for name in calls
    ]


def write(path: Path, question: str | None, rows: list[dict[str, Any]], floor: str | None = None, **facts: Any) -> None:
    """Print the rows and write them with the machine they were measured on."""
    base = next((row["processor_ms"] for row in rows if floor and row["call"] == floor), None)
    for row in rows:
        if base:
            row["times_floor"] = row["processor_ms"] / base
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = {"probewise": probewise.__version__, "numpy": np.__version__, "python": platform.python_version()}
    for package in ("scipy", "opencv-python-headless", "atomai"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    result = {
        "question": (question or "").splitlines()[0],
        "cpu": cpu,
        "threads": 1,
        "load_average": os.getloadavg()[0],
        "simd": simd_level(),
        "versions": versions,
        **facts,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
