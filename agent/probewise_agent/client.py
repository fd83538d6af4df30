# SPDX-License-Identifier: BSD-3-Clause
"""The verbs of a driver, asked of a server elsewhere.

Two connections: one for the verbs, and a side connection for `abort` and for the beats. A beat is sent only by the
thread that waits for a reply, so that the server hears nothing from a program that hangs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from probewise_agent import messages
from probewise_agent.driver import DriverError, ScanFailed, ScanLate
from probewise_agent.memory import receive_memory
from probewise_agent.messages import CONTROL, SIDE, ConnectionLost, Message, MessageError, Stream
from probewise_agent.server import Address

CONNECT_S = 5.0
ANSWER_S = 15.0  # for a verb; a read has its own time beside it
ABORT_S = 4.0
BEATS = 4  # within the time after which the server takes the beam off
SHARED_FROM = 1 << 16  # bytes of a frame from which shared memory is faster than the socket

_RAISED = {messages.REFUSED: ValueError, messages.FAILED: ScanFailed, messages.LATE: ScanLate}


class RemoteDriver:
    """The driver behind `address`, a path of a Unix socket or (HOST, PORT), with the lease of it.

    raises  DriverError when nobody answers, the token is refused or another controller has the lease
    """

    def __init__(self, address: Address, token: bytes) -> None:
        self.where = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._request = 0
        self._fence = 0
        self._shared: mmap.mmap | None = None
        self._closed = False
        self._side_lock = threading.Lock()
        self._abort_lock = threading.Lock()
        self._side: Stream | None = None
        self._control = self._connect(address, token, CONTROL)
        try:
            self._beat_s = CONNECT_S
            self._control.socket.settimeout(CONNECT_S)
            who = f"{Path(sys.argv[0] or 'python').name}, process {os.getpid()}"
            welcome = self._ask(messages.LEASE, {"who": who})
            self._fence = welcome.fence
            self._beat_s = float(welcome.data["heartbeat_s"]) / BEATS
            self._shares = bool(welcome.data["shares_memory"])
            self._side = self._connect(address, token, SIDE)
            self._side.send(messages.ATTACH, 0, self._fence)
            reply = self._side.receive()
            if reply.kind != messages.DONE:
                raise DriverError(f"{self.where}: {reply.data.get('message')}")
        except (ConnectionLost, MessageError, KeyError) as error:
            self._end()
            raise DriverError(f"{self.where} does not speak as expected: {error}") from error
        except BaseException:
            self._end()
            raise
        self._control.socket.settimeout(self._beat_s)

    def _connect(self, address: Address, token: bytes, role: bytes) -> Stream:
        try:
            if isinstance(address, str):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.settimeout(CONNECT_S)
                with contextlib.ExitStack() as undo:
                    undo.callback(sock.close)
                    sock.connect(address)
                    undo.pop_all()
            else:
                sock = socket.create_connection(address, CONNECT_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise DriverError(f"nobody answers at {self.where}: {error}") from error
        try:
            if not messages.greet_as_client(sock, token, role):
                raise DriverError(f"the server at {self.where} refused the token, or does not know it")
        except (OSError, ConnectionLost, MessageError) as error:
            sock.close()
            raise DriverError(f"no instrument server answers at {self.where}: {error}") from error
        except DriverError:
            sock.close()
            raise
        return Stream(sock)

    # The verbs

    def describe(self) -> dict[str, Any]:
        return self._ask(messages.DESCRIBE).data

    def arm(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        return self._ask(messages.ARM, {"scan": scan, "context": context, "channels": list(channels)}).data

    def start(self) -> None:
        self._ask(messages.START)

    def read_into(self, out: np.ndarray[Any, Any], timeout_s: float) -> dict[str, Any]:
        if self._shares and out.nbytes >= SHARED_FROM and (self._shared is None or len(self._shared) < out.nbytes):
            self._share(out.nbytes)
        reply = self._ask(
            messages.READ, {"timeout_s": timeout_s}, into=out.data.cast("B"), answer_s=timeout_s + ANSWER_S
        )
        gave = reply.data
        if gave.pop("shared", False):
            assert self._shared is not None
            out[:] = np.frombuffer(self._shared, np.float32, out.size).reshape(out.shape)
        elif len(reply.body) != out.nbytes:
            raise ScanFailed(f"a frame of {len(reply.body)} bytes came, expected {out.nbytes}")
        return gave

    def park(self, yx: tuple[float, float] | None) -> None:
        self._ask(messages.PARK, {"yx": None if yx is None else [float(yx[0]), float(yx[1])]})

    def blank(self, on: bool) -> None:
        self._ask(messages.BLANK if on else messages.LIGHT)

    def spent(self) -> dict[str, Any]:
        """Beam time that the server has counted: spent_ns, reserved_ns, budget_ns (None for no limit)."""
        return self._ask(messages.SPENT).data

    def abort(self) -> None:
        side = self._side
        if self._closed or side is None:
            return  # the server takes the beam off when the connection ends
        with self._abort_lock:
            try:
                with self._side_lock:
                    side.socket.settimeout(ABORT_S)
                    side.send(messages.ABORT, 0, self._fence)
                reply = side.receive()
            except (ConnectionLost, MessageError) as error:
                raise DriverError(
                    f"{self.where} does not answer an abort; it takes the beam off by itself: {error}"
                ) from error
        if reply.kind != messages.DONE:
            raise DriverError(str(reply.data.get("message")))

    def close(self) -> None:
        if not self._closed:
            try:
                self._ask(messages.CLOSE)
            finally:
                self._end()

    def _end(self) -> None:
        self._closed = True
        self._control.close()
        if self._side is not None:
            self._side.close()

    # The wire

    def _ask(
        self,
        kind: int,
        data: dict[str, Any] | None = None,
        into: memoryview | None = None,
        answer_s: float = ANSWER_S,
    ) -> Message:
        self._request += 1
        control = self._control
        limit = time.monotonic() + answer_s

        def wait() -> None:
            if time.monotonic() > limit:
                raise ConnectionLost(f"no answer within {answer_s} s")
            self._beat()

        try:
            control.send(kind, self._request, self._fence, data)
            reply = control.receive(wait, into)
            while reply.request != self._request:  # of a verb that was interrupted while it waited
                reply = control.receive(wait, into)
        except (ConnectionLost, MessageError) as error:
            self._end()
            raise DriverError(f"the connection to {self.where} is lost, which takes the beam off: {error}") from error
        if reply.kind != messages.DONE:
            raise _RAISED.get(reply.kind, DriverError)(str(reply.data.get("message")))
        return reply

    def _beat(self) -> None:
        side = self._side
        if side is not None and self._side_lock.acquire(blocking=False):
            try:
                side.send(messages.BEAT, 0, self._fence)
            except ConnectionLost:
                pass  # the control connection tells
            finally:
                self._side_lock.release()

    def _share(self, size: int) -> None:
        try:
            self._ask(messages.MEMORY, {"bytes": size})
            self._control.send(messages.MEMORY, self._request, self._fence)
            self._shared = receive_memory(self._control.socket, size)
        except (DriverError, OSError):
            self._shares = False
            raise
