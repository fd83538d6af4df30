# SPDX-License-Identifier: BSD-3-Clause
"""What does a command to the keeper cost, beside a bare echo of 64 bytes between two processes in the same run?

Round trips over Unix sockets, in blocks that take turns: the echo, two of the keeper's commands (`blank`, and `arm` of
a 64 x 64 raster) and frames of 64 x 64 and 1024 x 1024 pixels, whose driver does nothing. The second column is the bar:
p99 of a command at most twice that of the echo.

    python bench/keeper.py [--rounds 20000]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "agent"))

from probewise.experiment.recorder import machine
from probewise_agent.client import RemoteDriver
from probewise_agent.server import Server, listen

TOKEN = b"0123456789abcdef0123456789abcdef"
BLOCK = 200
CONTEXT = {"fov_nm": [8.0, 8.0], "shift_nm": [0.0, 0.0], "rotation_rad": 0.0}


class Nothing:
    """A driver that does nothing."""

    def describe(self) -> dict[str, Any]:
        return {"name": "nothing", "capabilities": ["BLANK"], "limits": {}}

    def arm(self, scan: dict[str, Any], context: dict[str, Any], channels: Any) -> dict[str, Any]:
        return {"scan": scan, "duration_ns": 1}

    def start(self) -> None:
        pass

    def read_into(self, out: Any, timeout_s: float) -> dict[str, Any]:
        return {"valid": out.shape[1], "started_ns": 0, "duration_ns": 1, "notices": []}

    def abort(self) -> None:
        pass

    def park(self, yx: Any) -> None:
        pass

    def blank(self, on: bool) -> None:
        pass

    def close(self) -> None:
        pass


def forked(serve: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            serve()
        finally:
            os._exit(0)
    return child


def echo(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    while data := peer.recv(64):
        peer.sendall(data)


def keep(listener: socket.socket) -> None:
    server = Server(Nothing, TOKEN, listener, linger_s=5.0)
    server.open()
    server.run()


def raster(side: int) -> dict[str, Any]:
    return {"kind": "raster", "shape": [side, side], "dwell_ns": 1000, "centre_yx": [0.5, 0.5], "size_yx": [1.0, 1.0],
            "discard_lines": 0, "flyback_ns": 0}  # fmt: skip


def measured(rounds: int, folder: Path) -> dict[str, list[int]]:
    """ns of every round trip of each kind."""
    listeners = [listen(str(folder / name)) for name in ("echo", "keeper")]
    children = [forked(lambda: echo(listeners[0])), forked(lambda: keep(listeners[1]))]
    bare = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bare.connect(str(folder / "echo"))
    client = RemoteDriver(str(folder / "keeper"), TOKEN)
    out = {side: np.empty((1, side * side), np.float32) for side in (64, 1024)}

    def echoed() -> None:
        bare.sendall(b"x" * 64)
        bare.recv(64)

    def framed(side: int) -> Callable[[], None]:
        def read() -> None:
            client.arm(raster(side), CONTEXT, ["HAADF"])
            client.start()
            begun = time.perf_counter_ns()
            client.read_into(out[side], 5.0)
            times[f"frame of {side} x {side}"].append(time.perf_counter_ns() - begun)
            client.blank(True)

        return read

    kinds: dict[str, Callable[[], None]] = {
        "echo": echoed,
        "blank": lambda: client.blank(True),
        "arm": lambda: client.arm(raster(64), CONTEXT, ["HAADF"]) and None,
    }
    times: dict[str, list[int]] = {name: [] for name in [*kinds, "frame of 64 x 64", "frame of 1024 x 1024"]}
    for block in range(rounds // BLOCK):
        for name, call in kinds.items():
            for _ in range(BLOCK):
                begun = time.perf_counter_ns()
                call()
                times[name].append(time.perf_counter_ns() - begun)
        framed(64)()
        if block % 4 == 0:
            framed(1024)()
    client.close()
    bare.close()
    for child in children:
        os.waitpid(child, 0)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "keeper.json")
    arguments = parser.parse_args()
    assert threading.active_count() == 1  # before the forks
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        times = measured(arguments.rounds, Path(folder))
    rows = []
    for name, taken in times.items():
        p50, p99, p999 = np.percentile(np.array(taken) * 1e-3, [50, 99, 99.9]).tolist()
        rows.append({"what": name, "n": len(taken), "p50_us": p50, "p99_us": p99, "p99.9_us": p999})
        print(f"{name:22s} p50 {p50:8.1f} us   p99 {p99:8.1f} us   p99.9 {p999:8.1f} us")
    bare, command = rows[0]["p99_us"], rows[1]["p99_us"]
    print(
        f"p99 of a command / p99 of the echo: {command / bare:.2f} (bar 2), load {load:.1f} on {os.cpu_count()} cores"
    )
    found = {
        "question": __doc__.splitlines()[0],
        "rows": rows,
        "p99_ratio": command / bare,
        "p99_ratio_bar": 2.0,
        "load_before": load,
        **machine(),
    }
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
