# SPDX-License-Identifier: BSD-3-Clause
"""Does a run that is killed at a random moment, as often as it takes, end as if nothing had happened?

A simulated run on the real-time clock is killed with SIGKILL at a moment drawn evenly between the creation of its
journal and its end, half of them once more while they resume, and resumed. Counted: acknowledged steps that are
missing or changed afterwards, and final trajectories, frames or summaries (times, notices and lost electrons aside)
that differ from those of a run never interrupted.

    python bench/kill_resume.py [--kills 200] [--seed 0] [--pipelined]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import hashlib
import json
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skimage.metrics  # noqa: F401
import sklearn.decomposition  # noqa: F401  loaded before the forks, so that each child is ready at once

from probewise.errors import Error
from probewise.experiment import Experiment, open_run
from probewise.experiment.journal import FILE, Journal
from probewise.experiment.recorder import machine

TABLES: dict[str, Any] = {
    "instrument": {"uri": "simulated:nio-lsmo", "fov_nm": 40.0, "realtime": True},
    "survey": {"shape": (128, 128), "dwell_ns": 1000},
    "sites": {"shape": (8, 8), "side_nm": 4.0, "pixel_nm": 0.05},
    "scan": {"dwell_ns": 1000},
    "descriptor": {"window_px": 32, "step_px": 16, "components": 2, "refit_every": 6},
    "surrogate": {"fit_every": 3},
    "budget": {"steps": 24},
}


def experiment(directory: Path) -> Experiment:
    return Experiment(out=directory, **TABLES)


def rows(directory: Path) -> dict[int, str]:
    """Digest of every acknowledged step as it lies in the journal: all columns, all arrays."""
    with Journal.open(directory, write=False) as journal:
        journal.verify()
        found = {}
        for row in journal.rows("SELECT * FROM steps ORDER BY step"):
            text = hashlib.sha256(repr(row).encode())
            for crc in journal.rows(
                "SELECT a.crc32 FROM frames f JOIN arrays a ON a.id = f.counts WHERE f.frame = ?", (row[4],)
            ):
                text.update(repr(crc).encode())
            found[row[0]] = text.hexdigest()
        return found


def outcome(directory: Path) -> dict[str, object]:
    """What must not depend on where a run was cut."""
    with Journal.open(directory, write=False) as journal:
        frames = journal.rows("SELECT s.site, a.crc32 FROM steps s JOIN frames f ON f.frame = s.frame "
                              "JOIN arrays a ON a.id = f.counts ORDER BY s.step")  # fmt: skip
    with open_run(directory) as run:
        summary = json.loads(json.dumps(run.summary))
        maps = hashlib.sha256(run.mean.tobytes() + run.std.tobytes()).hexdigest()
    for key in ("time_s", "latency_ms", "notices"):
        del summary[key]
    del summary["dose"]["lost_electrons"]
    return {"frames": frames, "maps": maps, "summary": summary}


def in_child(work: Callable[[], object]) -> int:
    """Fork; the child does `work` and ends without any clean-up of ours."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  a forked child must not return
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return child


def kill_once(start: Callable[[], object], directory: Path, after_s: float) -> bool:
    """Kill a child `after_s` after its journal exists; whether it was still running."""
    child = in_child(start)
    while not (directory / FILE).exists() or (directory / FILE).stat().st_size == 0:
        if os.waitpid(child, os.WNOHANG)[0]:
            raise RuntimeError("the run ended before its journal existed")
        time.sleep(0.0005)
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the run failed with status {status}")
            return False
        time.sleep(min(0.001, max(0.0, end - time.monotonic())))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def resume(directory: Path) -> None:
    Experiment.resume(directory).run()


def wait(child: int) -> None:
    status = os.waitpid(child, 0)[1]
    if status:
        raise RuntimeError(f"a child failed with status {status}")


def usable(directory: Path) -> bool:
    """Was the journal committed before the kill? A file of zero length or without tables holds no run yet."""
    try:
        rows(directory)
    except Error:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kill_resume.json")
    parser.add_argument("--pipelined", action="store_true")
    arguments = parser.parse_args()
    TABLES["acquisition"] = {"pipelined": arguments.pipelined}
    generator = random.Random(arguments.seed)
    counts = {"kills": 0, "lost": 0, "changed": 0, "different": 0, "acknowledged": 0, "before_first_commit": 0}
    with tempfile.TemporaryDirectory() as place:
        reference = Path(place) / "reference"
        begun = time.monotonic()
        wait(in_child(lambda: experiment(reference).run()))
        length_s = time.monotonic() - begun
        expected = outcome(reference)
        number = 0
        while counts["kills"] < arguments.kills:
            directory = Path(place) / f"run-{number}"
            number += 1
            starts = [lambda d=directory: experiment(d).run()]
            starts += [lambda d=directory: resume(d)] * generator.choice((0, 1))
            seen: dict[int, str] = {}
            for start in starts:
                if not kill_once(start, directory, generator.uniform(0, length_s)):
                    break
                counts["kills"] += 1
                if not usable(directory):
                    counts["before_first_commit"] += 1
                    break
                now = rows(directory)
                counts["lost"] += len(set(seen) - set(now))
                counts["changed"] += sum(now.get(step, digest) != digest for step, digest in seen.items())
                seen = now
            if not usable(directory):
                continue
            wait(in_child(lambda d=directory: resume(d)))
            final = rows(directory)
            counts["acknowledged"] += len(seen)
            counts["lost"] += len(set(seen) - set(final))
            counts["changed"] += sum(final.get(step, digest) != digest for step, digest in seen.items())
            counts["different"] += outcome(directory) != expected
    result = {
        "question": __doc__.splitlines()[0],
        "pipelined": arguments.pipelined,
        **counts,
        "steps": TABLES["budget"]["steps"],
        "run_s": length_s,
    }
    result |= {"machine": platform.processor() or platform.machine(), **machine()}
    if str(arguments.out) != "-":
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(counts))
    return int(bool(counts["lost"] or counts["changed"] or counts["different"]))


if __name__ == "__main__":
    raise SystemExit(main())
