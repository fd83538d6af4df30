# SPDX-License-Identifier: BSD-3-Clause
"""The TCP connection to a server of the Open Beam Interface."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable

import numpy as np

from probewise._core import open_beam as _core
from probewise.errors import InstrumentError, ScanError, ScanTimeout

SCRAP_BYTES = 1 << 16


class Line:
    """One connection, used by one thread at a time; only `wake` may come from another.

    raises  InstrumentError when nobody answers within connect_s
    """

    def __init__(self, name: str, address: tuple[str, int], connect_s: float) -> None:
        self.name = name
        try:
            self._socket = socket.create_connection(address, timeout=connect_s)
        except OSError as error:
            raise InstrumentError(
                f"{self.name} cannot be reached ({error}), expected a server of the Open Beam Interface there"
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._events = selectors.EVENT_READ
        self._selector.register(self._socket, self._events)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._unsent = memoryview(b"")
        self._scrap = memoryview(bytearray(SCRAP_BYTES))

    def close(self) -> None:
        self._selector.close()
        for end in (self._socket, self._woken, self._waker):
            end.close()

    def wake(self) -> None:
        """Make a `receive` look at `stopped`, from any thread."""
        with contextlib.suppress(OSError):  # closed, or woken so often already that its buffer is full
            self._waker.send(b"\0")

    def send(self, data: bytes | memoryview) -> None:
        """Send after what was not sent yet, as far as it goes without waiting; `receive` sends the rest.

        data  must stay as it is until it was sent
        """
        self._unsent = memoryview(bytes(self._unsent) + data) if self._unsent else memoryview(data)
        self._push()

    def receive(self, into: memoryview, until_s: float, stopped: Callable[[], bool] | None = None) -> int:
        """Wait for bytes; how many came, 0 when `stopped` says so.

        until_s  on time.monotonic
        raises   ScanTimeout, ScanError when the connection is gone
        """
        while stopped is None or not stopped():
            self._push()
            try:
                came = self._socket.recv_into(into)
            except BlockingIOError:
                self._wait(until_s)
                continue
            except OSError as error:
                raise ScanError(f"{self.name} was cut off: {error}") from error
            if came == 0:
                raise ScanError(f"{self.name} closed the connection")
            return came
        return 0

    def settle(self, cookie: int, until_s: float) -> None:
        """Drop what comes before the answer to the Synchronize of `cookie`.

        raises  as receive
        """
        kept, alone = b"", _core.SYNCHRONIZED.to_bytes(2, "big") + cookie.to_bytes(2, "big")
        while True:
            data = kept + self._scrap[: self.receive(self._scrap, until_s)]
            if data == alone:
                return
            words = np.frombuffer(data, dtype=">u2", count=len(data) // 2)
            marks = np.flatnonzero(words[:-1] == _core.SYNCHRONIZED)
            if (words[marks + 1] == cookie).any():
                return
            half_answer = len(words) > 0 and words[-1] == _core.SYNCHRONIZED
            kept = data[2 * (len(words) - half_answer) :]

    def _push(self) -> None:
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise ScanError(f"{self.name} was cut off: {error}") from error

    def _wait(self, until_s: float) -> None:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise ScanTimeout(f"{self.name} does not answer")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if events != self._events:
            self._selector.modify(self._socket, events)
            self._events = events
        for key, _ in self._selector.select(left_s):
            if key.fileobj is self._woken:
                self._woken.recv(SCRAP_BYTES)
