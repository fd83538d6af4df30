# SPDX-License-Identifier: BSD-3-Clause
"""What does bluesky add to a step: with a plan that reads every frame, and with the experiment as one flyer?

`frame` is a 64 x 64 frame of the simulated microscope through our session alone; `device` the same frames by prepare,
trigger and read of the Microscope device under a RunEngine, an event document each. `run` is a small experiment by
itself, `flyer` the same one by run_plan, an event a step at its end. The two of a pair take turns; medians of --rounds
rounds of --steps steps, per step, the first round of each left out: wall time, and processor time of all threads, which
a busy machine changes less. One thread for linear algebra.

    python bench/bluesky_step.py [--rounds 9] [--steps 40]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bluesky
import numpy as np
from bluesky import RunEngine, plan_stubs, preprocessors

from probewise.bluesky import Microscope, run_plan
from probewise.experiment import Experiment
from probewise.experiment.recorder import machine
from probewise.instrument.sessions import session
from probewise.instrument.simulated import SimulatedInstrument
from probewise.types import Context, Frame, RasterROI

ROI, SITE = RasterROI((64, 64), 1000), Context((8.0, 8.0))


def microscope() -> SimulatedInstrument:
    return SimulatedInstrument("particles", seed=1, fov_nm=100.0)


def mean(frame: Frame) -> float:
    return float(frame.counts.mean())


def frame(steps: int, _: RunEngine) -> None:
    with session(microscope()) as opened:
        for _step in range(steps):
            opened.acquire(ROI, SITE, ["HAADF"])


def device(steps: int, engine: RunEngine) -> None:
    one = Microscope(microscope())

    def plan():
        yield from plan_stubs.open_run()
        for _step in range(steps):
            yield from plan_stubs.prepare(one, (ROI, SITE), wait=True)
            yield from plan_stubs.trigger_and_read([one])
        yield from plan_stubs.close_run()

    engine(preprocessors.stage_wrapper(plan(), [one]))


def experiment(steps: int, out: Path) -> Experiment:
    return Experiment(
        microscope(), out=out, survey={"shape": (64, 64)}, sites={"shape": (12, 12), "side_nm": 8.0, "pixel_nm": 0.125},
        measure={"scalarize": mean}, start={"sites": 6}, budget={"steps": steps},
    )  # fmt: skip


def run(steps: int, _: RunEngine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        experiment(steps, Path(folder) / "run").run()


def flyer(steps: int, engine: RunEngine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine(run_plan(experiment(steps, Path(folder) / "run")))


def summed(taken: dict[str, list[float]]) -> dict[str, float]:
    """Medians, and the median of what the second of a pair adds to the first."""
    medians = {name: float(np.median(times[1:])) for name, times in taken.items()}
    for first, second in (("frame", "device"), ("run", "flyer")):
        medians[f"{second} adds"] = float(np.median(np.subtract(taken[second][1:], taken[first][1:])))
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    engine = RunEngine({})
    wall: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    pairs: tuple[tuple[Callable[[int, RunEngine], None], ...], ...] = ((frame, device), (run, flyer))
    for pair in pairs:
        for _ in range(asked.rounds + 1):
            for way in pair:
                begun, spent = time.perf_counter(), time.process_time()
                way(asked.steps, engine)
                processor.setdefault(way.__name__, []).append((time.process_time() - spent) * 1e3 / asked.steps)
                wall.setdefault(way.__name__, []).append((time.perf_counter() - begun) * 1e3 / asked.steps)
    result = {
        "question": "What does bluesky add to a step?",
        "machine": machine(),
        "load_1_min": os.getloadavg()[0],
        "bluesky": bluesky.__version__,
        "rounds": asked.rounds,
        "steps": asked.steps,
        "wall_ms_a_step": summed(wall),
        "processor_ms_a_step": summed(processor),
    }
    Path(__file__).with_name("results").joinpath("bluesky_step.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
