# SPDX-License-Identifier: BSD-3-Clause
"""When controllers race for one instrument, does it ever get a command of one between two of another?

In each race 2 to 8 processes ask for the lease at once; who gets it sends four commands that carry its number, the
race's and a count, and leaves. In every 200th race the winner is stopped (SIGSTOP) after two, another one takes over
when its lease has run out, and the first goes on (SIGCONT). The driver writes what reaches it. Counted: commands that
came between those of one winner, and commands of a winner after it was displaced.

    python bench/keeper_races.py [--races 10000] [--seed 0] [--most-s 900]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "agent"), str(ROOT / "tests")]

from plain_driver import PlainDriver
from probewise.experiment.recorder import machine
from probewise_agent.client import RemoteDriver
from probewise_agent.driver import DriverError
from probewise_agent.server import Server, listen

TOKEN = b"0123456789abcdef0123456789abcdef"
WORKERS, COMMANDS, LEASE_S, STOPPED_EVERY = 8, 4, 0.25, 200


class WritingDriver(PlainDriver):
    """Writes the place of each `park`: worker, race and count of a command are in it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def park(self, yx: Any) -> None:
        os.write(self._file, f"{round(yx[0] * 64)} {round(yx[1] * (1 << 20))}\n".encode())

    def _enter(self, verb: str, *arguments: Any) -> None:
        pass  # keeps no list of a million commands


def serve(address: str, log: str) -> None:
    server = Server(lambda: WritingDriver(log), TOKEN, listen(address), lease_s=LEASE_S, linger_s=None)
    server.open()
    signal.signal(signal.SIGTERM, lambda number, frame: server.stop("the end"))
    server.run()


def race(address: str, worker: int, number: int, *, stops: bool, keeps_asking: bool) -> str:
    """won, refused, displaced (its lease was taken while it was stopped)"""
    limit = time.monotonic() + 20.0
    while True:
        try:
            client = RemoteDriver(address, TOKEN)
            break
        except DriverError:
            if not keeps_asking or time.monotonic() > limit:
                return "refused"
            time.sleep(0.01)
    try:
        for count in range(COMMANDS):
            if stops and count == 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            client.park(((worker * 4 + count) / 64, number / (1 << 20)))
        client.close()
    except DriverError:
        client._end()
        return "displaced"
    return "won"


def work(address: str, worker: int, pipe: Any) -> None:
    while (order := pipe.recv()) is not None:
        pipe.send(race(address, worker, **order))


def judge(log: Path) -> dict[str, int]:
    """What the driver saw, command by command."""
    between, after, whole, cut = 0, 0, 0, 0
    ended: set[tuple[int, int]] = set()
    current, count = None, 0
    for line in log.read_text().splitlines():
        marked, number = map(int, line.split())
        who, step = (marked // 4, number), marked % 4
        if who != current:
            if current is not None:
                ended.add(current)
                cut += count < COMMANDS
            after += who in ended
            current, count = who, 0
        between += step != count
        count += 1
        whole += count == COMMANDS
    return {"between": between, "after_displaced": after, "whole": whole, "cut_short": cut}


def forked(function: Any, *arguments: Any) -> int:
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        finally:
            os._exit(0)
    return child


def stopped(pid: int, within_s: float) -> bool:
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
        time.sleep(0.002)
    return False


def run(races: int, seed: int, most_s: float, folder: Path) -> dict[str, int]:
    address, log = str(folder / "socket"), folder / "log"
    server = forked(serve, address, str(log))
    pipes, pids = [], []
    for worker in range(WORKERS):
        ours, theirs = Pipe()
        pids.append(forked(work, address, worker, theirs))
        pipes.append(ours)
    while not Path(address).exists():
        time.sleep(0.01)
    chance, totals = random.Random(seed), {"won": 0, "refused": 0, "displaced": 0}
    limit, made = time.monotonic() + most_s, 0
    while made < races and time.monotonic() < limit:
        number, made = made, made + 1
        chosen = chance.sample(range(WORKERS), chance.randint(2, WORKERS))
        stops = number % STOPPED_EVERY == STOPPED_EVERY - 1
        if stops:  # the first takes it, is stopped and displaced by the others, which keep asking
            first, *others = chosen
            pipes[first].send({"number": number, "stops": True, "keeps_asking": True})
            assert stopped(pids[first], 20.0), "the first has not got the lease"
        else:
            first, others = None, chosen
        for worker in others:
            pipes[worker].send({"number": number, "stops": False, "keeps_asking": stops})
        for worker in others:
            totals[pipes[worker].recv()] += 1
        if first is not None:
            os.kill(pids[first], signal.SIGCONT)
            totals[pipes[first].recv()] += 1
    for pipe in pipes:
        pipe.send(None)
    os.kill(server, signal.SIGTERM)
    for child in (*pids, server):
        os.waitpid(child, 0)
    return {"races": made, **totals, **judge(log)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-s", type=float, default=900.0, help="begin no race after so many seconds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "keeper_races.json")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments.races, arguments.seed, arguments.most_s, Path(folder))
    seconds = time.monotonic() - begun
    print(f"{seconds:.0f} s: {found}")
    result = {"question": __doc__.splitlines()[0], **found, "seconds": seconds, **machine()}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
