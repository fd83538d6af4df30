# SPDX-License-Identifier: BSD-3-Clause
"""A server of the Open Beam Interface for tests: decodes by itself, keeps beam and blanker, and can misbehave.

    with OpenBeamServer(specimen("particles")) as server:
        instrument = open_instrument(server.uri, fov_nm=100.0)

Commands are carried out one after the other, as the hardware does; with `realtime` each pixel takes its dwell. Like the
server of the project it starts afresh with every connection and gives the scan back when one ends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

UNIT_NS = 125
TOP = 16383
IDLE_S = 50e-6  # a receive that takes longer found nothing there
Counts = Callable[[np.ndarray, np.ndarray], np.ndarray]  # fractions (n, 2) as (y, x), dwell_ns (n,) -> codes (n,)
FaultKind = Literal[
    "stall",  # nothing more is carried out or answered on this connection
    "cut",  # the connection is closed
    "gone",  # the same, and nobody listens any more
    "short",  # ten samples are never answered
    "garbage",  # a sample is answered by a word that is no code
    "cookie",  # a Synchronize is answered with another cookie
    "late",  # answers are held back until another Synchronize comes
    "slow",  # half a second passes before the answers
]
FIELDS = {0x0: 2, 0x1: 0, 0x2: 0, 0x3: 0, 0x4: 0, 0x5: 0, 0x6: 2, 0x8: 2, 0xA: 12, 0xB: 2, 0xC: 4, 0xE: 6, 0xF: 4}
NAMES = {
    0x0: "synchronize", 0x1: "abort", 0x2: "flush", 0x3: "external", 0x4: "beam", 0x5: "blank", 0x6: "delay",
    0xA: "region", 0xB: "pixel", 0xC: "run", 0xE: "vector", 0xF: "least",
}  # fmt: skip


def ramp(yx: np.ndarray, dwell_ns: np.ndarray) -> np.ndarray:
    """Codes that tell y, x and nothing else."""
    return np.rint(yx[:, 0] * 16000 + yx[:, 1] * 300)


def specimen(name: str, **options) -> Counts:
    """What the simulated microscope sees under the DACs' full range."""
    from probewise.instrument import SimulatedInstrument
    from probewise.types import Context, ScanPath

    microscope = SimulatedInstrument(name, **options)

    def counts(yx, dwell_ns):
        n = len(yx)
        path = ScanPath(yx, dwell_ns, np.ones(n, dtype=bool), np.zeros(n, dtype=np.int32), (1, 1))
        armed = microscope.arm(path, Context(microscope.fov_nm))
        microscope.start(armed)
        seen = microscope.read_into(armed, np.empty((1, n), dtype=np.float32), timeout_s=60.0)
        return np.clip(np.rint(seen.counts[0]), 0, TOP)

    return counts


@dataclass
class State:
    """Of the hardware, as it is after a reset."""

    raster: bool = False
    answers: bool = True
    external: bool = False
    beam: int = 0
    blanked: bool = True
    blank_with_pixel: bool | None = None
    yx: tuple[int, int] = (0, 0)
    region: tuple[int, ...] | None = None
    pixel: int = 0  # of the region
    since_synchronize: int = 0
    commands: list[tuple] = field(default_factory=list)


class _Ended(Exception):
    pass


class OpenBeamServer:
    """uri; state of the hardware; `scanned`, (y, x, units) arrays of all pixels; `fault`, the next one to come."""

    def __init__(self, counts: Counts = ramp, *, realtime: bool = False) -> None:
        self.counts = counts
        self.realtime = realtime
        self.drip = False  # answers come byte by byte
        self.fault: tuple[FaultKind, int] | None = None  # and after how many samples since a Synchronize
        self.state = State()
        self.scanned: list[np.ndarray] = []
        self.exposed_ns = 0
        self.connections = 0
        self.errors: list[BaseException] = []
        self._held: bytes | None = None
        self._closing = threading.Event()
        self._current: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def beam(self) -> str:
        """What hits the sample: "on" or "blanked" by our commands, or whatever the "microscope" does."""
        if not self.state.external:
            return "microscope"
        return "blanked" if self.state.blanked or self.state.beam != 1 else "on"

    def codes(self) -> np.ndarray:
        """(n, 3) int64 y, x and units of all pixels so far."""
        return np.concatenate(self.scanned) if self.scanned else np.empty((0, 3), dtype=np.int64)

    @property
    def address(self) -> str:
        assert self._listener is not None
        return "{}:{}".format(*self._listener.getsockname())

    @property
    def uri(self) -> str:
        return f"obi://{self.address}"

    def __enter__(self) -> OpenBeamServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._stop_listening()
        self._hang_up(self._current)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        assert not self.errors, self.errors

    def _begin(self, function, *arguments) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop_listening(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @staticmethod
    def _hang_up(connection: socket.socket | None) -> None:
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._hang_up(self._current)
            self._current, self._held = connection, None
            self.state = State()
            self.connections += 1
            self._begin(self._serve, connection, self.state)

    def _serve(self, connection: socket.socket, state: State) -> None:
        try:
            Hardware(self, connection, state).run()
        except (_Ended, OSError):
            pass
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            state.external = False
            self._hang_up(connection)


class Hardware:
    """One connection."""

    def __init__(self, server: OpenBeamServer, connection: socket.socket, state: State) -> None:
        self.server, self.connection, self.state = server, connection, state
        self.data = bytearray()
        self.free_at = time.monotonic()

    def run(self) -> None:
        while True:
            operation, flags = divmod(self._take(1)[0], 16)
            if operation == 0x8:
                (last,) = struct.unpack(">H", self._take(2))
                self._pixels_of(flags, self._take((last + 1) * FIELDS[flags]))
                continue
            payload = self._take(FIELDS[operation])
            if operation in (0xB, 0xC, 0xE, 0xF):
                self._pixels_of(operation, payload)
            else:
                self._command(operation, flags, payload)

    def _take(self, count: int) -> bytes:
        while len(self.data) < count:
            asked = time.monotonic()
            data = self.connection.recv(1 << 16)
            if not data:
                raise _Ended
            if time.monotonic() - asked > IDLE_S:
                self.free_at = max(self.free_at, time.monotonic())  # what was not there yet could not begin
            self.data += data
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    def _command(self, operation: int, flags: int, payload: bytes) -> None:
        state, fields = self.state, struct.unpack(f">{len(payload) // 2}H", payload)
        state.commands.append((NAMES[operation], flags, *fields))
        match operation:
            case 0x0:
                self._synchronize(flags, fields[0])
            case 0x1:
                state.region = None
            case 0x3:
                state.external = bool(flags & 1)
            case 0x4:
                state.beam = flags & 3
            case 0x5 if flags & 2:
                state.blank_with_pixel = bool(flags & 1)
            case 0x5:
                state.blanked = bool(flags & 1)
            case 0x6:
                self._wait(fields[0] / 48e6)
            case 0xA:
                assert state.raster, "a region in vector mode"
                state.region, state.pixel = fields, 0

    def _synchronize(self, flags: int, cookie: int) -> None:
        state, server = self.state, self.server
        wrong = server.fault == ("cookie", 0)
        if wrong:
            server.fault = None
        state.raster, state.answers, state.since_synchronize = bool(flags & 1), flags >> 1 == 0, 0
        held, server._held = server._held, None
        self._send((held or b"") + struct.pack(">HH", 0xFFFF, cookie ^ 1 if wrong else cookie))

    def _pixels_of(self, operation: int, payload: bytes) -> None:
        fields = np.frombuffer(payload, dtype=">u2").astype(np.int64)
        if operation in (0xE, 0xF):
            assert not self.state.raster, "a vector pixel in raster mode"
            rows = fields.reshape(-1, FIELDS[operation] // 2)
            units = rows[:, 2] + 1 if operation == 0xE else np.ones(len(rows), dtype=np.int64)
            self._scan(np.stack([rows[:, 1], rows[:, 0], units], axis=1))
        elif operation == 0xB:
            self._scan(self._of_region(fields + 1))
        else:
            self._scan(self._of_region(np.full(fields[0] + 1, fields[1] + 1)))

    def _of_region(self, units: np.ndarray) -> np.ndarray:
        state = self.state
        assert state.raster
        assert state.region is not None, "raster pixels without a region"
        x_start, x_count, x_step, y_start, y_count, y_step = state.region
        index = state.pixel + np.arange(len(units))
        assert index[-1] < x_count * y_count, "more pixels than the region has"
        state.pixel += len(units)
        row, col = np.divmod(index, x_count)
        return np.stack([y_start + (row * y_step >> 8), x_start + (col * x_step >> 8), units], axis=1)

    def _scan(self, pixels: np.ndarray) -> None:
        assert pixels[:, :2].max() <= TOP
        while len(pixels):
            fault, after = self.server.fault or ("", 0)
            left = after - self.state.since_synchronize
            if not fault or fault == "cookie" or left > len(pixels):
                self._carry_out(pixels)
                return
            self._carry_out(pixels[: max(left, 0)])
            pixels = self._misbehave(pixels[max(left, 0) :])

    def _misbehave(self, pixels: np.ndarray) -> np.ndarray:
        """What is left to be scanned as usual."""
        server = self.server
        (kind, _), server.fault = server.fault, None
        if kind == "gone":
            server._stop_listening()
        if kind in ("cut", "gone"):
            raise _Ended
        if kind == "stall":
            while not server._closing.wait(0.01) and self.state is server.state:
                pass
            raise _Ended
        if kind == "slow":
            self._wait(0.5)
            return pixels
        if kind == "late":
            server._held = b""
            return pixels
        count = {"short": 10, "garbage": 1}[kind]
        self._carry_out(pixels[:count], send=False)
        if kind == "garbage":
            self._send(b"\x7f\xff")
        return pixels[count:]

    def _carry_out(self, pixels: np.ndarray, *, send: bool = True) -> None:
        if not len(pixels):
            return
        state, server = self.state, self.server
        if state.blank_with_pixel is not None:
            state.blanked, state.blank_with_pixel = state.blank_with_pixel, None
        y, x, units = pixels.T
        if server.realtime:
            self._wait(float(units.sum()) * UNIT_NS * 1e-9)
        if server.beam == "on":
            server.exposed_ns += int(units.sum()) * UNIT_NS
        state.yx = (int(y[-1]), int(x[-1]))
        state.since_synchronize += len(pixels)
        server.scanned.append(pixels)
        codes = server.counts(np.stack([y, x], axis=1) / TOP, units * UNIT_NS)
        if server._held is not None:
            server._held += codes.astype(">u2").tobytes()
        elif send and state.answers:
            self._send(codes.astype(">u2").tobytes())

    def _send(self, data: bytes) -> None:
        for piece in (bytes([byte]) for byte in data) if self.server.drip else (data,):
            self.connection.sendall(piece)

    def _wait(self, seconds: float) -> None:
        self.free_at += seconds
        while (left := self.free_at - time.monotonic()) > 0:
            if self.state is not self.server.state:
                raise _Ended
            time.sleep(min(left, 0.05))


class Wire:
    """Bytes in place of a connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.answers = b""

    def recv(self, _: int) -> bytes:
        data, self._data = self._data, b""
        return data

    def sendall(self, data: bytes) -> None:
        self.answers += data


def carried_out(data: bytes) -> tuple[OpenBeamServer, bytes]:
    """What the hardware did after `data`, and its answers. The commands must end where the data do."""
    server, wire = OpenBeamServer(), Wire(data)
    hardware = Hardware(server, wire, server.state)
    with contextlib.suppress(_Ended):
        hardware.run()
    assert not hardware.data, "the data end within a command"
    return server, wire.answers
