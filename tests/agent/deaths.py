# SPDX-License-Identifier: BSD-3-Clause
"""Controllers that die, each with the beam on, and what the server made of it.

The server is a process that writes each change of the beam with its time; the controllers are forked from a small one,
so that hundreds die in a minute. CLOCK_MONOTONIC is one for all processes of a machine.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

for near in ("..", ".", "../../agent"):
    sys.path.insert(0, str(Path(__file__).resolve().parent / near))

from serving import CONTEXT, RASTER, TOKEN  # noqa: E402

from plain_driver import PlainDriver  # noqa: E402
from probewise_agent.client import RemoteDriver  # noqa: E402
from probewise_agent.server import Server, listen, take_precedence  # noqa: E402


def _lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _sleep_with_the_interpreter():
    ctypes.PyDLL(None).sleep(60)  # keeps the interpreter's lock: no other thread runs


def _too_much():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 24, 1 << 24))  # less than it has: the next request is refused
    return bytearray(1 << 26)


def _raise():
    raise RuntimeError("a fault of the user's callback")


def _signal(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def _cut(client):
    client._end()
    time.sleep(60)


WAYS = {
    "SIGKILL": lambda client: _signal(signal.SIGKILL),
    "SIGSEGV": lambda client: _signal(signal.SIGSEGV),
    "os._exit": lambda client: os._exit(3),
    "memory limit": lambda client: _too_much(),
    "exception": lambda client: _raise(),
    "Ctrl-C": lambda client: _signal(signal.SIGINT),
    "SIGTERM": lambda client: _signal(signal.SIGTERM),
    "deadlock": lambda client: _lock(),
    "deadlock in C": lambda client: _sleep_with_the_interpreter(),
    "stopped": lambda client: _signal(signal.SIGSTOP),
    "cut": _cut,
}
HANGS = ("deadlock", "deadlock in C", "stopped", "cut")
STATES = ("idle", "scanning", "reading")


def serve(address, log):
    """Serve until standard input ends; log: path of the beam's changes."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    driver = PlainDriver(realtime=True, log=lambda now, state: os.write(file, f"{now} {state}\n".encode()))
    listener = listen(address if isinstance(address, str) else tuple(address))
    server = Server(lambda: driver, TOKEN, listener)
    take_precedence()
    server.open()
    print(json.dumps(listener.getsockname()), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.stop("the end")), daemon=True).start()
    server.run()


def _live_and_die(address, way, state, pipe):
    """One controller, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    client = RemoteDriver(address, TOKEN)
    client.arm({**RASTER, "shape": [20, 1000], "dwell_ns": 1_000_000}, CONTEXT, ["BF"])  # 20 s
    client.blank(False)
    if state != "idle":
        client.start()
    if state == "reading":  # the driver is inside the verb when this process dies, whose thread waits for the reply
        threading.Thread(target=client.read_into, args=(np.empty((1, 20_000), "f4"), 60.0), daemon=True).start()
        time.sleep(0.05)
    take_precedence()  # on a busy machine a process may wait longer for its turn to die than the beam is on after it
    os.write(pipe, b"%d\n" % time.monotonic_ns())
    WAYS[way](client)
    os.write(pipe, b"alive\n")


def kill_one(address, log, way, state):
    """ms from the moment before it dies to the beam being off."""
    for _ in range(10):
        took = _kill(address, log, way, state)
        if took is not None:
            return took
    raise AssertionError("no controller could light the beam")


def _kill(address, log, way, state):
    """As `kill_one`; None when a busy machine did not let the controller light the beam within the heartbeat."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _live_and_die(address, way, state, theirs)
        finally:
            os._exit(code)  # what an exception leads to, without the parent's handlers
    os.close(theirs)
    try:
        stamp = os.read(ours, 100)
        if not stamp:
            return None
        died = int(stamp)
        limit = time.monotonic() + 5.0
        while time.monotonic() < limit:
            changes = [line.split() for line in Path(log).read_text().splitlines()[-8:]]
            off = [int(now) for now, beam in changes if beam == "blanked" and int(now) >= died]
            if changes[-1][1] == "blanked":
                return (off[0] - died) * 1e-6 if off else None
            time.sleep(0.002)
        raise AssertionError(f"the beam is on 5 s after the controller died of {way} while {state}")
    finally:
        os.close(ours)
        if way in HANGS:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), sys.argv[2])
