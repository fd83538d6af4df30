# SPDX-License-Identifier: BSD-3-Clause
"""Which share of the time does the beam scan, and what does it wait for?

Live runs of the whole `rvae` workflow (finder, encoder, outliers, surrogate, UCB, journal with its syncs) on graphene,
the microscope in real time: frames of 64 x 64 at 10 us, 256 x 256 and 512 x 512 at 4 us, one after the other and
pipelined. Duty of a window of steps: their scheduled scan time over the wall time from the last pixel before the first
of them to that of the last; all steps after the start design, and the best window of a fifth of them, since other
programs may have run (`load`). Beside it what other programs change least: the processor time of the loop's thread from
a last pixel to the reservation of the next scan, mean over the same steps, and the duty that it alone would leave.
Stages are medians in ms. One thread for each of the programs' parts.

Beside them AtomAI 0.8 + BoTorch on frames of the same runs where both can be imported: U-Net, Locator, patches,
rVAE encoder (AtomAI's own networks, random weights), a GP of as many values on the same candidates with fixed
hyper-parameters, EI; its duty is scan / (scan + that latency). Where they cannot be, the latency quoted is that of an
earlier measurement, 370 ms for 256 x 256.

    python bench/beam_duty.py [--sizes 64 256 512] [--steps 150 80 40] [--peers]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import image_bench
import probewise as pw
from probewise.experiment import Experiment, open_run
from probewise.types import FloatArray

PIXEL_NM, LATTICE = 0.02, 25
DWELL_NS = {64: 10_000, 256: 4_000, 512: 4_000}
BAR = {64: (0.93, 0.98), 256: (0.95, 0.99), 512: (0.95, 0.99)}
STAGES = ("describe", "surrogate", "acquire", "decision", "vendor")
QUOTED_MS = 370.0


def tables(side: int, steps: int, pipelined: bool) -> dict[str, Any]:
    side_nm = side * PIXEL_NM
    return {
        "instrument": {"uri": "simulated:graphene", "fov_nm": LATTICE * side_nm, "realtime": True},
        "survey": {"shape": "none"},
        "sites": {"shape": (LATTICE, LATTICE), "side_nm": side_nm, "pixel_nm": PIXEL_NM},
        "scan": {"dwell_ns": DWELL_NS[side]},
        "descriptor": {"workflow": "rvae", "models": ["atoms", "graphene-encoder"], "on_unfamiliar": "notice"},
        "acquisition": {"pipelined": pipelined},
        "budget": {"steps": steps},
    }


def duty(ends_s: list[float], scans_s: list[float]) -> float:
    return sum(scans_s[1:]) / (ends_s[-1] - ends_s[0])


def live(side: int, steps: int, pipelined: bool, keep: Path) -> dict[str, Any]:
    """One run; what is counted begins three frames after the start design, when everything is warm."""
    ends: list[float] = []
    used: dict[str, list[float]] = {"scanned": [], "reserved": []}
    experiment = Experiment(out=keep, **tables(side, steps, pipelined))

    def mark(stage: str) -> None:
        if stage in used:
            used[stage].append(time.thread_time())
        if stage == "scanned":
            ends.append(time.perf_counter())

    experiment.on("stage", mark)
    load = os.getloadavg()[0]
    experiment.run()
    first = experiment.configuration.start_sites + 3
    with open_run(keep) as run:
        scans = [step.duration_ns * 1e-9 for step in run.steps]
        waits = {stage: run.timings[stage][first:] for stage in STAGES}
    window = max((len(ends) - first) // 5, 5)
    windows = [
        duty(ends[start : start + window + 1], scans[start : start + window + 1])
        for start in range(first, len(ends) - window)
    ]
    apart = np.diff(ends[first:]) - scans[first + 1 :]
    path_ms = 1e3 * float(np.mean(np.subtract(used["reserved"][first + 1 :], used["scanned"][first:-1])))
    return {
        "frame": f"{side} x {side} at {DWELL_NS[side] / 1000:g} us",
        "mode": "pipelined" if pipelined else "one after the other",
        "duty": duty(ends[first:], scans[first:]),
        "duty_best_window": max(windows),
        "bar": BAR[side][pipelined],
        "duty_by_processor": scans[-1] / (scans[-1] + 1e-3 * path_ms),
        "path_processor_ms": path_ms,
        "steps": len(ends) - first,
        "scan_ms": scans[-1] * 1e3,
        "waits_ms": float(np.median(apart) * 1e3),
        "waits_p95_ms": float(np.percentile(apart, 95) * 1e3),
        **{f"{stage}_ms": float(np.median(values)) for stage, values in waits.items() if len(values)},
        "load": load,
    }


def natural_stack(side: int, told: int) -> Callable[[FloatArray], None]:
    """AtomAI + BoTorch as their users join them; ImportError where one of them is not there."""
    import atomai
    import torch
    from atomai.nets import Unet
    from atomai.predictors.predictor import Locator, SegPredictor
    from atomai.utils import extract_subimages
    from botorch.acquisition import ExpectedImprovement
    from botorch.models import SingleTaskGP

    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    segment = SegPredictor(Unet(1, 16).eval(), nb_classes=1, downsampling=8, verbose=False)
    encoder = atomai.models.rVAE((28, 28), latent_dim=2)
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 1, 2 * LATTICE)] * 2, indexing="ij"), -1).reshape(-1, 2)
    candidates = torch.from_numpy(lattice)
    at = candidates[random.permutation(len(candidates))[:told]]
    values = torch.from_numpy(random.normal(size=told))[:, None]
    pitch = (
        0.2 / PIXEL_NM
    )  # random weights find nothing: the atoms of graphene, about 30 a nm^2, are put in their place
    y, x = np.mgrid[:side, :side]
    blobs = (np.cos(2 * np.pi * y / pitch) * np.cos(2 * np.pi * x / pitch) > 0.5).astype(np.float32)[None, ..., None]

    def decide(image: FloatArray) -> None:
        segment.predict(image, norm=True)
        atoms = Locator(0.5).run(blobs)[0]
        patches = extract_subimages(image, atoms[:, :2], 28)[0]
        latent = encoder.encode(patches[..., 0])[0]
        model = SingleTaskGP(torch.cat([at, at[:1]]), torch.cat([values, values[:1] + float(latent.var())])).eval()
        with torch.no_grad():
            gain = ExpectedImprovement(model, best_f=values.max())
            int(torch.cat([gain(part[:, None, :]) for part in candidates.split(2048)]).argmax())

    return decide


def peer(side: int, steps: int, keep: Path) -> dict[str, Any]:
    scan_ms = (side + 2) * side * DWELL_NS[side] * 1e-6
    try:
        decide = natural_stack(side, 4 * steps)
    except ImportError as error:
        quoted = {"latency_ms": QUOTED_MS, "quoted": True, "why": str(error)}
        return {
            "frame": f"{side} x {side}",
            "peer": "AtomAI + BoTorch",
            "duty": scan_ms / (scan_ms + QUOTED_MS),
            **quoted,
        }
    with open_run(keep) as run:
        frames = [frame.image() for frame in run.frames[-8:]]
    wall, processor = [], []
    for frame in frames:
        begun, used = time.perf_counter(), time.process_time()
        decide(frame)
        wall.append((time.perf_counter() - begun) * 1e3)
        processor.append((time.process_time() - used) * 1e3)
    latency, path = statistics.median(wall[1:]), statistics.median(processor[1:])
    return {
        "frame": f"{side} x {side}", "peer": "AtomAI + BoTorch", "duty": scan_ms / (scan_ms + latency),
        "duty_by_processor": scan_ms / (scan_ms + path), "latency_ms": latency, "path_processor_ms": path,
        "quoted": False, "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512], choices=sorted(DWELL_NS))
    parser.add_argument("--steps", type=int, nargs="+", default=[150, 80, 40])
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "beam_duty.json")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for side, steps in zip(arguments.sizes, arguments.steps, strict=True):
            for pipelined in (False, True):
                keep = Path(place) / f"{side}-{pipelined}"
                rows.append(live(side, steps, pipelined, keep))
                print(json.dumps(rows[-1]), flush=True)
            if arguments.peers:
                rows.append(peer(side, steps, keep))
                print(json.dumps(rows[-1]), flush=True)
    image_bench.write(arguments.json, __doc__, rows, probewise=pw.__version__)


if __name__ == "__main__":
    main()
