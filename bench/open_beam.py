# SPDX-License-Identifier: BSD-3-Clause
"""What does a scan over the Open Beam Interface cost beyond its dwell?

Two parts, medians of runs in turn. Encoding of a vector scan of 4,096 points into a buffer that is already there: ours
beside `struct.pack_into` point by point, the same with NumPy, and a copy of the finished bytes as the floor. Round trip
of a 64 x 64 sub-scan at 1 us over loopback: from before `Session.acquire` to after it, less the dwell, blanking
included; beside it the exchange of the same bytes over two bare sockets. The server runs in a process of its own, keeps
the command order, answers after the dwell of each command and sends codes that it has ready. Other programs on the
machine disturb wall time: the tenth percentile (p10) says what it is when they leave room, and `probewise_cpu_ms` is
the processor time of our side, all threads.
Usage: python bench/open_beam.py
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"  # before NumPy reads them

import json
import multiprocessing
import platform
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import probewise as pw
from probewise._core import open_beam as _core
from probewise.instrument import session
from probewise.instrument.open_beam.program import CHUNK_NS
from probewise.types import Context, RasterROI

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from open_beam_server import OpenBeamServer

SHAPE = (64, 64)
POINTS = SHAPE[0] * SHAPE[1]
DWELL_NS = 1000
ROUNDS = 200
SCANS = 100
WHOLE = ((0.0, 16383.0, 0.0), (0.0, 0.0, 16383.0))


def encoding() -> dict[str, float]:
    """Microseconds a vector scan."""
    yx = np.random.default_rng(0).random((POINTS, 2))
    dwell_ns = np.full(POINTS, DWELL_NS, dtype=np.int64)
    chunks, room = _core.room_for_vectors(POINTS, int(dwell_ns.sum()), CHUNK_NS)
    ours, ends = np.zeros(room, dtype=np.uint8), np.zeros((chunks, 3), dtype=np.int64)
    begun = [0, *ends[: _core.encode_vectors(yx, dwell_ns, WHOLE, CHUNK_NS, ours, ends), 0].tolist()]
    used = int(ends[len(begun) - 2, 1])
    parts = list(pairwise(begun))
    pieces, numpys, copied = bytearray(room), np.zeros(room, dtype=np.uint8), np.zeros(room, dtype=np.uint8)

    def with_struct() -> None:
        at = 0
        for first, end in parts:
            struct.pack_into(">BH", pieces, at, 0x8E, end - first - 1)
            at += 3
            for (y, x), ns in zip(yx[first:end].tolist(), dwell_ns[first:end].tolist(), strict=True):
                struct.pack_into(">HHH", pieces, at, round(x * 16383), round(y * 16383), ns // 125 - 1)
                at += 6
            pieces[at] = 0x20
            at += 1

    def with_numpy() -> None:
        at = 0
        codes = np.rint(yx * 16383)
        fields = dwell_ns // 125 - 1
        for first, end in parts:
            numpys[at : at + 3] = np.frombuffer(struct.pack(">BH", 0x8E, end - first - 1), dtype=np.uint8)
            length = 6 * (end - first)
            rows = numpys[at + 3 : at + 3 + length].view(">u2").reshape(-1, 3)
            rows[:, 0], rows[:, 1], rows[:, 2] = codes[first:end, 1], codes[first:end, 0], fields[first:end]
            at += 4 + length
            numpys[at - 1] = 0x20

    ways: dict[str, Callable[[], object]] = {
        "probewise": lambda: _core.encode_vectors(yx, dwell_ns, WHOLE, CHUNK_NS, ours, ends),
        "struct": with_struct,
        "numpy": with_numpy,
        "copy": lambda: np.copyto(copied, ours),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, function in ways.items():
            began = time.perf_counter()
            function()
            times[way].append(time.perf_counter() - began)
    if not bytes(ours[:used]) == bytes(pieces[:used]) == bytes(numpys[:used]):
        raise RuntimeError("the three encoders differ, expected the same bytes")
    return {f"{way}_us": 1e6 * statistics.median(values) for way, values in times.items()}


def serve(pipe: Any) -> None:
    ready = np.zeros(POINTS)
    with OpenBeamServer(lambda yx, dwell_ns: ready[: len(yx)], realtime=True) as server:
        pipe.send(server.uri)
        pipe.recv()


def echo(pipe: Any, received: int, sent: int) -> None:
    """The bytes of a scan and nothing else: takes them, waits for the dwell, answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[:2])
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = bytes(sent)
            while take(connection, received):
                time.sleep(POINTS * DWELL_NS * 1e-9)
                connection.sendall(answer)


def take(connection: socket.socket, count: int) -> bool:
    left = count
    while left:
        came = len(connection.recv(left))
        if not came:
            return False
        left -= came
    return True


def round_trips() -> dict[str, float]:
    """Milliseconds beyond the dwell."""
    spawn = multiprocessing.get_context("spawn")
    length, answer = 3 + POINTS * 6 + 3 * 4, 4 + 2 * POINTS
    ends, processes = [], []
    for function, arguments in ((serve, ()), (echo, (length, answer))):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=function, args=(theirs, *arguments), daemon=True)
        process.start()
        ends.append(ours)
        processes.append(process)
    microscope = pw.open_instrument(ends[0].recv(), fov_nm=200.0)
    bare = socket.create_connection(ends[1].recv())
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    roi, context, message = RasterROI(SHAPE, DWELL_NS), Context((8.0, 8.0), (11.0, -7.0)), bytes(length)
    times: dict[str, list[float]] = {"probewise": [], "bare_sockets": []}
    processor = []
    with session(microscope) as held, bare:
        for _ in range(SCANS):
            began, began_cpu = time.perf_counter(), time.process_time()
            held.acquire(roi, context, ["HAADF"])
            processor.append(time.process_time() - began_cpu)
            times["probewise"].append(time.perf_counter() - began)
            began = time.perf_counter()
            bare.sendall(message)
            take(bare, answer)
            times["bare_sockets"].append(time.perf_counter() - began)
    ends[0].send(None)
    for process in processes:
        process.join(10)
    dwell_ms = roi.duration_ns * 1e-6
    beyond = {f"{way}_ms": 1e3 * statistics.median(values) - dwell_ms for way, values in times.items()}
    best = {f"{way}_p10_ms": 1e3 * float(np.percentile(values, 10)) - dwell_ms for way, values in times.items()}
    return {**beyond, **best, "probewise_cpu_ms": 1e3 * statistics.median(processor)}


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parts = {"encoding_4096_points": encoding(), "beyond_dwell_64x64": round_trips()}
    report = {
        "question": __doc__.splitlines()[0] if __doc__ else "",
        "command": "python bench/open_beam.py",
        "cpu": cpu_model(),
        "threads": 1,
        "load_average": os.getloadavg()[0],
        "versions": {"probewise": pw.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "rounds": ROUNDS,
        "scans": SCANS,
        **parts,
    }
    path = Path(__file__).parent / "results" / "open_beam.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    for part, times in parts.items():
        print(part, "  ".join(f"{key} {value:.3g}" for key, value in times.items()))


if __name__ == "__main__":
    main()
