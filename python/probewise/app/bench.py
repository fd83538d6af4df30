# SPDX-License-Identifier: BSD-3-Clause
"""How long a decision and its parts take on this machine. The files in the repository's bench/ compare with others."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

STEPS = 30
FRAME_PX, PIXEL_NM = 256, 0.02
RUNS: dict[str, dict[str, Any]] = {
    "linear": {"instrument": {"uri": "simulated:nio-lsmo"}},
    "dcnn": {"instrument": {"uri": "simulated:graphene"}},
    "rvae": {"instrument": {"uri": "simulated:graphene"}, "descriptor": {"models": ["atoms", "graphene-encoder"]}},
}
LATTICE = (128, 128)
TOLD = (256, 1024)
PRECISIONS: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
POINTS = 1000  # a spiral of as many by as many pixels
REPEATS = 40


def measure(progress: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Time what a run waits for; about a minute.

    progress  told what is measured next
    returns   ``{"machine": {...}, "rows": [{"what", "median_ms", "p95_ms"} or {"what", "missing"}]}``
    """
    from probewise import __version__
    from probewise.app.doctor import examine

    found = examine()
    machine = {name: found[name] for name in ("platform", "cores", "simd", "threads", "python")}
    rows: list[dict[str, Any]] = []
    for workflow in RUNS:
        progress(f"{STEPS} steps of {workflow}")
        rows += _run(workflow)
    progress("the atom finder's network")
    rows.append(_network())
    for told in TOLD:
        for precision in PRECISIONS:
            progress(f"the surrogate with {told} values, {precision}")
            rows.append(_surrogate(told, precision))
    progress("scan codes")
    rows.append(_codes())
    return {"probewise": __version__, "machine": machine, "rows": rows}


def as_text(measured: Mapping[str, Any]) -> Iterator[str]:
    machine = measured["machine"]
    yield f"probewise {measured['probewise']}, {machine['platform']}, SIMD {machine['simd']}"
    rows = measured["rows"]
    width = max(len(row["what"]) for row in rows)
    yield f"{'':{width}}  {'median':>9}  {'95 %':>9}"
    for row in rows:
        if "missing" in row:
            yield f"{row['what']:{width}}  not measured: {row['missing']}"
        else:
            duty = f"  the beam scans {row['beam_duty']:.1%} of the time" if "beam_duty" in row else ""
            yield f"{row['what']:{width}}  {row['median_ms']:6.2f} ms  {row['p95_ms']:6.2f} ms{duty}"


def _run(workflow: str) -> list[dict[str, Any]]:
    """One experiment on the simulated microscope: what its own journal says of each step."""
    from probewise.errors import ConfigurationError
    from probewise.experiment import Experiment, load

    title = f"{workflow}: last pixel to next scan, {FRAME_PX} x {FRAME_PX}"
    tables = {
        **RUNS[workflow],
        "sites": {"side_nm": FRAME_PX * PIXEL_NM, "pixel_nm": PIXEL_NM},
        "budget": {"steps": STEPS},
    }
    tables["instrument"] = {**tables["instrument"], "realtime": True}  # fits run while a frame is scanned
    tables["descriptor"] = {"workflow": workflow, **tables.get("descriptor", {})}
    with tempfile.TemporaryDirectory(prefix="probewise-bench-") as folder:
        try:
            summary = Experiment(configuration=load(None, [], tables), out=Path(folder) / "run").run()
        except ConfigurationError as problem:
            return [{"what": title, "missing": str(problem)}]
    latency = summary["latency_ms"]
    titles = {
        "decision": title,
        "describe": f"{workflow}: of it, describe",
        "surrogate": f"{workflow}: of it, surrogate",
    }
    rows = [
        {"what": what, "median_ms": latency[stage]["p50"], "p95_ms": latency[stage]["p95"]}
        for stage, what in titles.items()
    ]
    return [{**rows[0], "beam_duty": summary["time_s"]["beam_duty"]}, *rows[1:]]


def _network() -> dict[str, Any]:
    from probewise.errors import ConfigurationError
    from probewise.inference import load_model

    what = f"atom finder's network, {FRAME_PX} x {FRAME_PX}"
    try:
        model = load_model("atoms")
    except ConfigurationError as problem:
        return {"what": what, "missing": str(problem)}
    frame = np.random.default_rng(0).random((1, 1, FRAME_PX, FRAME_PX), dtype=np.float32)
    return _timed(what, lambda: model.run(frame))


def _surrogate(told: int, precision: Literal["float32", "float64"]) -> dict[str, Any]:
    """Told values that grow by one each time, from a little under the number named to a little over it."""
    import probewise as pw

    rng = np.random.default_rng(0)
    gp = pw.GaussianProcess(
        pw.Lattice(LATTICE), kernel="product-matern52", lengthscale=8.0, noise=1e-2, precision=precision
    )
    gp.tell(
        rng.choice(LATTICE[0] * LATTICE[1], told - REPEATS // 2, replace=False), rng.normal(size=told - REPEATS // 2)
    )
    site = int(pw.choose(gp, "ucb")[0])

    def step() -> None:
        nonlocal site
        gp.tell(site, 0.0)
        site = int(pw.choose(gp, "ucb")[0])

    return _timed(f"tell and choose, {LATTICE[0]} x {LATTICE[1]}, n = {told}, {precision}", step)


def _codes() -> dict[str, Any]:
    from probewise import scan

    path = scan.spiral((POINTS, POINTS), dwell_ns=1000)
    out = np.empty((len(path.yx), 2), dtype=np.uint16)
    return _timed(f"spiral of {POINTS} x {POINTS} points to DAC codes", lambda: path.codes(16, out))


def _timed(what: str, call: Callable[[], object]) -> dict[str, Any]:
    call()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return {"what": what, "median_ms": statistics.median(times), "p95_ms": float(np.percentile(times, 95))}
