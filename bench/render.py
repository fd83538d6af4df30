# SPDX-License-Identifier: BSD-3-Clause
"""How long does the simulated microscope take for one frame, and how long would NumPy take for the same model?

Ours: arm + start + read of `nio-lsmo` with every distortion and the whole detector on, one thread.
Peer: the same columns (handed over for free), profile tables and detector in NumPy, in blocks of points.
Run: python bench/render.py [--json FILE]
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

import probewise
from probewise import _core
from probewise.instrument.optics import REACH_NM, TABLE_STEPS, Probe, profile_tables
from probewise.instrument.simulated import open_simulated
from probewise.instrument.specimens import build
from probewise.types import Context, RasterROI

CASES = (
    ("64 x 64 over 1.28 nm", RasterROI((64, 64), 10_000), Context((1.28, 1.28), (20.0, 30.0)), 200),
    ("64 x 64 over 8 nm", RasterROI((64, 64), 10_000), Context((8.0, 8.0), (20.0, 30.0)), 200),
    ("400 x 400 over 8 nm", RasterROI((400, 400), 4_000, discard_lines=2), Context((8.0, 8.0), (20.0, 30.0)), 20),
    ("1024 x 1024 over 200 nm", RasterROI((1024, 1024), 1_000), Context((200.0, 200.0)), 5),
)
NUMPY_UP_TO = 400 * 400  # pixels; the survey takes NumPy minutes


def numpy_frame(roi, context, columns, tables, random):
    """Counts of one frame: distorted positions, sum over the columns in reach, detector."""
    yx, species, weight = columns
    rows, cols = np.indices(roi.shape)
    y = 100 + context.shift_nm[0] + ((rows + 0.5) / roi.shape[0] - 0.5) * context.fov_nm[0] * 0.99
    x = 100 + context.shift_nm[1] + ((cols + 0.5) / roi.shape[1] - 0.5) * context.fov_nm[1] * 1.015
    x = x + random.normal(0, 0.004, (roi.shape[0], 1)) + 0.004 * np.sin(1e-3 * (rows * roi.shape[1] + cols))
    table = tables[:, 0]
    fraction = np.zeros(roi.shape)
    for row in range(roi.shape[0]):
        near = np.abs(yx[:, 0] - y[row, 0]) < REACH_NM + 0.1
        atoms, kind, share = yx[near], species[near], weight[near]
        order = np.argsort(atoms[:, 1])
        atoms, kind, share = atoms[order], kind[order], share[order]
        for start in range(0, roi.shape[1], 64):
            block = slice(start, start + 64)
            low, high = np.searchsorted(
                atoms[:, 1], (x[row, block].min() - REACH_NM - 0.1, x[row, block].max() + REACH_NM + 0.1)
            )
            dy = y[row, block, None] - atoms[low:high, 0]
            dx = x[row, block, None] - atoms[low:high, 1]
            step = np.minimum((dy * dy + dx * dx) * (TABLE_STEPS / REACH_NM**2), TABLE_STEPS)
            whole = step.astype(np.int64)
            values = table[kind[low:high], whole]
            values = values + (step - whole) * (table[kind[low:high], whole + 1] - values)
            fraction[row, block] = values @ share[low:high]
    electrons = random.poisson(-np.expm1(-fraction) * 60e-12 / 1.602176634e-19 * roi.dwell_ns * 1e-9).astype(float)
    electrons += np.sqrt(0.2 * electrons + 0.09) * random.standard_normal(roi.shape)
    return np.clip(np.rint(10 * electrons + 100), 0, 65535).astype(np.float32)


def columns_of(made, context):
    middle, half = 100 + np.array(context.shift_nm), np.array(context.fov_nm) / 2 + 2
    return made.core.atoms([*(middle - half), *(middle + half)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", default=str(Path(__file__).parent / "results" / "render.json"))
    arguments = parser.parse_args()
    instrument = open_simulated("nio-lsmo")
    made = build("nio-lsmo")
    tables = profile_tables(Probe(), made.species, 0.0)
    random = np.random.default_rng(0)
    rows = []
    for label, roi, context, repeats in CASES:
        out = np.empty((1, roi.shape[0] * roi.shape[1]), dtype=np.float32)
        with_numpy = out.size <= NUMPY_UP_TO
        columns = columns_of(made, context) if with_numpy else None
        ours, theirs = [], []
        for repeat in range(repeats + 2):
            start = time.perf_counter()
            armed = instrument.arm(roi, context, channels=("HAADF",))
            instrument.start(armed)
            instrument.read_into(armed, out, timeout_s=60)
            ours.append(time.perf_counter() - start)
            if with_numpy and repeat < max(2, repeats // 10):
                start = time.perf_counter()
                numpy_frame(roi, context, columns, tables, random)
                theirs.append(time.perf_counter() - start)
        ours = ours[2:]  # the first two grow the buffers
        row = {
            "case": label,
            "median_ms": float(np.median(ours) * 1e3),
            "p99_ms": float(np.quantile(ours, 0.99) * 1e3),
            "numpy_median_ms": float(np.median(theirs) * 1e3) if theirs else None,
        }
        row["ratio"] = row["numpy_median_ms"] / row["median_ms"] if theirs else None
        rows.append(row)
        peer = f"numpy {row['numpy_median_ms']:9.2f} ms, {row['ratio']:.0f} x" if theirs else "numpy not run"
        print(f"{label:26s} median {row['median_ms']:8.2f} ms  p99 {row['p99_ms']:8.2f} ms  {peer}")
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    result = {
        "question": __doc__.splitlines()[0],
        "specimen": "nio-lsmo",
        "cpu": cpu,
        "threads": 1,
        "simd": _core.simd_level(),
        "versions": {
            "probewise": probewise.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "rows": rows,
    }
    target = Path(arguments.json)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
