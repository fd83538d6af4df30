# SPDX-License-Identifier: BSD-3-Clause
"""What does a sub-scan through Nion Swift's scan device take beyond its dwell times, and how fast is a scan aborted?

Nion's simulator without a window, 64 x 64 at 10 us a pixel at random places of a field of 200 nm. Peer in the same run,
frame by frame in turn: Swift's own `record_immediate` of the same sub-scan. Ours is a whole `Session.acquire`, from the
check of the request to the blanked beam. Nominal is the sum of the dwell times; the simulator takes no flyback. Aborts
come at a random moment of a frame of 512 x 512 (2.6 s): from the call until it has returned, the beam blanked and the
device stopped, and until whoever waited for the frame has its error. One thread. Needs the extra `nion`.

    python bench/nion_scan.py [--frames 40] [--aborts 20]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from probewise.errors import ScanError
from probewise.experiment.recorder import machine
from probewise.instrument import open_instrument, session
from probewise.types import Context, RasterROI

SIDE_NM, SITE_NM, PIXELS, DWELL_NS = 200.0, 20.0, 64, 10_000
NOMINAL_MS = PIXELS**2 * DWELL_NS * 1e-6
WARM = 5


def spread(times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    return {
        "p5": round(ordered[len(ordered) // 20], 3),
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[-1 - len(ordered) // 20], 3),
        "longest": round(ordered[-1], 3),
    }


def frames(opened: Any, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Times of both ways, in turn."""
    source = opened.instrument.swift.source
    roi = RasterROI((PIXELS, PIXELS), DWELL_NS, flyback_ns=opened.limits.flyback_ns)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(WARM + count):
        shift = rng.uniform(-80, 80, 2)
        begun = time.perf_counter()
        opened.acquire(roi, Context((SITE_NM, SITE_NM), (float(shift[0]), float(shift[1]))), ["HAADF"])
        ours.append((time.perf_counter() - begun) * 1e3)
        parameters = source.get_frame_parameters(0)
        parameters.pixel_size = (256, 256)
        parameters.fov_nm, parameters.pixel_time_us = SIDE_NM, DWELL_NS / 1000
        parameters.subscan_pixel_size = (PIXELS, PIXELS)
        parameters.subscan_fractional_size = (SITE_NM / SIDE_NM, SITE_NM / SIDE_NM)
        parameters.subscan_fractional_center = tuple(0.5 + shift / SIDE_NM)
        begun = time.perf_counter()
        source.record_immediate(parameters)
        theirs.append((time.perf_counter() - begun) * 1e3)
    ours_ms, theirs_ms = spread(ours[WARM:]), spread(theirs[WARM:])
    return {
        "nominal_ms": NOMINAL_MS,
        "acquire_ms": ours_ms,
        "record_immediate_ms": theirs_ms,
        "beyond_nominal_ms": {
            "acquire": round(ours_ms["median"] - NOMINAL_MS, 3),
            "record_immediate": round(theirs_ms["median"] - NOMINAL_MS, 3),
        },
    }


def aborts(opened: Any, count: int, rng: np.random.Generator) -> dict[str, Any]:
    device = opened.instrument.swift.device
    roi = RasterROI((512, 512), DWELL_NS, flyback_ns=opened.limits.flyback_ns)
    safe: list[float] = []
    told: list[float] = []
    for _ in range(count):
        wait = opened.begin(roi, Context((SIDE_NM, SIDE_NM)), ["HAADF"])
        while not device.is_scanning:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.05, 0.5))
        begun = time.perf_counter()
        opened.abort()
        safe.append((time.perf_counter() - begun) * 1e3)
        assert not device.is_scanning
        assert opened.instrument.swift.stem.GetVal("C_Blank") == 1.0
        try:
            wait()
        except ScanError:
            told.append((time.perf_counter() - begun) * 1e3)
    assert len(told) == count
    return {"frame_ms": 512**2 * DWELL_NS * 1e-6, "until_safe_ms": spread(safe), "until_told_ms": spread(told)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--aborts", type=int, default=20)
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    load_before = os.getloadavg()[0]
    with session(open_instrument("nion:usim", fov_nm=SIDE_NM)) as opened:
        results = {
            "frames": frames(opened, arguments.frames, rng),
            "aborts": aborts(opened, arguments.aborts, rng),
            "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
            "versions": {name: version(name) for name in ("nionswift", "nionswift-instrumentation", "nionswift-usim")},
            "machine": machine(),
        }
    print(json.dumps(results, indent=2))
    path = Path(__file__).parent / "results" / "nion_scan.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
