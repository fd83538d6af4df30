# SPDX-License-Identifier: BSD-3-Clause
"""How long does one decision of the rvae workflow take, and what of that is not the networks?

A rendered 256 x 256 frame of graphene, about 370 atoms, 128 x 128 sites, 180 to 220 of them told. First without the
networks: what they answer is computed once and given back, and everything else runs as in a run: the frame brought to
the network's pixels and intensities (normalise); its answer to atoms, with the test of amplitudes and the familiarity
(atoms); patches; columns of values and the site's value (component); tell (surrogate, float32 and float64); choose.
Beside it the same stages of the quickest Python parts: percentiles, label and bincount of SciPy, sliding windows, a
separable Gaussian process in NumPy; no tests, no familiarity, no resampling. Then the whole decision with its
networks: median and 99th percentile of windows of steps, with the time that the host stole. One thread.
Usage: python bench/decision.py [--steps 10000] [--json FILE]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

import gp_step
import image_bench
import probewise as pw
import workflow_frame
from probewise.descriptors import LatentEncoder, LatentWorkflow
from probewise.image import AtomFinder

SITES = 128
TOLD = (180, 220)
ROUNDS = 200
WINDOWS = 5
# AtomAI 0.8.1 and BoTorch 0.18.1 on the same kind of machine with 361 atoms; not run here.
QUOTED = {"AtomAI + BoTorch, everything but the networks, ms": 278, "AtomAI + BoTorch, full decision, ms": 370}


class Clock:
    """Adds up the processor time between marks, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._last = 0.0

    def start(self) -> None:
        self._last = time.process_time()

    def mark(self, name: str | None) -> None:
        """What went by since the last mark belongs to `name`; None: to nothing."""
        now = time.process_time()
        if name is not None:
            self.spent.setdefault(name, []).append(1e3 * (now - self._last))
        self._last = time.process_time()


class RememberedFinder(AtomFinder):
    """A finder whose network has looked at the frame already."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("atoms", refine=False)
        self.clock, self.answer = clock, None

    def _scaled(self, counts: Any, pixel: Any) -> Any:
        scaled = super()._scaled(counts, pixel)
        self.clock.mark("normalise")
        return scaled

    def _run(self, model: Any, scaled: Any) -> Any:
        if self.answer is None:
            self.answer = super()._run(model, scaled)
            self.clock.mark(None)
        return self.answer

    def __call__(self, image: Any, *, pixel_nm: Any = None) -> Any:
        found = super().__call__(image, pixel_nm=pixel_nm)
        self.clock.mark("atoms")
        return found


class RememberedEncoder(LatentEncoder):
    """An encoder that has seen the patches already."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("graphene-encoder")
        self.clock, self.answer = clock, None

    def __call__(self, patches: Any) -> Any:
        self.clock.mark("patches")
        if self.answer is None or len(self.answer.z) != len(patches):
            self.answer = super().__call__(patches)
        self.clock.mark(None)
        return self.answer


class Surrogate:
    """The told sites, from the fewest to the most of them and then from the fewest again."""

    def __init__(self, precision: str) -> None:
        self._precision = precision
        rng = np.random.default_rng(0)
        self._first = rng.choice(SITES**2, TOLD[0], replace=False), rng.normal(size=TOLD[0])
        self.restart()

    def restart(self) -> None:
        self.gp = pw.GaussianProcess(
            pw.Lattice((SITES, SITES)), kernel="rbf", lengthscale=8.0, noise=1e-2, precision=self._precision
        )
        self.gp.tell(*self._first)
        self.site = int(pw.choose(self.gp, "ucb")[0])

    def full(self) -> bool:
        return len(self.gp.values) >= TOLD[1]

    def tell(self, value: float) -> None:
        self.gp.tell(self.site, value)
        _ = self.gp.mean

    def choose(self) -> None:
        self.site = int(pw.choose(self.gp, "ucb")[0])


class PythonParts:
    """The same stages from the quickest parts that Python has for them."""

    def __init__(self, frame: pw.Frame, presence: np.ndarray, side: int) -> None:
        self._image, self._presence, self._side = np.ascontiguousarray(frame.image()), presence, side
        self._surrogate = Surrogate("float32")
        self.restart()

    def restart(self) -> None:
        self._surrogate.restart()
        gp = self._surrogate.gp
        self.gp = gp_step.NumpySeparable((SITES, SITES), gp.indices, gp.values, np.float32)
        self.site, self.step = self._surrogate.site, 0

    def __call__(self, clock: Clock) -> None:
        if self.step == TOLD[1] - TOLD[0]:
            self.restart()
        self.step += 1
        clock.start()
        low, high = np.percentile(self._image, (0.5, 99.5))
        scaled = (self._image - np.float32(low)) / np.float32(high - low)
        clock.mark("normalise")
        labels, count = ndimage.label(self._presence > 0.5)
        inside = np.flatnonzero(labels)
        part, weight = labels.ravel()[inside], self._presence.ravel()[inside]
        total = np.bincount(part, weight, count + 1)[1:]
        places = np.divmod(inside, self._presence.shape[1])
        yx = np.stack([np.bincount(part, weight * axis, count + 1)[1:] for axis in places], axis=1) / total[:, None]
        clock.mark("atoms")
        corner = np.rint(yx * (scaled.shape[0] / self._presence.shape[0])).astype(int) - self._side // 2
        corner = corner[((corner >= 0) & (corner <= scaled.shape[0] - self._side)).all(axis=1)]
        patches = sliding_window_view(scaled, (self._side, self._side))[corner[:, 0], corner[:, 1]]
        clock.mark("patches")
        value = float(patches[:, 0, 0].var())  # of as many numbers as an encoder gives
        clock.mark("component")
        self.gp.tell(self.site, value)
        clock.mark("surrogate")
        self.site = self.gp.choose()
        clock.mark("choice")


def decide(clock: Clock, frame: pw.Frame, workflow: LatentWorkflow, surrogate: Surrogate) -> None:
    if surrogate.full():
        surrogate.restart()
    clock.start()
    description = workflow.describe(frame)
    value = workflow.value(description)
    clock.mark("component")
    surrogate.tell(value)
    clock.mark("surrogate")
    surrogate.choose()
    clock.mark("choice")


def without_networks() -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Median milliseconds of processor time of each stage, ways in turn."""
    seen = workflow_frame.frames(14)
    frame = seen[0]
    clocks = {"probewise": Clock(), "probewise, surrogate in float64": Clock(), "Python parts": Clock()}
    finder, encoder = RememberedFinder(Clock()), RememberedEncoder(Clock())
    workflow = LatentWorkflow(encoder, finder, component="outlier")
    described = []
    for one in seen:
        finder.answer = encoder.answer = None
        described.append(workflow.describe(one))
    workflow.fit(described)
    finder.answer = encoder.answer = None
    atoms, patches = len(finder(frame)), len(workflow.describe(frame).features)
    presence = np.ascontiguousarray(finder.maps(frame).probability[0])
    surrogates = [Surrogate("float32"), Surrogate("float64")]
    peer = PythonParts(frame, presence, encoder.side_px)
    wall: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(ROUNDS):
        for number, (name, clock) in enumerate(clocks.items()):
            finder.clock = encoder.clock = clock
            began = time.perf_counter()
            if number < 2:
                decide(clock, frame, workflow, surrogates[number])
            else:
                peer(clock)
            wall[name].append(1e3 * (time.perf_counter() - began))
    rows = []
    for name, clock in clocks.items():
        stages = {stage: statistics.median(spent) for stage, spent in clock.spent.items()}
        row: dict[str, Any] = {"call": name} | {f"{stage}_ms": value for stage, value in stages.items()}
        row["processor_ms"] = statistics.median(map(sum, zip(*clock.spent.values(), strict=True)))
        row["wall_ms"] = statistics.median(wall[name])
        rows.append(row)
    return rows, {"atoms": atoms, "patches": patches}


def stolen_ms() -> float:
    """Time that the host gave to others since the start, all processors together."""
    return 1e3 * int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")


def with_networks(steps: int) -> list[dict[str, Any]]:
    """One row a window of `steps` decisions, frames in turn."""
    seen = workflow_frame.frames(14)
    workflow = LatentWorkflow(LatentEncoder("graphene-encoder"), AtomFinder("atoms", refine=False), component="outlier")
    workflow.fit([workflow.describe(one) for one in seen])
    surrogate = Surrogate("float32")
    rows = []
    for window in range(WINDOWS):
        wall, processor = np.empty(steps), np.empty(steps)
        stolen = stolen_ms()
        for step in range(steps):
            if surrogate.full():
                surrogate.restart()
            began, used = time.perf_counter(), time.process_time()
            surrogate.tell(workflow.value(workflow.describe(seen[step % len(seen)])))
            surrogate.choose()
            processor[step] = 1e3 * (time.process_time() - used)
            wall[step] = 1e3 * (time.perf_counter() - began)
        row: dict[str, Any] = {"call": f"full decision, window {window + 1}", "steps": steps}
        for name, values in (("wall", wall), ("processor", processor)):
            row[f"{name}_p50_ms"], row[f"{name}_p99_ms"] = map(float, np.percentile(values, (50, 99)))
        row["stolen_ms"] = stolen_ms() - stolen
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of a window; 10000 take ten minutes in all")
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "decision.json")
    arguments = parser.parse_args()
    rows, facts = without_networks()
    windows = with_networks(arguments.steps)
    best = min(windows, key=lambda row: row["wall_p99_ms"])
    image_bench.write(
        arguments.json,
        __doc__,
        rows + windows,
        frame="256 x 256",
        sites=f"{SITES} x {SITES}",
        told=f"{TOLD[0]} to {TOLD[1]}",
        **facts,
        best_window={"p50_ms": best["wall_p50_ms"], "p99_ms": best["wall_p99_ms"]},
        quoted=QUOTED,
    )


if __name__ == "__main__":
    main()
