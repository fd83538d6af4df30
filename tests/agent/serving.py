# SPDX-License-Identifier: BSD-3-Clause
"""A server in this process and clients of it, for tests; Python 3.8 and newer."""

import contextlib
import logging
import socket
import threading
import time

from plain_driver import PlainDriver
from probewise_agent import messages
from probewise_agent.client import RemoteDriver
from probewise_agent.messages import Stream
from probewise_agent.server import Server, listen

TOKEN = b"0123456789abcdef0123456789abcdef"
RASTER = {"kind": "raster", "shape": [4, 6], "dwell_ns": 1000, "centre_yx": [0.5, 0.5], "size_yx": [1.0, 1.0],
          "discard_lines": 0, "flyback_ns": 0}  # fmt: skip
CONTEXT = {"fov_nm": [8.0, 8.0], "shift_nm": [0.0, 0.0], "rotation_rad": 0.0}


def slow(seconds):
    """A raster that takes so long."""
    return {**RASTER, "shape": [1, 1000], "dwell_ns": int(seconds * 1e6) // 25 * 25}


@contextlib.contextmanager
def serving(driver=None, address=("127.0.0.1", 0), **options):
    """(address, driver, server) of a server that is stopped on leaving."""
    logging.getLogger("probewise_agent").setLevel(logging.CRITICAL)
    driver = driver or PlainDriver()
    options.setdefault("heartbeat_s", 5.0)  # a busy machine fails no test of something else
    listener = listen(address)
    server = Server(lambda: driver, TOKEN, listener, **options)
    server.open()
    guard = threading.Thread(target=server.run, daemon=True)
    guard.start()
    try:
        yield listener.getsockname()[:2] if isinstance(address, tuple) else address, driver, server
    finally:
        server.stop("the test is over")
        guard.join(10.0)
        assert not guard.is_alive()


def connected(address, role=messages.CONTROL, token=TOKEN):
    """A stream that has shown the token and asked for nothing yet."""
    sock = socket.create_connection(address, 5.0)
    assert messages.greet_as_client(sock, token, role)
    return Stream(sock)


def leased(address):
    """(control, side, fence) of a controller written out by hand."""
    control = connected(address)
    control.send(messages.LEASE, 0, 0, {"who": "by hand"})
    fence = control.receive().fence
    side = connected(address, messages.SIDE)
    side.send(messages.ATTACH, 0, fence)
    assert side.receive().kind == messages.DONE
    return control, side, fence


def lit(address, driver):
    """A client with the beam on."""
    client = RemoteDriver(address, TOKEN)
    client.blank(False)
    assert driver.beam == "on"
    return client


def comes(condition, within_s=5.0):
    """Whether it becomes true."""
    limit = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.002)
    return True
