# SPDX-License-Identifier: BSD-3-Clause
"""Writes that outlast a loss of power: the log's sync thread and whole-file replacement."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from probewise.errors import StorageError

DELAY_S = 0.04  # with the sync itself inside the promised 50 ms


class Syncer:
    """Syncs a file at most 50 ms after a commit, in a thread of its own, one sync for all commits that wait."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._problem: OSError | None = None
        self._thread = threading.Thread(target=self._work, name="probewise-journal-sync", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        self._dirty.set()

    def check(self) -> None:
        """StorageError when a sync failed: what was committed since may not be on disk."""
        if self._problem is not None:
            raise StorageError(f"journal {self._path} cannot be synced: {self._problem.strerror}")

    def close(self) -> None:
        self._stop.set()
        self._dirty.set()
        self._thread.join()
        if self._problem is None:
            self._sync()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._dirty.wait()
            self._stop.wait(DELAY_S)
            self._dirty.clear()  # before the sync: a commit during it asks for another
            self._sync()

    def _sync(self) -> None:
        # SQLite holds its locks on the database and its index, never on the log: closing a second
        # descriptor of the log drops none of them.
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            self._problem = error
            return
        try:
            os.fsync(handle)
        except OSError as error:
            self._problem = error
        finally:
            os.close(handle)


def replace_text(path: Path, text: str) -> None:
    """Write a whole file so that a reader sees the old or the new one, never a part; StorageError where it cannot."""
    partial = path.with_name(path.name + ".partial")
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
