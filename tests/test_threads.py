# SPDX-License-Identifier: BSD-3-Clause
"""What the core computes is the same to the last bit for every number of threads, at every SIMD level."""

import json
import os
import subprocess
import sys

import pytest

from probewise import _core

LEVELS = ("base", "avx2", "avx512")
# Sizes above those from which work is shared: 200 us on one thread.
PROGRAM = """
import hashlib, json, os, sys
import numpy as np
import probewise as pw
from probewise import _core
out = {"threads": _core.threads()}
def keep(name, *arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    out[name] = digest.hexdigest()
rng = np.random.default_rng(0)
where, values = rng.choice(120 * 150, 140, replace=False), rng.normal(size=140)
for name in ("matern52 float64", "matern52 float32", "matern52 float16", "rbf float64"):
    kernel, precision = name.split()
    gp = pw.GaussianProcess(pw.Lattice((120, 150)), kernel=kernel, lengthscale=4.0, precision=precision)
    gp.tell(where[:100], values[:100])
    for index, value in zip(where[100:], values[100:]):
        gp.tell(int(index), float(value))
    keep(f"maps {name}", gp.mean, gp.std, pw.choose(gp, "ucb", q=3))
    if precision == "float64":
        gp.fit()
        keep(f"fit {kernel}", gp.lengthscale, [gp.variance, gp.noise], gp.mean, gp.std)
gp = pw.GaussianProcess(pw.Lattice((400, 400)), kernel="rbf", lengthscale=6.0)
gp.tell(where * 7, values)
keep("lazy", gp.mean, gp.std)
image = rng.random((120, 130), dtype=np.float32)
keep("spectra", pw.sliding_spectra(image, 32, 4))
keep("frame", pw.render("graphene", pw.RasterROI((128, 128), 1000), seed=0).counts)
if hasattr(os, "fork"):  # a child of a process whose threads have worked
    child = os.fork()
    if child == 0:
        gp = pw.GaussianProcess(pw.Lattice((120, 150)), kernel="matern52", lengthscale=4.0)
        gp.tell(where, values)
        os._exit(0 if np.isfinite(gp.mean).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
json.dump(out, sys.stdout)
"""


def answers(threads, level):
    environment = {**os.environ, "PROBEWISE_THREADS": threads, "PROBEWISE_SIMD": level}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("level", LEVELS[: LEVELS.index(_core.simd_level()) + 1])
def test_every_number_of_threads_gives_the_same_bits(level):
    alone = answers("1", level)
    assert alone.pop("threads") == 1
    for threads in ("2", "3"):
        shared = answers(threads, level)
        assert shared.pop("threads") == int(threads)
        assert shared == alone


@pytest.mark.parametrize("threads", ["", "0", "many", "1025", "2.0", "-1"])
def test_a_number_of_threads_that_is_none_is_named(threads):
    program = "import probewise as pw; pw.GaussianProcess(pw.Lattice((3, 3)), lengthscale=1.0)"
    environment = {**os.environ, "PROBEWISE_THREADS": threads}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert f"PROBEWISE_THREADS is '{threads}', expected a whole number from 1 to 1024" in run.stderr
