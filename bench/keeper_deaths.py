# SPDX-License-Identifier: BSD-3-Clause
"""Is the beam off when its controller dies, however it dies, and how soon?

Controllers are forked, take the lease, light the beam and die or hang: between two commands, in a scan, and in a read.
The driver's process writes when its beam went off. The time counts from the moment before the deadly act, so what a
signal or an interpreter takes to kill is in it; both ask for precedence over other processes. "deadlock" is a thread
that waits for its own lock, "deadlock in C" one that keeps the interpreter's lock, "stopped" is SIGSTOP, "cut" closes
the connections of a process that lives on.

    python bench/keeper_deaths.py [--times 100] [--transport unix]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "agent"))

import deaths

from probewise.experiment.recorder import machine

BAR_MS = {"deadlock": 250.0, "deadlock in C": 250.0, "stopped": 250.0}


def campaign(transport: str, times: int, folder: Path) -> list[dict[str, Any]]:
    address: Any = str(folder / "socket") if transport == "unix" else ("127.0.0.1", 0)
    log = str(folder / "log")
    command = [sys.executable, deaths.__file__, json.dumps(address), log]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        where = where if isinstance(where, str) else tuple(where)
        rows = []
        for way in deaths.WAYS:
            states = [state for state in deaths.STATES if (way, state) != ("deadlock", "reading")]
            taken, on = [], 0
            for number in range(times):
                try:
                    taken.append(deaths.kill_one(where, log, way, states[number % len(states)]))
                except AssertionError as error:
                    print(error)
                    on += 1
            bar = BAR_MS.get(way, 100.0 if transport == "unix" else 500.0)
            p50, worst = float(np.median(taken)), float(np.max(taken))
            row = {"way": way, "n": times, "left_on": on, "p50_ms": p50, "p99_ms": float(np.percentile(taken, 99)),
                   "max_ms": worst, "bar_ms": bar, "over_bar": int((np.array(taken) > bar).sum())}  # fmt: skip
            rows.append(row)
            print(
                f"{transport} {way:14s} left on {on}/{times}  p50 {p50:6.1f} ms  max {worst:6.1f} ms  bar {bar:.0f} ms"
            )
        server.stdin.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--transport", choices=("unix", "tcp"), default="unix")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = campaign(arguments.transport, arguments.times, Path(folder))
    found = {
        "question": __doc__.splitlines()[0],
        "transport": arguments.transport,
        "rows": rows,
        "left_on": sum(row["left_on"] for row in rows),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        **machine(),
    }
    out = arguments.out or Path(__file__).parent / "results" / f"keeper_deaths_{arguments.transport}.json"
    out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
