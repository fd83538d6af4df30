# SPDX-License-Identifier: BSD-3-Clause
"""What goes over the wire: a fixed prefix, a small JSON object, raw arrays. Every length is bounded before it is read.

    prefix   magic "PW", version, kind, number of the request, fencing token, bytes of the object, bytes of the arrays
    object   JSON; an array in it is ``{"array": [dtype, shape]}``, its values lie in the body in the same order
    body     little-endian, contiguous

Both ends prove that they know the token before the first message, by a keyed hash of the other's random number: the
token itself never travels.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import struct
from typing import Any, Callable, Union

import numpy as np

VERSION = 1
MAGIC = b"PW"
PREFIX = struct.Struct(">2sBBIQII")
OBJECT_BYTES = 1 << 16
BODY_BYTES = 1 << 28
BUFFER_BYTES = PREFIX.size + OBJECT_BYTES

# Kinds of a request. The first travel on the control connection, the last three on the side connection.
LEASE, DESCRIBE, ARM, START, READ, PARK, BLANK, LIGHT, CLOSE, MEMORY, SPENT = range(1, 12)
ATTACH, BEAT, ABORT = range(16, 19)
# Kinds of a reply: done, refused argument, failed scan, late scan, faulty hardware, no right to ask.
DONE, REFUSED, FAILED, LATE, FAULT, DENIED = range(64, 70)

CONTROL, SIDE = b"C", b"S"
NONCE_BYTES = 32
GREETING = b"PWagent" + bytes([VERSION])
PROOF = hashlib.sha256().digest_size

DTYPES = {"<f8": 8, "<f4": 4, "<i8": 8, "<i4": 4, "|b1": 1}
Buffer = Union[bytes, bytearray, memoryview]


class MessageError(Exception):
    """What came is no message of this protocol; the connection is of no more use."""


class ConnectionLost(Exception):
    """The other end is gone."""


class Message:
    __slots__ = ("body", "data", "fence", "kind", "request")

    def __init__(self, kind: int, request: int, fence: int, data: dict[str, Any], body: Buffer) -> None:
        self.kind = kind
        self.request = request
        self.fence = fence
        self.data = data
        self.body = body


def _no_constant(name: str) -> None:
    raise MessageError(f"the object holds {name}, expected finite numbers")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


class Stream:
    """Messages over a connected socket. One thread receives; `send` writes a small message in one call."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._arrays: list[Any] = []
        self._encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=self._apart).encode

    @property
    def pending(self) -> bool:
        """Whether bytes beyond the last message have come."""
        return self._end > self._start

    def send(
        self, kind: int, request: int = 0, fence: int = 0, data: dict[str, Any] | None = None, raw: Buffer = b""
    ) -> None:
        """raw  values that stand for no array of `data`

        raises  ValueError or TypeError for data that cannot be sent, MessageError for too much of it
        """
        arrays = self._arrays
        arrays.clear()
        text = self._encode(data).encode() if data else b""
        body = sum(array.nbytes for array in arrays) + len(raw) if arrays or len(raw) else 0
        if len(text) > OBJECT_BYTES or body > BODY_BYTES:
            raise MessageError(f"{len(text)} bytes with a body of {body} are too many for a message")
        head = PREFIX.pack(MAGIC, VERSION, kind, request, fence, len(text), body) + text
        try:
            self.socket.sendall(head)
            for array in arrays:
                self.socket.sendall(memoryview(array).cast("B"))
            if len(raw):
                self.socket.sendall(raw)
        except socket.timeout as error:
            raise ConnectionLost("the other end takes no data") from error
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def receive(
        self,
        wait: Callable[[], None] | None = None,
        into: memoryview | None = None,
        text_bytes: int = OBJECT_BYTES,
        body_bytes: int = BODY_BYTES,
    ) -> Message:
        """The next message.

        wait        called whenever the socket's timeout passes without data; may raise
        into        bytes that take the raw body of a reply
        text_bytes, body_bytes  most that is taken
        raises      ConnectionLost, MessageError
        """
        self._need(PREFIX.size, wait)
        magic, version, kind, request, fence, text, body = PREFIX.unpack_from(self._buffer, self._start)
        if magic != MAGIC or version != VERSION:
            raise MessageError(f"a message begins with {magic!r}, version {version}, expected {MAGIC!r}, {VERSION}")
        if text > text_bytes or body > body_bytes:
            raise MessageError(f"a message announces {text} + {body} bytes, more than is taken")
        self._start += PREFIX.size
        data: dict[str, Any] = {}
        if text:
            self._need(text, wait)
            data = _parsed(bytes(self._view[self._start : self._start + text]))
            self._start += text
        if not body:
            return Message(kind, request, fence, data, b"")
        if into is not None:
            if kind == DONE and body != len(into):
                raise MessageError(f"a body of {body} bytes came, expected {len(into)}")
            taken: Buffer = into[:body]
            self._take(into[:body], wait)
        else:
            taken = bytearray(body)
            self._take(memoryview(taken), wait)
            data = _unpacked(data, taken)
        return Message(kind, request, fence, data, taken)

    def _apart(self, value: Any) -> Any:
        """What stands in the object for a value that JSON has not; arrays follow in the body."""
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        name = value.dtype.newbyteorder("<").str
        if name not in DTYPES:
            raise TypeError(f"an array of {value.dtype} cannot be sent, expected one of {', '.join(DTYPES)}")
        self._arrays.append(np.ascontiguousarray(value).astype(name, copy=False))
        return {"array": [name, list(value.shape)]}

    def bare(self) -> list[Message]:
        """Messages of a prefix alone that have come, after one look at a socket that has something to read."""
        self._need(0, None)
        if self._end == BUFFER_BYTES:
            raise MessageError("more messages came than are taken")
        self._end += self._some(self._view[self._end :], None)
        found = []
        while self._end - self._start >= PREFIX.size:
            found.append(self.receive(body_bytes=0, text_bytes=0))
        return found

    def close(self) -> None:
        """End the connection, also for a thread that waits on it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _need(self, count: int, wait: Callable[[], None] | None) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > BUFFER_BYTES:
            rest = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, len(rest)
            self._view[: len(rest)] = rest
        while self._end - self._start < count:
            self._end += self._some(self._view[self._end :], wait)

    def _take(self, target: memoryview, wait: Callable[[], None] | None) -> None:
        have = min(self._end - self._start, len(target))
        target[:have] = self._view[self._start : self._start + have]
        self._start += have
        while have < len(target):
            have += self._some(target[have:], wait)

    def _some(self, target: memoryview, wait: Callable[[], None] | None) -> int:
        while True:
            try:
                count = self.socket.recv_into(target)
            except socket.timeout:
                if wait is None:
                    raise ConnectionLost("no data in time") from None
                wait()
                continue
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if count == 0:
                raise ConnectionLost("the other end has closed the connection")
            return count


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        data = _decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the object is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise MessageError(f"the object is a {type(data).__name__}, expected a dictionary")
    return data


def _unpacked(data: dict[str, Any], body: bytearray) -> dict[str, Any]:
    """`data` with its arrays, at most two levels deep, as they were announced."""
    used = 0

    def array(value: Any) -> Any:
        nonlocal used
        if not (isinstance(value, dict) and list(value) == ["array"]):
            return value
        try:
            name, shape = value["array"]
            count = 1
            for side in shape:
                if type(side) is not int or not 0 <= side <= BODY_BYTES:
                    raise ValueError(f"shape {shape!r}")
                count *= side
            size = DTYPES[name] * count
        except (KeyError, TypeError, ValueError) as error:
            raise MessageError(f"an array is announced as {value['array']!r}") from error
        if used + size > len(body):
            raise MessageError(f"arrays of more than {len(body)} bytes are announced")
        made = np.frombuffer(body, dtype=name, count=count, offset=used).reshape(shape)
        used += size
        if name == "|b1" and made.size and made.view(np.uint8).max() > 1:
            raise MessageError("an array of truth values holds other bytes than 0 and 1")
        return made

    def inner(value: Any) -> Any:
        found = array(value)
        if found is value and isinstance(value, dict):
            return {key: array(part) for key, part in value.items()}
        return found

    out = {key: inner(value) for key, value in data.items()}
    if used != len(body):
        raise MessageError(f"a body of {len(body)} bytes came, arrays of {used} were announced")
    return out


def prove(token: bytes, side: bytes, role: bytes, theirs: bytes, ours: bytes) -> bytes:
    """What one end shows to say that it knows the token: `theirs` and `ours` are the two random numbers."""
    return hmac.new(token, side + role + theirs + ours, hashlib.sha256).digest()


def greet_as_server(sock: socket.socket, token: bytes) -> bytes | None:
    """The role of a client that knows the token, None for another one. The socket has a timeout for each call."""
    ours = os.urandom(NONCE_BYTES)
    sock.sendall(GREETING + ours)
    answer = exactly(sock, 1 + NONCE_BYTES + PROOF)
    role, theirs, proof = answer[:1], answer[1 : 1 + NONCE_BYTES], answer[1 + NONCE_BYTES :]
    expected = prove(token, b"client", role, ours, theirs)
    if not hmac.compare_digest(proof, expected) or role not in (CONTROL, SIDE):
        sock.sendall(b"\0" * PROOF)
        return None
    sock.sendall(prove(token, b"server", role, theirs, ours))
    return role


def greet_as_client(sock: socket.socket, token: bytes, role: bytes) -> bool:
    """Whether the server took the token and knows it as well.

    raises  MessageError when something else answers
    """
    greeting = exactly(sock, len(GREETING) + NONCE_BYTES)
    if not greeting.startswith(GREETING):
        raise MessageError(f"it answers {greeting[: len(GREETING)]!r}, expected {GREETING!r}")
    theirs, ours = greeting[len(GREETING) :], os.urandom(NONCE_BYTES)
    sock.sendall(role + ours + prove(token, b"client", role, theirs, ours))
    return hmac.compare_digest(exactly(sock, PROOF), prove(token, b"server", role, ours, theirs))


def exactly(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = sock.recv(count - len(got))
        if not more:
            raise ConnectionLost("the other end has closed the connection")
        got += more
    return got


def host_and_port(text: str) -> tuple[str, int]:
    """raises  ValueError for anything but HOST:PORT"""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is no address, expected HOST:PORT")
    return host.strip("[]"), int(port)
