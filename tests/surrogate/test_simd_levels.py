# SPDX-License-Identifier: BSD-3-Clause
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from probewise import _core

LEVELS = ("base", "avx2", "avx512")
PLANS = ("separable", "cached", "lazy")
PROGRAM = """
import json, sys
import numpy as np
import probewise as pw
from probewise._core.surrogate import Engine
out = {}
for kernel in ("rbf", "matern12", "matern52", "rq", "product-matern32"):
    stores = kernel not in ("rbf", "product-matern32")
    for precision in ("float64", "float32", "float16")[: 3 if stores else 2]:
        gp = pw.GaussianProcess(pw.Lattice((19, 37)), kernel=kernel, lengthscale=3.0, alpha=0.6, precision=precision)
        rng = np.random.default_rng(0)
        gp.tell(rng.integers(0, 703, 70), rng.normal(size=70))
        out[f"{kernel} {precision}"] = [gp.mean.tolist(), gp.std.tolist(), pw.choose(gp, "ucb", q=3).tolist()]
for plan in ("separable", "cached", "lazy"):
    engine = Engine.lattice(
        61, 150, 1.0, 1.0, "product-matern52", np.array([3.0, 4.0]), 1.0, 1e-2, 0.0, 1.0, "float64", plan
    )
    site, path = 4000, []
    for step in range(40):
        site = engine.step(site, np.sin(site), "ucb", {"beta": 1.0}, None, False, None, 0.0, (0, step))
        path.append(site)
    out[f"choices {plan}"] = path
json.dump(out, sys.stdout)
"""


def maps_at(level):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={**os.environ, "PROBEWISE_SIMD": level}
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_all_levels_give_the_same_maps_to_rounding():
    best = LEVELS.index(_core.simd_level())
    if best == 0:
        pytest.skip("this CPU or PROBEWISE_SIMD allows the base level only: nothing to compare")
    reference = maps_at(LEVELS[best])
    for level in LEVELS[:best]:
        other = maps_at(level)
        paths = {tuple(maps[f"choices {plan}"]) for maps in (reference, other) for plan in PLANS}
        assert len(paths) == 1  # every plan at either level goes the same way
        for name in [name for name in reference if "choices" not in name]:
            mean, std, chosen = reference[name]
            # levels differ in fused multiply-adds and in the order of sums; a last bit of float32 can be one of float16
            tolerance = {"float64": 1e-11, "float32": 1e-4, "float16": 2e-3}[name.split()[-1]]
            np.testing.assert_allclose(other[name][0], mean, atol=tolerance)
            np.testing.assert_allclose(other[name][1], std, atol=tolerance)
            if name.endswith("float64"):
                assert other[name][2] == chosen
