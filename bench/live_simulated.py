# SPDX-License-Identifier: BSD-3-Clause
"""How much of what is interesting does a live run find, for the dose it spends, beside policies that learn nothing?

Real runs on the simulated microscope with the defaults: survey, sites that do not overlap, one frame a step. Recall
of the sites of interest (the specimen's own truth, excluded sites counted) at --marks raster equivalents, the survey's
dose included; beside it every baseline, and the oracle, which visits nothing but sites of interest. Policies that look
at no value follow a fixed order over the same sites at the same cost per frame, so that their recall needs no scan. One
thread. What an earlier run with the same settings has left in --out stays, seed by seed and policy by policy, each
with the commit it was measured at; --again measures the named policies anew where that was another one. Several
commands may write to one --out at a time.

    python bench/live_simulated.py [--again] [--seeds 10] [--first-seed 0] [--specimens nio-lsmo bfo ...]
        [--workflows linear dcnn rvae max-std ...] [--marks 0.1 0.2] [--set table.key=value ...]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import fcntl
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from probewise.experiment import Experiment, open_run
from probewise.experiment.baselines import WITHOUT_VALUES
from probewise.experiment.loading import load
from probewise.experiment.recorder import machine

STEPS_PER_RASTER = 615  # sub-scans of the default field that spend one raster equivalent
SPECIMENS: dict[str, dict[str, Any]] = {
    "nio-lsmo": {"uri": "simulated:nio-lsmo"},
    "bfo": {"uri": "simulated:bfo"},
    "graphene-boundary": {"uri": "simulated:graphene", "options": {"defect_statistics": "boundary"}},
    "graphene-clustered": {"uri": "simulated:graphene", "options": {"defect_statistics": "clustered"}},
    "graphene-uncorrelated": {"uri": "simulated:graphene", "options": {"defect_statistics": "uncorrelated"}},
    "mos2-clustered": {"uri": "simulated:mos2", "options": {"defect_statistics": "clustered"}},
    "mos2-boundary": {"uri": "simulated:mos2", "options": {"defect_statistics": "boundary"}},
    "particles": {"uri": "simulated:particles"},
}
# What a workflow is told of a specimen; one that is not named for a workflow here is not run with it.
TOLD: dict[str, dict[str, dict[str, Any]]] = {
    "rvae": {
        "bfo": {"models": ["atoms", "bfo-encoder"], "of": ["perovskite B"]},
        # No encoder was trained on these: a rock-salt pillar is unlike a perovskite, a particle unlike a bare film.
        **{name: {"models": ["atoms", "bfo-encoder"]} for name in ("nio-lsmo", "particles")},
        **{name: {"models": ["atoms", "graphene-encoder"]} for name in SPECIMENS if name.startswith("graphene")},
        **{name: {"models": ["atoms", "mos2-encoder"]} for name in SPECIMENS if name.startswith("mos2")},
    },
}
# Who looks for polar walls says so, since they are not the rarest thing: they turn the pattern, or move columns off
# centre by turns; and that they are lines, narrower than half a site. Elsewhere the rules and defaults choose.
COMPONENT = {("rvae", "bfo"): "angle discord", ("dcnn", "bfo"): "off_centre_spread"}
REFINE = {("rvae", "bfo"): 3, ("dcnn", "bfo"): 3}
POLICIES = ("linear", "dcnn", "rvae", "max-std")
ORDER = (*POLICIES, *WITHOUT_VALUES, "oracle")


def at_marks(curve: np.ndarray[Any, Any], marks: list[float]) -> list[float]:
    """Recall of the last step that lies within each mark."""
    return [float(curve[curve[:, 1] <= mark + 1e-12, 2][-1]) for mark in marks]


def commit() -> str:
    """The last that changed what is measured, with a plus for changes since; empty outside a clone."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "python", "cpp")
    return git("log", "-1", "--format=%h", "--abbrev=10", "--", "python", "cpp") + ("+" if changed else "")


def one_seed(name: str, seed: int, arguments: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """`found` of an earlier run, and what it lacks of these policies, measured."""
    found = dict(found)
    steps = math.ceil(STEPS_PER_RASTER * max(arguments.marks))
    for policy in arguments.workflows:
        known = policy in found and not (arguments.again and found.get(f"{policy}: commit") != arguments.commit)
        if known or name not in TOLD.get(policy, SPECIMENS):
            continue
        tables: dict[str, Any] = {"instrument": SPECIMENS[name], "run": {"seed": seed}, "budget": {"steps": steps}}
        if policy == "max-std":
            tables["acquisition"] = {"policy": policy}
        else:
            tables["descriptor"] = {"workflow": policy, **TOLD.get(policy, {}).get(name, {})}
            if (policy, name) in COMPONENT:
                tables["component"] = {"by": COMPONENT[policy, name]}
            if (policy, name) in REFINE:
                tables["surrogate"] = {"refine": REFINE[policy, name]}
        with tempfile.TemporaryDirectory() as place:
            begun = time.monotonic()
            summary = Experiment(configuration=load(None, arguments.sets, tables), out=Path(place) / "run").run()
            with open_run(Path(place) / "run") as run:
                curve = run.recall_curve
                assert curve is not None
                found[policy] = at_marks(curve, arguments.marks)
                if "oracle" not in found:
                    found |= fixed(run, curve, summary, arguments.marks)
                found[f"{policy}: objects"] = [summary["truth"]["objects_found"], summary["truth"]["objects"]]
                found[f"{policy}: notices"] = summary["notices"]
                found[f"{policy}: seconds"] = time.monotonic() - begun
                found[f"{policy}: commit"] = arguments.commit
    return found


def fixed(run: Any, curve: np.ndarray[Any, Any], summary: dict[str, Any], marks: list[float]) -> dict[str, Any]:
    """What does not depend on any value: the baselines and the oracle, at the same cost a frame."""
    truth = summary["truth"]
    visits = [int(np.count_nonzero(curve[:, 1] <= mark + 1e-12)) for mark in marks]
    found: dict[str, Any] = {"reachable": truth["reachable"], "foi_sites": truth["foi_sites"]}
    found["oracle"] = [min(count / truth["foi_sites"], truth["reachable"]) for count in visits]
    for baseline in WITHOUT_VALUES:
        other = run.baseline(baseline)
        assert other is not None
        found[baseline] = at_marks(other, marks)
    return found


def table(seeds: list[dict[str, Any]], marks: list[float]) -> dict[str, Any]:
    """Mean and 95 % interval (Student, over seeds) of recall, and of recall over raster equivalents."""
    from scipy.stats import t

    rows = {}
    for policy in ORDER:
        values = np.array([seed[policy] for seed in seeds if policy in seed])
        if not len(values):
            continue
        spread = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(len(marks), np.nan)
        half = spread * (t.ppf(0.975, len(values) - 1) if len(values) > 1 else np.nan)
        rows[policy] = {
            "seeds": len(values),
            "recall": values.mean(axis=0).round(4).tolist(),
            "half_interval_95": np.nan_to_num(half, nan=-1.0).round(4).tolist(),
            "per_raster_equivalent": (values.mean(axis=0) / marks).round(3).tolist(),
        }
    return rows


def show(name: str, rows: dict[str, Any], marks: list[float]) -> None:
    print(f"{name}: recall at {marks} raster equivalents (and over them)")
    for policy, row in rows.items():
        numbers = "  ".join(
            f"{recall:.3f} +- {half:.3f} ({gain:.2f})"
            for recall, half, gain in zip(
                row["recall"], row["half_interval_95"], row["per_raster_equivalent"], strict=True
            )
        )
        print(f"  {policy:18s} {row['seeds']:2d} seeds  {numbers}")


def empty(arguments: argparse.Namespace) -> dict[str, Any]:
    question = (__doc__ or "").splitlines()[0]
    settings = {"question": question, "marks": arguments.marks, "sets": arguments.sets, **machine(), "specimens": {}}
    return dict(json.loads(json.dumps(settings)))


def kept(arguments: argparse.Namespace) -> dict[str, Any]:
    """By specimen, what earlier runs with the same settings left in --out."""
    before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    return dict(before["specimens"]) if {**before, "specimens": {}} == empty(arguments) else {}


def keep(name: str, seed: int, found: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Add one seed to what --out holds by now, and the specimen's table of it."""
    arguments.out.parent.mkdir(exist_ok=True)
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        specimens = kept(arguments)
        seeds = specimens.get(name, {"seeds": {}})["seeds"]
        seeds[str(seed)] = {**seeds.get(str(seed), {}), **found}
        specimens[name] = {"table": table(list(seeds.values()), arguments.marks), "seeds": seeds}
        whole = arguments.out.with_suffix(".part")
        whole.write_text(json.dumps({**empty(arguments), "specimens": specimens}, indent=1) + "\n")
        whole.replace(arguments.out)
    return dict(specimens[name]["table"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--specimens", nargs="+", default=list(SPECIMENS), choices=list(SPECIMENS))
    parser.add_argument("--workflows", nargs="+", default=["linear"], choices=POLICIES)
    parser.add_argument("--marks", nargs="+", type=float, default=[0.1, 0.2])
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "live_simulated.json")
    arguments = parser.parse_args()
    arguments.commit = commit()
    for name in arguments.specimens:
        rows: dict[str, Any] = {}
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            found = one_seed(
                name, seed, arguments, kept(arguments).get(name, {"seeds": {}})["seeds"].get(str(seed), {})
            )
            print(
                name,
                seed,
                {policy: np.round(found[policy], 3).tolist() for policy in ORDER if policy in found},
                flush=True,
            )
            rows = keep(name, seed, found, arguments)
        show(name, rows, arguments.marks)


if __name__ == "__main__":
    main()
