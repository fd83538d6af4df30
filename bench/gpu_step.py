# SPDX-License-Identifier: BSD-3-Clause
"""How long does a GPU take for one decision with the frame on it, and for one step of the surrogate?

decision  normalise a 256 x 256 frame, the network where ONNX Runtime has CUDA (else its maps are made beforehand),
          atoms, patches of 27 x 27, tell the surrogate (128 x 128 candidates, 200 told) and choose
gp_step   tell and choose by UCB, 1024 told of 1024 x 1024 candidates, product kernel, float64 and float32
Beside them on the same GPU, where they are installed: the step in torch by the same separable algebra, float64, and a
BoTorch posterior over all candidates in chunks. Medians; the first steps warm up. bench/gpu.sh runs it.
Run: python bench/gpu_step.py [--device cuda:0] [--quick] --json FILE
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import probewise as pw
from probewise.device import DeviceFrames, choose_device, cuda_module, devices_found
from probewise.inference import runtime

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "gpu.json"
LENGTHSCALE, NOISE = 8.0, 1e-2
SIZES = {"side": 1024, "told": 1024, "frame": 256, "sites": 128, "site_told": 200, "steps": 40, "warm": 5}
QUICK = {"side": 16, "told": 20, "frame": 32, "sites": 8, "site_told": 5, "steps": 3, "warm": 1}


def milliseconds(step: Callable[[int], Any], steps: int, warm: int) -> dict[str, float]:
    """Median and 99th percentile of a step that ends with its answer on the host."""
    times = []
    for number in range(warm + steps):
        begun = time.perf_counter()
        step(number)
        times.append(1e3 * (time.perf_counter() - begun))
    return {"median_ms": float(np.median(times[warm:])), "p99_ms": float(np.percentile(times[warm:], 99))}


def told(side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.choice(side * side, count, replace=False), random.normal(size=count)


def surrogate_step(device: str, side: int, count: int, precision: str) -> Callable[[int], int]:
    gp = pw.GaussianProcess(
        pw.Lattice((side, side)),
        kernel="rbf",
        lengthscale=LENGTHSCALE,
        noise=NOISE,
        precision=precision,  # type: ignore[arg-type]
        device=device,
    )
    gp.tell(*told(side, count))

    def step(number: int) -> int:
        site = int(pw.choose(gp, "ucb", beta=2.0, key=(0, number))[0])
        gp.tell(site, float(np.sin(number)))
        return site

    step(0)
    if gp.device == "cpu":
        raise RuntimeError(f"the device was lost: {gp.notices}")
    return step


def torch_step(device: str, side: int, count: int) -> Callable[[int], int]:
    """The same algebra: a new row of V as one product of two small matrices, V never stored."""
    import torch

    where, double = torch.device(device), torch.float64
    apart = torch.arange(side, dtype=double, device=where)
    along = torch.exp(-0.5 * ((apart[:, None] - apart[None, :]) / LENGTHSCALE) ** 2)
    indices, values = told(side, count)
    rows = torch.tensor(indices // side, device=where)
    cols = torch.tensor(indices % side, device=where)
    kernel = along[rows][:, rows] * along[cols][:, cols] + NOISE * torch.eye(count, dtype=double, device=where)
    state: dict[str, Any] = {"rows": rows, "cols": cols, "factor": torch.linalg.cholesky(kernel)}
    state["z"] = torch.linalg.solve_triangular(
        state["factor"], torch.tensor(values, dtype=double, device=where)[:, None], upper=False
    )[:, 0]
    mean = torch.zeros((side, side), dtype=double, device=where)
    variance = torch.ones((side, side), dtype=double, device=where)
    free = torch.ones(side * side, dtype=torch.bool, device=where)
    free[torch.tensor(indices, device=where)] = False

    def step(number: int) -> int:
        score = (mean + 2.0 * variance.clamp(min=0).sqrt()).reshape(-1)
        site = int(torch.where(free, score, -torch.inf).argmax())
        row, col = divmod(site, side)
        k = along[row, state["rows"]] * along[col, state["cols"]]
        lower = state["factor"]
        new = torch.linalg.solve_triangular(lower, k[:, None], upper=False)
        weight = torch.linalg.solve_triangular(lower.T, new, upper=True)[:, 0]
        new = new[:, 0]
        pivot = torch.sqrt(1 + NOISE - new @ new)
        z = (np.sin(number) - new @ state["z"]) / pivot
        explained = (along[state["rows"]].T * weight) @ along[state["cols"]]
        v = (torch.outer(along[row], along[col]) - explained) / pivot
        variance.sub_(v * v)
        mean.add_(v * z)
        free[site] = False
        size = len(new)
        grown = torch.zeros((size + 1, size + 1), dtype=double, device=where)
        grown[:size, :size], grown[size, :size], grown[size, size] = lower, new, pivot
        state["factor"] = grown
        state["z"] = torch.cat([state["z"], z[None]])
        state["rows"] = torch.cat([state["rows"], torch.tensor([row], device=where)])
        state["cols"] = torch.cat([state["cols"], torch.tensor([col], device=where)])
        return site

    return step


def botorch_step(device: str, side: int, count: int) -> Callable[[int], int]:
    """Posterior of a SingleTaskGP with fixed hyperparameters at all candidates."""
    import torch
    from botorch.models import SingleTaskGP

    where = torch.device(device)
    grid = torch.cartesian_prod(*[torch.arange(side, dtype=torch.float64, device=where)] * 2)
    indices, values = told(side, count)

    def step(number: int) -> int:
        seen = torch.tensor(indices, device=where)
        targets = torch.tensor(values, device=where)[:, None]
        model = SingleTaskGP(grid[seen], targets, torch.full_like(targets, NOISE), outcome_transform=None)
        kernel = model.covar_module.base_kernel if hasattr(model.covar_module, "base_kernel") else model.covar_module
        kernel.lengthscale = LENGTHSCALE
        model.eval()
        best, site = -np.inf, -1
        with torch.no_grad():
            for first in range(0, len(grid), 1 << 14):
                posterior = model.posterior(grid[first : first + (1 << 14)])
                score = (posterior.mean + 2.0 * posterior.variance.sqrt()).reshape(-1)
                value, at = score.max(0)
                if float(value) > best:
                    best, site = float(value), first + int(at)
        return site

    return step


def decision_step(device: str, sizes: dict[str, int]) -> tuple[Callable[[int], int], bool]:
    """A step, and whether a network is part of it."""
    frames = DeviceFrames(device)
    side = sizes["frame"]
    frame = pw.render("graphene", pw.RasterROI((side, side), 4000), seed=3, context=pw.Context((0.012 * side,) * 2))
    image = frames.to_device(np.ascontiguousarray(frame.image()))
    model = None
    if runtime.CUDA in runtime.providers():
        from probewise.inference import load_model

        model = load_model("atoms", device=device)
    normalised, _, _ = frames.network_input(image)
    maps = frames.to_device(np.clip(normalised.to_host()[None], 0, 1))  # bright columns stand for atoms
    step_of_surrogate = surrogate_step(device, sizes["sites"], sizes["site_told"], "float64")

    def step(number: int) -> int:
        seen, _, _ = frames.network_input(image)
        found = maps
        if model is not None:
            import cupy

            output = model.run_on_device(cupy.asarray(seen)[None, None])[0][0]
            found = cupy.ascontiguousarray(output[:-1] if model.card.background == "last" else output)
        yx, _, _ = frames.find_atoms(found, 0.5)
        frames.extract_patches(seen, yx, min(27, side // 2), subpixel=True)
        return step_of_surrogate(number)

    return step, model is not None


def measure(device: str, sizes: dict[str, int]) -> dict[str, Any]:
    """All cells; a peer that is not installed or fails is said, not left out."""
    steps, warm = sizes["steps"], sizes["warm"]
    cells: dict[str, Any] = {}
    step, with_network = decision_step(device, sizes)
    cells["decision"] = {**milliseconds(step, steps, warm), "with_network": with_network}
    for precision in ("float64", "float32"):
        step = surrogate_step(device, sizes["side"], sizes["told"], precision)
        cells[f"gp_step_{precision}"] = milliseconds(step, steps, warm)
    for name, peer in (("torch", torch_step), ("botorch", botorch_step)):
        if importlib.util.find_spec(name) is None:
            cells[f"gp_step_{name}"] = {"not_run": f"{name} is not installed"}
            continue
        try:
            step = peer("cpu" if cuda_module().emulated() else device, sizes["side"], sizes["told"])
            cells[f"gp_step_{name}"] = milliseconds(step, min(steps, 10), min(warm, 2))
        except (RuntimeError, ImportError, AssertionError) as problem:
            cells[f"gp_step_{name}"] = {"not_run": " ".join(str(problem).split())[:200]}
    return cells


def commit() -> str:
    """Of the working tree, with a plus where it was changed."""
    try:
        run = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
        head, changed = (
            subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() for line in run
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def report(device: str, sizes: dict[str, int]) -> dict[str, Any]:
    taken = choose_device(device)
    module = cuda_module()
    return {
        "question": (__doc__ or "").splitlines()[0],
        "device": devices_found()[0][taken.number or 0],
        "emulated": bool(module.emulated()),
        "commit": commit(),
        "versions": {"probewise": pw.__version__, "python": platform.python_version(), "numpy": np.__version__},
        "sizes": sizes,
        "cells": measure(taken.name, sizes),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(arguments)
    emulated = cuda_module() is not None and cuda_module().emulated()
    if given.json.resolve() == RESULTS and (emulated or given.quick):
        print(f"{RESULTS.name} is for a GPU at full size, expected another --json", file=sys.stderr)
        return 2
    found = report(given.device, QUICK if given.quick else SIZES)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")
    for name, cell in found["cells"].items():
        print(name, ", ".join(f"{key} {value}" for key, value in cell.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
