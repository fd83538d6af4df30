# SPDX-License-Identifier: BSD-3-Clause
"""How do the choices rank on the frozen replay target, against space filling and random?

The target is one map of 28 x 28 overlapping windows, measured site by site: a replay, whose axis is the fraction of
sites. Ten seeds, one random seed site each unless the objective starts with a share of the sites in Halton order
(`cover` 1 %, `reconstruct` 10 %). Matern-5/2 started at the centres of its priors, refit every ten sites, values
standardised by their level (generalised least squares) and deviation. Intervals are 95 % of the mean over seeds.
Run: python bench/replay_target.py [--seeds 10] [--first-seed 0]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import scipy
import skimage
from skimage.metrics import structural_similarity

import probewise as pw
from probewise import _core
from probewise.acquisition import objective, otsu_threshold, space_filling

TARGET = Path(__file__).parent / "targets" / "nio_lsmo_784.npz"
FRACTIONS = (0.05, 0.10, 0.20, 0.30)
THRESHOLD = 0.3
FIT_EVERY, LENGTHSCALE = 10, 3.0
REFERENCE = {"pi": (0.19, 0.31, 0.49, 0.69), "ei": (0.18, 0.28, 0.49, 0.70)}
_SEED_SITE_STREAM = 1 << 41


class Replay:
    """One run on the target: measured sites, and the process that was told their standardised values."""

    def __init__(self, values, shape, seed, first):
        self.values, self.seed = values, seed
        self.gp = pw.GaussianProcess(pw.Lattice(shape), kernel="matern52", lengthscale=LENGTHSCALE)
        self.offset, self.scale = 0.0, 1.0
        self.sites = []
        for site in first:
            self.measure(int(site))

    def measure(self, site):
        self.sites.append(site)
        self.gp.tell(site, 0.0)
        self.standardise()
        if len(self.sites) % FIT_EVERY == 0:
            self.gp.fit()
            self.standardise()

    def standardise(self):
        told = self.values[self.sites]
        self.gp.set_values(told)
        self.offset = self.gp.level()
        spread = float(told.std())
        self.scale = spread if spread > 0 else 1.0
        self.gp.set_values((told - self.offset) / self.scale)

    def choose(self, policy, threshold=None, **parameters):
        if threshold is not None:
            known = otsu_threshold(self.values[self.sites]) if threshold == "otsu" else threshold
            parameters["threshold"] = (known - self.offset) / self.scale
        return int(pw.choose(self.gp, policy, key=(self.seed, len(self.sites)), **parameters)[0])

    def maps(self):
        return self.gp.mean * self.scale + self.offset, self.gp.std * self.scale


def run(target, seed, policy, *, steps, first=None, at=(), **parameters):
    """Sites in order, and the (mean, std) maps after each number of sites in `at`."""
    values = target["value"].ravel()
    if first is None:
        first = space_filling.order("random", target["value"].shape, seed=seed, key=_SEED_SITE_STREAM)[:1]
    replay = Replay(values, target["value"].shape, seed, [])
    snapshots = {}
    while True:
        done = len(replay.sites)
        if done in at:
            replay.gp.fit()
            replay.standardise()
            snapshots[done] = replay.maps()
        if done >= steps:
            return np.array(replay.sites), snapshots
        replay.measure(int(first[done]) if done < len(first) else replay.choose(policy, **parameters))


def recall(target, sites):
    foi = target["foi"].ravel()
    return [float(foi[sites[: round(f * foi.size)]].sum() / foi.sum()) for f in FRACTIONS]


def all_objects_at(target, sites):
    """Number of sites after which every object has one measured site; None when one is missing."""
    labels = target["objects"].ravel()[sites]
    first = [np.flatnonzero(labels == label) for label in range(1, int(target["objects"].max()) + 1)]
    return None if any(hits.size == 0 for hits in first) else int(max(hits[0] for hits in first)) + 1


def quality(target, sites, maps):
    """SSIM (7 x 7 uniform window, range of the target) and coverage of the 95 % intervals on sites not measured."""
    truth, (mean, std) = target["value"], maps
    unmeasured = np.ones(truth.size, dtype=bool)
    unmeasured[sites] = False
    inside = np.abs(truth.ravel() - mean) <= 1.96 * std
    ssim = structural_similarity(truth, mean.reshape(truth.shape), data_range=np.ptp(truth), win_size=7)
    return float(ssim), float(inside[unmeasured].mean())


def summary(rows):
    rows = np.array(rows, dtype=float)
    half = 1.96 * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return {"mean": rows.mean(axis=0).round(4).tolist(), "half_width_95": half.round(4).tolist()}


def measure_recall(target, seeds):
    policies = {
        "cover": ("ucb", dict(objective("cover").parameters)),
        "ucb, one seed site": ("ucb", dict(objective("cover").parameters)),
        "pi": ("pi", {"xi": 0.01}),
        "ei": ("ei", {}),
        "max-std": ("max-std", {}),
    }
    steps = round(max(FRACTIONS) * target["value"].size)
    results = {}
    shape, size = target["value"].shape, target["value"].size
    starts = {seed: space_filling.order("halton", shape, seed=seed) for seed in seeds}
    share = round(objective("cover").space_filling_first * size)
    for name, (policy, parameters) in policies.items():
        runs = [
            run(
                target, seed, policy, steps=steps, first=starts[seed][:share] if name == "cover" else None, **parameters
            )[0]
            for seed in seeds
        ]
        results[name] = summary([recall(target, sites) for sites in runs])
        results[name]["all_objects_at"] = [all_objects_at(target, sites) for sites in runs]
    for name in space_filling.ORDERS:
        runs = [space_filling.order(name, target["value"].shape, seed=seed)[:steps] for seed in seeds]
        results[name] = summary([recall(target, sites) for sites in runs])
        results[name]["all_objects_at"] = [all_objects_at(target, sites) for sites in runs]
    return results


def measure_discovery(target, seeds):
    results = {}
    for name, threshold in (("threshold 0.3", THRESHOLD), ("otsu", "otsu")):
        parameters = dict(objective("discover").parameters)
        runs = [run(target, seed, "straddle", steps=150, threshold=threshold, **parameters)[0] for seed in seeds]
        results[name] = [all_objects_at(target, sites) for sites in runs]
    return results


def measure_reconstruction(target, seeds):
    shape, size = target["value"].shape, target["value"].size
    at = [round(f * size) for f in FRACTIONS[:3]]
    plan = objective("reconstruct")
    results = {}
    for name in ("reconstruct", *space_filling.ORDERS):
        ssim, coverage = [], []
        for seed in seeds:
            order = space_filling.order("halton" if name == "reconstruct" else name, shape, seed=seed)
            share = plan.space_filling_first if name == "reconstruct" else FRACTIONS[2]
            first = order[: round(share * size)]
            sites, maps = run(target, seed, plan.policy, steps=at[-1], first=first, at=at, **plan.parameters)
            rows = [quality(target, sites[:n], maps[n]) for n in at]
            ssim.append([row[0] for row in rows])
            coverage.append([row[1] for row in rows])
        results[name] = {"ssim": summary(ssim), "coverage": summary(coverage)}
    return results


def bars(recalls, discovery, reconstruction):
    """Each bar with what was measured; True where it holds."""
    cover = recalls["cover"]["mean"]
    ours = reconstruction["reconstruct"]
    best = np.max([reconstruction[name]["ssim"]["mean"] for name in space_filling.ORDERS], axis=0)
    found = [at is not None and at <= 60 for at in discovery["threshold 0.3"]]
    return {
        "cover at least 0.42/0.84/0.99": bool(np.all(np.array(cover[1:]) >= (0.42, 0.84, 0.99))),
        "discover all objects by 60 in 9 of 10": bool(np.mean(found) >= 0.9),
        "reconstruct not below best space filling": bool(np.all(np.array(ours["ssim"]["mean"]) >= best - 1e-9)),
        "coverage 0.90 to 0.98": bool(all(0.90 <= c <= 0.98 for c in ours["coverage"]["mean"])),
        **{
            f"{name} within 0.06 of the reference": bool(np.all(np.abs(np.array(recalls[name]["mean"]) - row) <= 0.06))
            for name, row in REFERENCE.items()
        },
        "random within 0.03 of the fraction": bool(
            np.all(np.abs(np.array(recalls["random"]["mean"]) - FRACTIONS) <= 0.03)
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "replay_target.json")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    with np.load(TARGET) as stored:
        target = {name: stored[name] for name in ("value", "foi", "objects")}
    target["value"] = target["value"].astype(np.float64)
    recalls = measure_recall(target, seeds)
    discovery = measure_discovery(target, seeds)
    reconstruction = measure_reconstruction(target, seeds)
    held = bars(recalls, discovery, reconstruction)
    print("recall at 5 / 10 / 20 / 30 % of sites, all objects at")
    for name, row in recalls.items():
        print(f"  {name:18s}", *(f"{value:.3f}" for value in row["mean"]), row["all_objects_at"])
    print("discover:", discovery)
    print("SSIM and coverage at 5 / 10 / 20 %")
    for name, row in reconstruction.items():
        print(f"  {name:18s}", row["ssim"]["mean"], row["coverage"]["mean"])
    for name, holds in held.items():
        print(f"  {'holds' if holds else 'FAILS'}: {name}")
    report = {
        "question": __doc__.splitlines()[0],
        "machine": _cpu(),
        "threads": 1,
        "simd_level": _core.simd_level(),
        "versions": {
            "probewise": pw.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "scikit-image": skimage.__version__,
        },
        "seeds": list(seeds),
        "settings": {"kernel": "matern52", "lengthscale": LENGTHSCALE, "fit_every": FIT_EVERY},
        "fractions": FRACTIONS,
        "recall": recalls,
        "discover_all_objects_at": discovery,
        "reconstruct": reconstruction,
        "bars": held,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def _cpu():
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
