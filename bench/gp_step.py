# SPDX-License-Identifier: BSD-3-Clause
"""How long does one tell + posterior + choose("ucb") take on a lattice, beside the two quickest ways in NumPy?

One thread, RBF, float64 and float32. `numpy separable` forms the new row of V as a product of two small matrices and
stores nothing; `numpy incremental` keeps V. The three take turns of eight steps, from the
same told sites, each following its own choices; medians over 40 steps around n. Run: python bench/gp_step.py [--quick]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import scipy
from scipy.linalg import solve_triangular

import probewise as pw
from probewise import _core

NOISE, LENGTHSCALE, STEPS, ROUND = 1e-2, 4.0, 40, 8


class NumpySeparable:
    """w^T K(X, G) = (a_i * w_i)^T b on a product grid; V is never stored."""

    def __init__(self, shape, indices, values, dtype):
        self.shape, self.n, self.dtype = shape, 0, dtype
        self.a = _along(shape[0], LENGTHSCALE)
        self.b = _along(shape[1], LENGTHSCALE)
        capacity = len(indices) + STEPS + 8
        self.rows, self.cols = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self.left = np.zeros((capacity, shape[0]), dtype)
        self.right = np.zeros((capacity, shape[1]), dtype)
        self.factor = np.zeros((capacity, capacity), order="F")
        self.z = np.zeros(capacity)
        self.mean, self.variance = np.zeros(shape, dtype), np.ones(shape, dtype)
        self.seen = np.zeros(shape[0] * shape[1], bool)
        for index, value in zip(indices, values, strict=True):
            self.tell(index, value)

    def tell(self, index, value):
        n = self.n
        r, c = divmod(int(index), self.shape[1])
        k = self.a[r, self.rows[:n]] * self.b[c, self.cols[:n]]
        lower = self.factor[:n, :n]
        row = solve_triangular(lower, k, lower=True, check_finite=False) if n else k
        weight = solve_triangular(lower, row, lower=True, trans=1, check_finite=False) if n else k
        pivot = np.sqrt(1.0 + NOISE - row @ row)
        self.factor[n, :n], self.factor[n, n] = row, pivot
        self.z[n] = (value - row @ self.z[:n]) / pivot
        explained = (self.left[:n].T * weight.astype(self.dtype)) @ self.right[:n]
        v = (np.outer(self.a[r], self.b[c]).astype(self.dtype, copy=False) - explained) / self.dtype(pivot)
        self.variance -= v * v
        self.mean += v * self.dtype(self.z[n])
        self.rows[n], self.cols[n] = r, c
        self.left[n], self.right[n] = self.a[r], self.b[c]
        self.seen[index] = True
        self.n += 1

    def choose(self):
        score = self.mean.ravel() + np.sqrt(np.maximum(self.variance.ravel(), 0))
        score[self.seen] = -np.inf
        return int(np.argmax(score))


class NumpyIncremental(NumpySeparable):
    """Keeps V and appends a row: one pass over it a step."""

    def __init__(self, shape, indices, values, dtype):
        self.v = np.zeros((len(indices) + STEPS + 8, shape[0] * shape[1]), dtype)
        super().__init__(shape, indices, values, dtype)

    def tell(self, index, value):
        n = self.n
        r, c = divmod(int(index), self.shape[1])
        k = self.a[r, self.rows[:n]] * self.b[c, self.cols[:n]]
        row = solve_triangular(self.factor[:n, :n], k, lower=True, check_finite=False) if n else k
        pivot = np.sqrt(1.0 + NOISE - row @ row)
        self.factor[n, :n], self.factor[n, n] = row, pivot
        self.z[n] = (value - row @ self.z[:n]) / pivot
        new = np.outer(self.a[r], self.b[c]).ravel().astype(self.dtype, copy=False)
        v = (new - row.astype(self.dtype) @ self.v[:n]) / self.dtype(pivot)
        self.v[n] = v
        self.variance -= (v * v).reshape(self.shape)
        self.mean += (v * self.dtype(self.z[n])).reshape(self.shape)
        self.rows[n], self.cols[n] = r, c
        self.seen[index] = True
        self.n += 1


class Ours:
    def __init__(self, shape, indices, values, dtype):
        self.gp = pw.GaussianProcess(
            pw.Lattice(shape), kernel="rbf", lengthscale=LENGTHSCALE, noise=NOISE, precision=np.dtype(dtype).name
        )
        self.gp.tell(indices, values)

    def tell(self, index, value):
        self.gp.tell(index, value)

    def choose(self):
        return int(pw.choose(self.gp, "ucb", beta=1.0)[0])


def _along(length, lengthscale):
    offset = np.arange(length)
    return np.exp(-0.5 * ((offset[:, None] - offset[None, :]) / lengthscale) ** 2)


def measure(side, n, dtype):
    """Median milliseconds of one step by each way, and whether all chose the same sites."""
    rng = np.random.default_rng(0)
    shape = (side, side)
    indices = rng.choice(side * side, n - STEPS // 2, replace=False)
    values = rng.normal(size=len(indices))
    ways = {
        "probewise": Ours(shape, indices, values, dtype),
        "numpy separable": NumpySeparable(shape, indices, values, dtype),
        "numpy incremental": NumpyIncremental(shape, indices, values, dtype),
    }
    times = {name: [] for name in ways}
    chosen = {name: [] for name in ways}
    first = int(np.setdiff1d(np.arange(side * side), indices)[0])
    for begin in range(0, STEPS, ROUND):
        for name, way in ways.items():
            for step in range(begin, begin + ROUND):
                site = chosen[name][-1] if chosen[name] else first
                start = time.perf_counter()
                way.tell(site, float(np.sin(step)))
                chosen[name].append(way.choose())
                times[name].append(1e3 * (time.perf_counter() - start))
    agree = len({tuple(sites) for sites in chosen.values()}) == 1
    return {name: float(np.median(all_)) for name, all_ in times.items()}, bool(agree)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only n = 256 on 128 x 128 in float64")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gp_step.json")
    arguments = parser.parse_args()
    cells = [(128, 256, np.float64)]
    if not arguments.quick:
        cells += [(128, 256, np.float32), (64, 64, np.float64), (128, 64, np.float64), (128, 1024, np.float64)]
    rows = []
    for side, n, dtype in cells:
        times, agree = measure(side, n, dtype)
        row = {"side": side, "n": n, "dtype": np.dtype(dtype).name, "median_ms": times, "same_choices": agree}
        row["ratio_to_best_numpy"] = min(times["numpy separable"], times["numpy incremental"]) / times["probewise"]
        rows.append(row)
        print(f"{side}^2 n={n} {row['dtype']}: " + ", ".join(f"{k} {v:.3f} ms" for k, v in times.items()), end="")
        print(f", {row['ratio_to_best_numpy']:.1f}x, same choices: {agree}")
    report = {
        "question": __doc__.splitlines()[0],
        "machine": _cpu(),
        "threads": 1,
        "simd_level": _core.simd_level(),
        "versions": {"probewise": pw.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        "cells": rows,
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
