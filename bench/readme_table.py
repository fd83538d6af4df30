# SPDX-License-Identifier: BSD-3-Clause
"""Which measured figures stand in the README?

Rewrites the block between `<!-- bench:begin -->` and `<!-- bench:end -->` of README.md from bench/results/*.json, so
that no figure there is typed by hand. With --check it only says whether the block is current (exit code 1 if not).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
Row = tuple[str, float, float | None, float | None]  # what, and ms: ours, of NumPy or SciPy, of the study's tools


def gp_step(found: dict[str, Any]) -> Iterator[Row]:
    for cell in found["cells"]:
        if (cell["side"], cell["n"], cell["dtype"]) == (128, 256, "float64"):
            times = cell["median_ms"]
            others = [time for name, time in times.items() if name != "probewise"]
            yield (
                "tell one value, posterior and choice, 128 x 128 candidates, n = 256",
                times["probewise"],
                min(others),
                None,
            )


def gp_engine(found: dict[str, Any]) -> Iterator[Row]:
    titles = {
        "step, n=1024, 128^2, rbf, float32": ("the same, n = 1024, float32", "probewise", "BoTorch"),
        "batch of 8, n=200, 128^2": ("the next 8 sites at once, n = 200", "probewise ei", "BoTorch qLogEI sequential"),
    }
    for row in found["rows"]:
        if row["what"] in titles:
            title, own, peer = titles[row["what"]]
            times = row["median_ms"]
            yield title, times[own], min(t for name, t in times.items() if name.startswith("numpy")), times[peer]


def gp_fit(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["rows"]:
        if row["what"] == "fit, n=1024, rbf":
            times = row["median_ms"]
            yield "fit of the hyperparameters, n = 1024", times["probewise"], times["scikit-learn"], times["BoTorch"]


def atom_network(found: dict[str, Any]) -> Iterator[Row]:
    times = {row["what"]: row["median_ms"] for row in found["rows"]}
    yield "atoms of a 256 x 256 frame, network alone", times["probewise atoms"], None, times["U-Net, torch"]


def decision(found: dict[str, Any]) -> Iterator[Row]:
    times = [row["wall_p50_ms"] for row in found["rows"] if "wall_p50_ms" in row]
    yield "frame to next site, `rvae`, 256 x 256 frame, 128 x 128 sites", statistics.median(times), None, None


def render(found: dict[str, Any]) -> Iterator[Row]:
    for row in found["rows"]:
        if row["case"] == "400 x 400 over 8 nm":
            yield f"simulated sub-scan, {row['case']}", row["median_ms"], row["numpy_median_ms"], None


def scan_paths(found: dict[str, Any]) -> Iterator[Row]:
    spiral = found["median"]["spiral"]
    yield "spiral of a million points to DAC codes", spiral["probewise_cpu_ms"], spiral["numpy_f32_cpu_ms"], None


def window_spectra(found: dict[str, Any]) -> Iterator[Row]:
    times = {row["call"]: row["processor_ms"] for row in found["rows"]}
    what = "14,641 windows of 64 px to spectra and 16 components"
    yield what, times["probewise"], times["scipy in blocks"], None


def open_beam(found: dict[str, Any]) -> Iterator[Row]:
    times = found["encoding_4096_points"]
    ours, numpy = (times[f"{way}_us"] * 1e-3 for way in ("probewise", "numpy"))
    yield "4,096 positions to commands of a scan generator", ours, numpy, None


TABLES: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "decision": decision,
    "atom_network": atom_network,
    "gp_step": gp_step,
    "gp_engine": gp_engine,
    "gp_fit": gp_fit,
    "window_spectra": window_spectra,
    "scan_paths": scan_paths,
    "open_beam": open_beam,
    "render": render,
}


def beam_duty(results: Path) -> list[str]:
    """Which share of the time the beam scans, by the wall clock of a loaded machine."""
    path = results / "beam_duty.json"
    if not path.exists():
        return []
    rows = json.loads(path.read_text())["rows"]
    peers = {row["frame"]: row["duty"] for row in rows if row.get("peer") == "AtomAI + BoTorch"}
    lines = [
        "",
        "| share of the time that the beam scans, `rvae` | one after the other | pipelined | AtomAI + BoTorch |",
        "|---|---|---|---|",
    ]
    for frame in dict.fromkeys(row["frame"] for row in rows if "mode" in row):
        duty = {row["mode"]: row["duty"] for row in rows if row["frame"] == frame and "mode" in row}
        peer = peers.get(frame.split(" at ")[0])
        beside = "" if peer is None else f"{peer:.2f}"
        lines.append(f"| {frame} a pixel | {duty['one after the other']:.3f} | {duty['pipelined']:.3f} | {beside} |")
    return [*lines, "", "Two shared cores: `python bench/beam_duty.py`."]


SPECIMENS = {
    "nio-lsmo": "NiO pillars in LSMO",
    "bfo": "BiFeO3 walls",
    "graphene-boundary": "graphene, defects at a boundary",
    "graphene-clustered": "graphene, defects in clusters",
    "graphene-uncorrelated": "graphene, defects anywhere",
    "mos2-boundary": "MoS2, defects at a boundary",
    "mos2-clustered": "MoS2, defects in clusters",
    "particles": "gold particles, where two touch",
}
WORKFLOWS = ("linear", "dcnn", "rvae")
MOST_SEEDS = 10
POLICIES = {
    "linear": "`linear`",
    "dcnn": "`dcnn`",
    "rvae": "`rvae`",
    "random": "random",
    "raster": "raster",
    "survey-threshold": "survey, threshold",
}


def recall(results: Path) -> list[str]:
    """Live runs on the simulated microscope: recall of the sites of interest with its 95 % interval."""
    path = results / "live_simulated.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    lines = [
        "",
        f"| recall at {' / '.join(str(mark) for mark in found['marks'])} of one full raster's dose | "
        + " | ".join(POLICIES.values())
        + " |",
        "|---|" + "---|" * len(POLICIES),
    ]
    for name, title in SPECIMENS.items():
        if name in found["specimens"]:
            rows = found["specimens"][name]["table"]
            cells = [cell(policy, rows[policy]) if policy in rows else "" for policy in POLICIES]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    command = "`python bench/live_simulated.py --workflows linear dcnn rvae`"
    return [
        *lines,
        "",
        f"Three workflows, {MOST_SEEDS} seeds unless said: {command}; empty: not run. Default settings, but that "
        "`dcnn` and `rvae` are told to look for walls in BiFeO3 (the component, `surrogate.refine = 3`).",
    ]


def cell(policy: str, row: dict[str, Any]) -> str:
    """Recall at the marks, of a workflow with its interval and with its seeds where they are few."""
    if policy not in WORKFLOWS:
        return " / ".join(f"{value:.2f}" for value in row["recall"])
    text = " / ".join(
        f"{value:.2f} ± {half:.2f}" if half >= 0 else f"{value:.2f}"
        for value, half in zip(row["recall"], row["half_interval_95"], strict=True)
    )
    return text if row["seeds"] == MOST_SEEDS else f"{text} ({row['seeds']} seeds)"


def block(results: Path) -> str:
    """The tables as Markdown; files that were not measured are left out."""
    lines, machines = [], set()
    for name, rows in TABLES.items():
        path = results / f"{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        machines.add(found.get("cpu") or found["machine"])
        for what, *times in rows(found):
            cells = ["" if time is None else f"{time:.0f} ms" if time >= 100 else f"{time:.3g} ms" for time in times]
            lines.append(f"| {what} | {' | '.join(cells)} | `python bench/{name}.py` |")
    if not lines:
        return f"{BEGIN}\n{END}"
    head = [
        "| median, one thread | probewise | NumPy, SciPy, scikit-learn | AtomAI, BoTorch | command |",
        "|---|---|---|---|---|",
    ]
    measured = f"Measured on {', '.join(sorted(machines))}."
    return "\n".join([BEGIN, *head, *lines, "", measured, *beam_duty(results), *recall(results), END])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    only_check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    fresh = before + block(ROOT / "bench" / "results") + after
    if fresh == text:
        return 0
    if only_check:
        print("README.md: the table of measured figures is not that of bench/results", file=sys.stderr)
        return 1
    readme.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
