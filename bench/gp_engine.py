# SPDX-License-Identifier: BSD-3-Clause
"""How long does the surrogate make the beam wait: one step, a batch, a million candidates, beside the quickest peers?

One thread. A step is tell + choose("ucb"); its peers are hand-written NumPy with the same answers (bench/gp_step.py)
and BoTorch, where it is installed: a new model of fixed hyperparameters, joint posteriors in chunks of 256, the same
formula. Ways take turns of `ROUND` steps; medians of process-CPU milliseconds, which other load disturbs least. The
floor is what the machine's arithmetic and memory allow on one core (118 / 59 GFLOP/s, 16 GB/s). On a million
candidates the lazy plan runs from the first step, since what it saves depends on what went before; the row is the mean
over n = 3600 to 4096. The last rows are wall-clock times of one and of two of the core's threads, in processes that
take turns.
Run: python bench/gp_engine.py [--quick] [--memory]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

import gp_step
import probewise as pw
from gp_step import LENGTHSCALE, NOISE, NumpyIncremental, NumpySeparable
from probewise import _core
from probewise._core.surrogate import Engine

STEPS, ROUND = 24, 4


def cpu_ms() -> float:
    return 1e3 * time.process_time()


class Ours:
    def __init__(self, shape, indices, values, dtype, kernel="rbf"):
        self.gp = pw.GaussianProcess(
            pw.Lattice(shape), kernel=kernel, lengthscale=LENGTHSCALE, noise=NOISE, precision=np.dtype(dtype).name
        )
        self.gp.engine.reserve(len(indices) + STEPS + 8)
        self.gp.tell(indices, values)

    def tell(self, index, value):
        self.gp.tell(index, value)

    def choose(self):
        return int(pw.choose(self.gp, "ucb", beta=1.0)[0])


class NumpyCached(NumpyIncremental):
    """Keeps V, one pass over it a step, for a kernel that depends on the distance."""

    def __init__(self, shape, indices, values, dtype):
        y, x = np.indices(shape, dtype=np.float64)
        self.points = np.stack([y.ravel(), x.ravel()], axis=1) / LENGTHSCALE
        self.told = []
        super().__init__(shape, indices, values, dtype)

    def tell(self, index, value):
        n = self.n
        apart = self.points - self.points[index]
        r = np.sqrt(5.0 * (apart * apart).sum(axis=1))
        k_all = (1.0 + r + r * r / 3.0) * np.exp(-r)
        row = gp_step.solve_triangular(self.factor[:n, :n], k_all[self.told], lower=True, check_finite=False)
        pivot = np.sqrt(1.0 + NOISE - row @ row)
        self.factor[n, :n], self.factor[n, n] = row, pivot
        self.z[n] = (value - row @ self.z[:n]) / pivot
        v = (k_all.astype(self.dtype) - row.astype(self.dtype) @ self.v[:n]) / self.dtype(pivot)
        self.v[n] = v
        self.variance -= (v * v).reshape(self.shape)
        self.mean += (v * self.dtype(self.z[n])).reshape(self.shape)
        self.told.append(int(index))
        self.seen[index] = True
        self.n += 1


class BoTorch:
    """Rebuilt from scratch at every step, as its documentation does; `kernel` of gpytorch."""

    def __init__(self, shape, indices, values, dtype, kernel="rbf"):
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.kernel = kernel
        y, x = np.indices(shape, dtype=np.float64)
        self.points = torch.tensor(np.stack([y.ravel(), x.ravel()], axis=1))
        self.told, self.values = list(map(int, indices)), list(map(float, values))

    def tell(self, index, value):
        self.told.append(int(index))
        self.values.append(float(value))

    def choose(self):
        import gpytorch
        from botorch.models import SingleTaskGP

        torch = self.torch
        base = gpytorch.kernels.RBFKernel() if self.kernel == "rbf" else gpytorch.kernels.MaternKernel(nu=2.5)
        base.lengthscale = LENGTHSCALE
        covariance = gpytorch.kernels.ScaleKernel(base)
        covariance.outputscale = 1.0
        values = torch.tensor(self.values, dtype=torch.float64)[:, None]
        model = SingleTaskGP(
            self.points[self.told],
            values,
            torch.full_like(values, NOISE),
            covar_module=covariance,
            mean_module=gpytorch.means.ZeroMean(),
            outcome_transform=None,
        )
        model.eval()
        score = torch.empty(len(self.points), dtype=torch.float64)
        with torch.no_grad():
            for first in range(0, len(self.points), 256):
                posterior = model.posterior(self.points[first : first + 256])
                score[first : first + 256] = (posterior.mean + posterior.variance.sqrt()).squeeze(-1)
        score[self.told] = -torch.inf
        return int(score.argmax())


def start(side, n):
    rng = np.random.default_rng(0)
    indices = rng.choice(side * side, n - STEPS // 2, replace=False)
    return indices, rng.normal(size=len(indices))


def take_turns(ways, first, steps):
    """Median milliseconds of a step by each way, and the sites that each chose."""
    times, chosen = {name: [] for name in ways}, {name: [] for name in ways}
    for begin in range(0, steps, ROUND):
        for name, way in ways.items():
            for step in range(begin, min(begin + ROUND, steps)):
                if name == "BoTorch" and step >= 2:
                    continue
                site = chosen[name][-1] if chosen[name] else first
                before = cpu_ms()
                way.tell(site, float(np.sin(step)))
                chosen[name].append(way.choose())
                times[name].append(cpu_ms() - before)
    return {name: float(np.median(all_)) for name, all_ in times.items()}, chosen


def step_row(side, n, dtype, kernel, bar, floor, peers):
    indices, values = start(side, n)
    ways = {"probewise": Ours((side, side), indices, values, dtype, kernel)}
    for name, make in peers.items():
        ways[name] = make((side, side), indices, values, dtype)
    first = int(np.setdiff1d(np.arange(side * side), indices)[0])
    times, chosen = take_turns(ways, first, STEPS)
    ours = chosen["probewise"]
    agree = {name: sites == ours[: len(sites)] for name, sites in chosen.items() if name != "probewise"}
    what = f"step, n={n}, {side}^2, {kernel}, {np.dtype(dtype).name}"
    return {"what": what, "median_ms": times, "bar_ms": bar, "floor_ms": floor, "same_choices": agree}


def batch_row(has_botorch):
    indices, values = start(128, 200)
    gp = Ours((128, 128), indices, values, np.float64).gp
    times = {}
    for name, policy in (("probewise ei", "ei"), ("probewise ucb", "ucb")):
        took = []
        for step in range(20):
            before = cpu_ms()
            pw.choose(gp, policy, q=8, key=(0, step))
            took.append(cpu_ms() - before)
        times[name] = float(np.median(took))
    took = []
    for _ in range(5):
        believer = NumpyIncremental((128, 128), gp.indices, gp.values, np.float32)
        before = cpu_ms()
        for member in range(8):
            site = believer.choose()
            if member < 7:
                believer.tell(site, float(believer.mean.flat[site]))
        took.append(cpu_ms() - before)
    times["numpy incremental believer"] = float(np.median(took))
    if has_botorch:
        times["BoTorch qLogEI sequential"] = botorch_batch(gp)
    return {"what": "batch of 8, n=200, 128^2", "median_ms": times, "bar_ms": 2.0, "floor_ms": 0.45}


def botorch_batch(gp):
    import torch
    from botorch.acquisition.logei import qLogExpectedImprovement
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler

    torch.set_num_threads(1)
    points = torch.tensor(gp.candidates.points()[gp.indices])
    values = torch.tensor(gp.values)[:, None]
    model = SingleTaskGP(points, values, torch.full_like(values, NOISE))
    took = []
    for _ in range(2):
        before = cpu_ms()
        acquisition = qLogExpectedImprovement(
            model, best_f=float(values.max()), sampler=SobolQMCNormalSampler(torch.Size([128]), seed=0)
        )
        bounds = torch.tensor([[0.0, 0.0], [127.0, 127.0]], dtype=torch.float64)
        optimize_acqf(acquisition, bounds=bounds, q=8, num_restarts=4, raw_samples=64, sequential=True)
        took.append(cpu_ms() - before)
    return float(np.median(took))


def surface(index, side):
    y, x = divmod(int(index), side)
    return np.sin(y / 37) * np.cos(x / 53) + 0.3 * np.sin(x / 17 + y / 23) + 0.1 * np.sin(1e4 * np.sin(index))


def million_rows(plan, precision, lengthscale, n, begin, plain):
    """`plan` from the first site on; mean milliseconds and the largest over steps begin to n."""
    side = 1024
    engine = Engine.lattice(side, side, 1.0, 1.0, "rbf", np.full(2, lengthscale), 1.0, NOISE, 0.0, 1.0, precision, plan)
    engine.reserve(n + 8)
    site, times = side * side // 2 + side // 2, []
    if plain:  # nothing of the past matters to a pass over everything: spread the first sites
        golden = np.arange(1, begin + 1)[:, None] * [0.7548776662466927, 0.5698402909980532] % 1.0
        for index in ((golden * side).astype(np.int64) @ [side, 1]).tolist():
            engine.tell_one(index, surface(index, side), 0.0)
    for step in range(begin if plain else 0, n):
        before = cpu_ms()
        site = engine.step(site, surface(site, side), "ucb", {"beta": 1.0}, None, False, None, 0.0, (0, step))
        times.append(cpu_ms() - before)
    measured = np.array(times if plain else times[begin:])
    return {
        "what": f"step, n={begin}..{n}, 1024^2, rbf of {lengthscale:g} px, {precision}, {plan} plan",
        "mean_ms": float(measured.mean()),
        "median_ms": {"probewise": float(np.median(measured))},
        "p99_ms": float(np.percentile(measured, 99)),
        "largest_memory_MB": largest_memory_mb(),
    }


def largest_memory_mb():
    """Of this process alone: getrusage would also tell of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def in_a_process(function, *arguments):
    """`function` in a fresh process, so that its memory is its own."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def memory_row(runs=200, steps=500):
    """Resident memory after each of `runs` experiments of `steps` steps on one engine."""
    engine = Engine.lattice(64, 64, 1.0, 1.0, "rbf", np.full(2, 4.0), 1.0, NOISE, 0.0, 1.0, "float64", "")
    resident = []
    for run in range(runs):
        engine.reset()
        site = run
        for step in range(steps):
            site = engine.step(site, np.sin(site), "ucb", {"beta": 1.0}, None, False, None, 0.0, (run, step))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * resource.getpagesize() / 2**20)
    growth = max(resident[2:]) - resident[1]
    return {"what": f"{runs} runs of {steps} steps on one engine", "growth_MB": growth, "bar_MB": 1.0}


def wall_steps(rows, cols, n, kernel, precision, plan, steps):
    """Wall-clock milliseconds of each of `steps` steps from n told values on."""
    engine = Engine.lattice(
        rows, cols, 1.0, 1.0, kernel, np.full(2, LENGTHSCALE), 1.0, NOISE, 0.0, 1.0, precision, plan
    )
    engine.reserve(n + steps + 1)
    rng = np.random.default_rng(0)
    told = rng.choice(rows * cols, n, replace=False)
    engine.tell_many(told, rng.normal(size=n), np.zeros(n))
    site, times = int(np.setdiff1d(np.arange(rows * cols), told)[0]), []
    for step in range(steps):
        before = time.perf_counter()
        site = engine.step(site, float(np.sin(step)), "ucb", {"beta": 1.0}, None, False, None, 0.0, (0, step))
        times.append(1e3 * (time.perf_counter() - before))
    return times


def threads_row(side, n, kernel, precision, plan, steps=40, turns=3):
    """Wall clock, since process time counts both threads; the best of the turns suffers least from other load."""
    times = {threads: [] for threads in ("1", "2")}
    before = os.environ.get("PROBEWISE_THREADS")
    for _ in range(turns):
        for threads, medians in times.items():
            os.environ["PROBEWISE_THREADS"] = threads
            found = in_a_process(wall_steps, side, side, n, kernel, precision, plan, steps)
            medians.append(float(np.median(found)))
    if before is None:
        del os.environ["PROBEWISE_THREADS"]
    else:
        os.environ["PROBEWISE_THREADS"] = before
    return {
        "what": f"step by wall clock, n={n}, {side}^2, {kernel}, {precision}, {plan} plan",
        "best_median_ms": {f"threads {threads}": min(medians) for threads, medians in times.items()},
        "load": os.getloadavg()[0],
    }


def show(row):
    found = row.get("median_ms", row.get("best_median_ms", {}))
    times = ", ".join(f"{name} {value:.3g} ms" for name, value in found.items())
    rest = ", ".join(f"{key} {value:.3g}" for key, value in row.items() if isinstance(value, float))
    print(f"{row['what']}: {times}; {rest}", flush=True)


def write(out, rows, versions):
    report = {
        "question": __doc__.splitlines()[0],
        "machine": gp_step._cpu(),
        "threads": 1,
        "simd_level": _core.simd_level(),
        "load": os.getloadavg()[0],
        "versions": {"probewise": pw.__version__, "numpy": np.__version__, **versions},
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the million candidates and BoTorch")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gp_engine.json")
    arguments = parser.parse_args()
    try:
        import botorch

        versions = {"botorch": botorch.__version__}
    except ImportError:
        versions = {}
    has_botorch = bool(versions) and not arguments.quick
    lattice_peers = {"numpy separable": NumpySeparable, "numpy incremental": NumpyIncremental}
    if has_botorch:
        lattice_peers["BoTorch"] = BoTorch
    rows = []

    def add(row):
        rows.append(row)
        show(row)
        write(arguments.out, rows, versions)

    for n, bar, floor in ((256, 0.25, 0.12), (1024, 0.8, 0.40)):
        add(step_row(128, n, np.float32, "rbf", bar, floor, lattice_peers))
        numpy_only = {name: way for name, way in lattice_peers.items() if name != "BoTorch"}
        add(step_row(128, n, np.float64, "rbf", None, 2 * floor, numpy_only))
    cached_peers = {"numpy cached": NumpyCached}
    if has_botorch:
        cached_peers["BoTorch"] = lambda *start: BoTorch(*start, kernel="matern52")
    add(step_row(128, 1024, np.float32, "matern52", 5.0, 4.2, cached_peers))
    add(step_row(128, 1024, np.float64, "matern52", None, 8.4, {"numpy cached": NumpyCached}))
    in_float32 = {"numpy cached": lambda *start: NumpyCached(*start[:-1], np.float32)}
    add(step_row(128, 1024, np.float16, "matern52", 5.0, 2.1, in_float32))
    add(batch_row(has_botorch))
    add(in_a_process(memory_row, 20 if arguments.quick else 200))
    if not arguments.quick:
        for precision, lengthscale in (("float32", 8.0), ("float32", 16.0), ("float64", 8.0)):
            row = in_a_process(million_rows, "lazy", precision, lengthscale, 4096, 3600, False)
            add(row | ({"bar_ms": 20.0} if precision == "float32" else {}))
        add(in_a_process(million_rows, "separable", "float32", 8.0, 4096, 4080, True) | {"bar_ms": 100.0})
    for precision in ("float64", "float32", "float16"):
        add(threads_row(128, 1024, "matern52", precision, "cached"))
    if not arguments.quick:
        add(threads_row(1024, 4096, "rbf", "float32", "separable", steps=5, turns=2))


if __name__ == "__main__":
    main()
