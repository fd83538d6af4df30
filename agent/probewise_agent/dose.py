# SPDX-License-Identifier: BSD-3-Clause
"""How long the beam was on, counted by whoever holds the hardware: reserved before a command, booked after it.

A state file keeps the count and the last fencing token over restarts and locks the hardware to one server. What is
reserved is written before the beam goes on and counts as spent should this process die.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
import zlib

from probewise_agent.driver import DriverError

RECORD = struct.Struct("<8sQQ")
MAGIC = b"PWstate1"


class DoseSpent(DriverError):
    """The budget does not allow what was asked for."""


class Held(DriverError):
    """Another process serves the instrument."""


class State:
    """The last fencing token and the ns of beam that are spent or reserved, in a locked file."""

    def __init__(self, path: str) -> None:
        """raises  Held when another process has the file, DriverError when its content is damaged"""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._file)
            self._lock(path)
            text = os.read(self._file, 64)
            self.fence, self.beam_ns = (0, 0) if not text else self._parsed(text, path)
            undo.pop_all()

    def _lock(self, path: str) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                os.lseek(self._file, 1 << 20, os.SEEK_SET)  # beyond the record: locked bytes cannot be read there
                msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)
                os.lseek(self._file, 0, os.SEEK_SET)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Held(f"the instrument is served by another process, which holds {path}") from error

    def _parsed(self, text: bytes, path: str) -> tuple[int, int]:
        if len(text) != RECORD.size + 4 or zlib.crc32(text[:-4]) != struct.unpack("<I", text[-4:])[0]:
            raise DriverError(f"{path} is damaged: the beam time that was spent is not known")
        magic, fence, beam_ns = RECORD.unpack(text[:-4])
        if magic != MAGIC:
            raise DriverError(f"{path} is no state file of this version")
        return fence, beam_ns

    def write(self, fence: int, beam_ns: int) -> None:
        self.fence, self.beam_ns = fence, beam_ns
        text = RECORD.pack(MAGIC, fence, beam_ns)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, text + struct.pack("<I", zlib.crc32(text)))

    def close(self) -> None:
        os.close(self._file)


class Dose:
    """Beam-on time against a budget.

    budget_ns  most that may be spent in all, None for no limit
    state      file that keeps the count, None for this process's life
    """

    def __init__(self, budget_ns: int | None = None, state: State | None = None) -> None:
        self.budget_ns = budget_ns
        self.spent_ns = 0 if state is None else state.beam_ns
        self.ahead_ns = 0  # reserved for the interval that the beam is on now
        self.fence = int(time.time()) << 20 if state is None else state.fence
        self._state = state

    def reserve(self, ahead_ns: int) -> bool:
        """Whether the present interval may last `ahead_ns` in all; it may never last less than it was told before."""
        if ahead_ns <= self.ahead_ns:
            return True
        if self.budget_ns is not None and self.spent_ns + ahead_ns > self.budget_ns:
            return False
        self.ahead_ns = ahead_ns
        self._write()
        return True

    def commit(self, used_ns: int) -> None:
        """End the interval: what it used is spent, the rest of what was reserved is free again."""
        self.spent_ns += used_ns
        self.ahead_ns = 0
        self._write()

    def next_fence(self) -> int:
        self.fence += 1
        self._write()
        return self.fence

    def _write(self) -> None:
        if self._state is not None:
            self._state.write(self.fence, self.spent_ns + self.ahead_ns)


def beam_ns(electrons: float, beam_current_pA: float) -> int:
    """How long a beam of that current brings that many electrons."""
    return int(electrons * 1.602176634e-19 / (beam_current_pA * 1e-12) * 1e9)
