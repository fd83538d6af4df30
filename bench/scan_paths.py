# SPDX-License-Identifier: BSD-3-Clause
"""How long does it take to put a million scan positions as DAC codes into a buffer that is already there?

Ours beside NumPy in float64 and float32, in turn in the same run, one thread; medians of wall time, and of processor
time, which other programs on the machine disturb less. Usage: python bench/scan_paths.py
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"  # before NumPy reads them

import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import probewise as pw
from probewise._core import simd_level

POINTS = 1_000_000
SHAPE = (1000, 1000)
SIDE = 1024
ROUNDS = 30
BITS = 16


def numpy_spiral(out: np.ndarray, dtype: type) -> None:
    turns = SHAPE[0] / 2
    time_ = (np.arange(POINTS, dtype=dtype) + dtype(0.5)) * dtype(1 / POINTS)
    root = np.sqrt(time_)
    angle = dtype(2 * math.pi * turns) * root
    radius = dtype(0.5) * root
    out[:, 0] = np.rint((dtype(0.5) + radius * np.sin(angle)) * dtype(2**BITS - 1))
    out[:, 1] = np.rint((dtype(0.5) + radius * np.cos(angle)) * dtype(2**BITS - 1))


def numpy_serpentine(out: np.ndarray, dtype: type) -> None:
    rows, cols = SHAPE
    y = np.rint((np.arange(rows, dtype=dtype) + dtype(0.5)) * dtype((2**BITS - 1) / rows))
    x = np.rint((np.arange(cols, dtype=dtype) + dtype(0.5)) * dtype((2**BITS - 1) / cols))
    grid = out.reshape(rows, cols, 2)
    grid[:, :, 0] = y[:, None]
    grid[::2, :, 1] = x
    grid[1::2, :, 1] = x[::-1]


def numpy_hilbert(out: np.ndarray, dtype: type) -> None:
    digits = np.arange(SIDE * SIDE, dtype=np.int32)
    row, col = np.zeros_like(digits), np.zeros_like(digits)
    side = 1
    while side < SIDE:
        right = (digits >> 1) & 1
        down = (digits ^ right) & 1
        flip = (down == 0) & (right == 1)
        col = np.where(flip, side - 1 - col, col)
        row = np.where(flip, side - 1 - row, row)
        col, row = np.where(down == 0, row, col), np.where(down == 0, col, row)
        col += side * right
        row += side * down
        digits >>= 2
        side *= 2
    scale = dtype((2**BITS - 1) / SIDE)
    out[:, 0] = np.rint((row.astype(dtype) + dtype(0.5)) * scale)
    out[:, 1] = np.rint((col.astype(dtype) + dtype(0.5)) * scale)


def cases() -> dict[str, tuple[int, dict[str, Callable[[np.ndarray], object]]]]:
    def both(function: Callable[[np.ndarray, type], None]) -> dict[str, Callable[[np.ndarray], object]]:
        return {"numpy_f64": lambda out: function(out, np.float64), "numpy_f32": lambda out: function(out, np.float32)}

    return {
        "spiral": (
            POINTS,
            {"probewise": lambda out: pw.scan.spiral(SHAPE, 1000).codes(BITS, out=out), **both(numpy_spiral)},
        ),
        "serpentine": (
            POINTS,
            {
                "probewise": lambda out: pw.scan.serpentine(SHAPE, 1000).codes(BITS, out=out),
                "probewise_with_path": lambda out: pw.scan.raster(SHAPE, 1000).path.codes(BITS, out=out),
                **both(numpy_serpentine),
            },
        ),
        "hilbert": (
            SIDE * SIDE,
            {"probewise": lambda out: pw.scan.hilbert((SIDE, SIDE), 1000).codes(BITS, out=out), **both(numpy_hilbert)},
        ),
    }


def measure() -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    for name, (points, ways) in cases().items():
        buffers = {way: np.zeros((points, 2), dtype=np.uint16) for way in ways}
        times: dict[str, list[float]] = {way: [] for way in ways}
        processor: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, run in ways.items():
                began, began_cpu = time.perf_counter(), time.thread_time()
                run(buffers[way])
                processor[way].append(time.thread_time() - began_cpu)
                times[way].append(time.perf_counter() - began)
        median_ms = {way: 1e3 * statistics.median(values) for way, values in times.items()}
        cpu_ms = {f"{way}_cpu_ms": 1e3 * statistics.median(values) for way, values in processor.items()}
        apart = int(np.abs(buffers["probewise"].astype(int) - buffers["numpy_f64"].astype(int)).max())
        if apart > 1:
            raise RuntimeError(f"{name}: codes differ from NumPy's by {apart}, expected at most one at a rounding tie")
        results[name] = {"points": points, **{f"{way}_ms": value for way, value in median_ms.items()}, **cpu_ms}
        results[name]["ratio_f64"] = median_ms["numpy_f64"] / median_ms["probewise"]
        results[name]["ratio_f32"] = median_ms["numpy_f32"] / median_ms["probewise"]
    return results


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    results = measure()
    report = {
        "question": __doc__.splitlines()[0] if __doc__ else "",
        "command": "python bench/scan_paths.py",
        "cpu": cpu_model(),
        "threads": 1,
        "load_average": os.getloadavg()[0],
        "simd": simd_level(),
        "versions": {"probewise": pw.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "rounds": ROUNDS,
        "median": results,
    }
    path = Path(__file__).parent / "results" / "scan_paths.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    for name, row in results.items():
        shown = "  ".join(f"{key} {value:.2f}" for key, value in row.items() if key != "points")
        print(f"{name:8s} {shown}")


if __name__ == "__main__":
    main()
