# SPDX-License-Identifier: BSD-3-Clause
"""Does the linear workflow's value of a site separate sites of interest from the others?

For each simulated specimen and seed: 8 nm frames (400 x 400 px, 4 us, 60 pA) of randomly chosen sites off the border,
a basis fitted to the first 60 of them, and the area under the ROC curve of the site value over all of them, for each
unmixing method, beside the values that need no basis (intensity, lattice spacing). Truth comes from the specimen. For
nio-lsmo also Pearson's correlation of the value with the area of pillars in the site.

    python bench/descriptor_quality.py [--sites 120] [--seeds 3] [--specimens nio-lsmo bfo graphene strained]
"""

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.stats import rankdata

import probewise as pw
from probewise import _core
from probewise.descriptors import LinearWorkflow
from probewise.types import SiteLattice

FIT_SITES = 60
SITES = SiteLattice((25, 25), 8.0, (200.0, 200.0))
OPTIONS = {"graphene": {"defect_statistics": "boundary"}}
METHODS = ("nmf", "pca", "nfindr")


def area_under_roc(values, interesting):
    """Probability that a site of interest has the higher value; 0.5 for one that says nothing."""
    finite = np.isfinite(values)
    ranks, hit = rankdata(values[finite]), interesting[finite]
    wanted, rest = int(hit.sum()), int((~hit).sum())
    if not wanted or not rest:
        return float("nan")
    return float((ranks[hit].sum() - wanted * (wanted + 1) / 2) / (wanted * rest))


def frames_of(specimen, seed, count):
    """Frames at `count` random sites off the border, whether each is of interest, and how much of it it holds."""
    instrument = pw.open_instrument(f"simulated:{specimen}", seed=seed, **OPTIONS.get(specimen, {}))
    try:
        inner = [row * 25 + col for row in range(1, 24) for col in range(1, 24)]
        chosen = np.random.default_rng(1000 + seed).permutation(inner)[:count]
        centres = SITES.centres_nm[chosen]
        interesting = instrument.truth.interesting(centres, SITES.side_nm)
        held = np.zeros(count)
        for thing in instrument.truth.objects:
            offset = np.abs(thing.samples_nm[None] - centres[:, None])
            held += thing.measure * (offset <= SITES.side_nm / 2).all(axis=2).sum(axis=1)
        frames = []
        for centre in centres:
            context = pw.Context((8.0, 8.0), tuple(centre - 100.0))
            armed = instrument.arm(pw.RasterROI((400, 400), 4000, discard_lines=2), context, channels=("HAADF",))
            instrument.start(armed)
            frames.append(instrument.read_into(armed, np.empty((1, 160_000), np.float32), timeout_s=np.inf))
    finally:
        instrument.close()
    return frames, interesting, held


def judge(specimen, seed, count):
    frames, interesting, held = frames_of(specimen, seed, count)
    row = {"specimen": specimen, "seed": seed, "sites": count, "of_interest": int(interesting.sum())}
    for method in METHODS:
        workflow = LinearWorkflow(method=method)
        start = time.perf_counter()
        descriptions = [workflow.describe(frame) for frame in frames]
        described = time.perf_counter()
        report = workflow.fit(descriptions[:FIT_SITES], seed=0)
        row[f"{method}_fit_s"] = time.perf_counter() - described
        row[f"{method}_describe_ms"] = (described - start) / count * 1e3
        values = np.array([workflow.value(description) for description in descriptions])
        columns = np.array([workflow.values(description).mean(axis=0) for description in descriptions])
        row[f"{method}_auc"] = area_under_roc(values, interesting)
        row[f"{method}_correlation"] = float(np.corrcoef(values, held)[0, 1])
        best = [area_under_roc(column, interesting) for column in columns[:, : workflow.components].T]
        row[f"{method}_best_component_auc"] = max(max(area, 1 - area) for area in best)
        row[f"{method}_followed"] = f"{report.name} x {report.sign:+.0f}"
        residual = area_under_roc(columns[:, workflow.columns.index("residual")], interesting)
        row[f"{method}_residual_auc"] = residual
    for name in ("intensity", "spacing_nm"):
        values = np.array([_mean(description.extra[name]) for description in descriptions])
        row[f"{name}_auc"] = area_under_roc(values, interesting)
    return row


def machine():
    """What a reader needs to compare figures."""
    return {
        "machine": cpu_model(),
        "threads": 1,
        "simd_level": _core.simd_level(),
        "versions": {
            "probewise": pw.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _mean(values):
    finite = values[np.isfinite(values)]
    return finite.mean() if finite.size else np.nan


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--specimens", nargs="+", default=["nio-lsmo", "bfo", "graphene", "strained"])
    arguments = parser.parse_args()
    shown = [f"{method}_{what}" for method in METHODS for what in ("auc", "best_component_auc", "residual_auc")]
    shown += ["nmf_correlation", "pca_correlation", "nfindr_correlation", "intensity_auc", "spacing_nm_auc"]
    rows = []
    for specimen in arguments.specimens:
        for seed in range(arguments.seeds):
            row = judge(specimen, seed, arguments.sites)
            rows.append(row)
            print(specimen, seed, f"{row['of_interest']} of {row['sites']}", flush=True)
            print("   " + "  ".join(f"{name} {row[name]:.3f}" for name in shown), flush=True)
    result = {"question": __doc__.strip().splitlines()[0], **machine(), "rows": rows}
    path = Path(__file__).parent / "results" / "descriptor_quality.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
