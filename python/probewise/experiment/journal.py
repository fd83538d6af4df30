# SPDX-License-Identifier: BSD-3-Clause
"""The journal: one SQLite file in WAL mode, one transaction a step, rows that never change once committed.

`synchronous = NORMAL` survives the death of the process at any moment; against loss of power a thread syncs the
log at most 50 ms after a commit, off the hot path. docs/journal.md describes the tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError, StorageError
from probewise.experiment.durable import Syncer
from probewise.experiment.frames import frame_header, frame_of, scan_arrays, scan_header, scan_of
from probewise.types import Frame, Scan

SCHEMA = 2  # of a run that follows drift; others are written as schema 1, which has no visits
FILE = "run.sqlite"
_DTYPES = frozenset({"<f4", "<f8", "<i1", "<i2", "<i4", "<i8", "<u2", "|b1", "|i1", "|u1"})

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (segment INTEGER PRIMARY KEY, started_utc TEXT NOT NULL, machine TEXT NOT NULL);
CREATE TABLE arrays (id INTEGER PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, crc32 INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE scans (scan INTEGER PRIMARY KEY, header TEXT NOT NULL, arrays TEXT NOT NULL);
CREATE TABLE frames (frame INTEGER PRIMARY KEY, scan INTEGER NOT NULL REFERENCES scans, counts INTEGER NOT NULL
    REFERENCES arrays, header TEXT NOT NULL);
CREATE TABLE surveys (survey INTEGER PRIMARY KEY, frame INTEGER REFERENCES frames, masks TEXT NOT NULL,
    excluded INTEGER NOT NULL REFERENCES arrays, record TEXT NOT NULL);
CREATE TABLE steps (step INTEGER PRIMARY KEY, site INTEGER NOT NULL, state INTEGER NOT NULL, value REAL,
    frame INTEGER REFERENCES frames, plan TEXT NOT NULL, description TEXT NOT NULL, timings TEXT NOT NULL,
    record TEXT NOT NULL);
CREATE TABLE bases (basis INTEGER PRIMARY KEY, step INTEGER NOT NULL, state TEXT NOT NULL, report TEXT NOT NULL);
CREATE TABLE fits (fit INTEGER PRIMARY KEY, step INTEGER NOT NULL, result TEXT NOT NULL);
CREATE TABLE notices (notice INTEGER PRIMARY KEY, step INTEGER, text TEXT NOT NULL);
CREATE TABLE doses (dose INTEGER PRIMARY KEY, step INTEGER NOT NULL, electrons REAL NOT NULL, fluence REAL NOT NULL,
    site INTEGER NOT NULL, state TEXT NOT NULL CHECK (state IN ('reserved', 'committed', 'lost')));
"""
_VISITS = """
CREATE TABLE visits (visit INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, frames TEXT NOT NULL,
    record TEXT NOT NULL);
"""
_FROZEN = ("arrays", "scans", "frames", "surveys", "steps", "bases", "fits")


def _triggers(tables: Sequence[str]) -> str:
    return "".join(
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} rows never change'); END;\n"
        for table in tables
        for verb in ("UPDATE", "DELETE")
    )


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StorageError(f"journal {path}: {error}") from error
    except OSError as error:
        raise StorageError(f"journal {path}: {error.strerror or error}") from error


class Journal:
    """Made by `create` or `open`; closed as a context manager or by `close`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int | None) -> None:
        self.path = path
        self._db = connection
        self._lock = lock
        self._scans: dict[int, int] = {}
        self._syncer = Syncer(path.with_name(path.name + "-wal")) if lock is not None else None

    @classmethod
    def create(cls, directory: Path, meta: dict[str, Any], *, visits: bool = False) -> Journal:
        """A new journal in an existing, empty `directory`; `visits` of a run that follows drift."""
        path = directory / FILE
        with _storage(path), contextlib.ExitStack() as undo:
            lock = _take(directory)
            undo.callback(os.close, lock)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o644))
            db = _connect(path)
            journal = cls(path, db, lock)
            undo.pop_all()
            undo.callback(journal.close)
            with journal.transaction():
                tables = _TABLES + _triggers(_FROZEN)
                if visits:
                    tables += _VISITS + _triggers(("visits",))
                for statement in tables.split(";\n"):
                    if statement.strip():
                        db.execute(statement if "TRIGGER" not in statement else statement + ";")
                for key, value in {"schema": SCHEMA if visits else 1, **meta}.items():
                    db.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            undo.pop_all()
        return journal

    @classmethod
    def open(cls, directory: Path, *, write: bool) -> Journal:
        """An existing journal.

        raises  ConfigurationError where there is none or its schema is newer; StorageError where it is damaged
        """
        path = directory / FILE
        _check_file(path)
        with contextlib.ExitStack() as undo:
            with _storage(path):
                lock = _take(directory) if write else None
                if lock is not None:
                    undo.callback(os.close, lock)
                db = _connect(path) if write else _connect_read_only(path)
                journal = cls(path, db, lock)
            undo.pop_all()
            undo.callback(journal.close)
            journal._check()
            undo.pop_all()
        return journal

    def _check(self) -> None:
        with _storage(self.path):
            known = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "meta" not in known:
                raise StorageError(f"journal {self.path} holds no run")
            schema = self.meta("schema")
            if not isinstance(schema, int) or schema > SCHEMA:
                raise ConfigurationError(
                    f"journal {self.path} has schema {schema}, expected at most {SCHEMA}: it needs a newer probewise"
                )
            verdict = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StorageError(f"journal {self.path} is damaged: {verdict}")

    def verify(self) -> None:
        """Check every stored array against its checksum; StorageError names the first that fails."""
        with _storage(self.path):
            for number, crc, data in self._db.execute("SELECT id, crc32, data FROM arrays"):
                if zlib.crc32(data) != crc:
                    raise StorageError(f"journal {self.path} is damaged: array {number} does not match its checksum")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on return the rows survive the death of the process."""
        if self._syncer is not None:
            self._syncer.check()
        with _storage(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            with contextlib.ExitStack() as undone:
                undone.callback(self._roll_back, dict(self._scans))
                yield
                self._db.execute("COMMIT")
                undone.pop_all()
        if self._syncer is not None:
            self._syncer.committed()

    def _roll_back(self, scans: dict[int, int]) -> None:
        self._scans = scans
        with contextlib.suppress(sqlite3.DatabaseError):  # SQLite may have rolled back already
            self._db.execute("ROLLBACK")

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """One writing statement inside a transaction; the row's id."""
        with _storage(self.path):
            return int(self._db.execute(statement, values).lastrowid or 0)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with _storage(self.path):
            return self._db.execute(statement, values).fetchall()

    def meta(self, key: str) -> Any:
        found = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None

    def set_meta(self, key: str, value: Any) -> None:
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def put_array(self, array: npt.NDArray[Any]) -> int:
        data = np.ascontiguousarray(array)
        if data.dtype.str not in _DTYPES:
            raise TypeError(f"array of dtype {data.dtype} cannot be journalled, expected one of {sorted(_DTYPES)}")
        blob = data.tobytes()
        return self.execute(
            "INSERT INTO arrays (dtype, shape, crc32, data) VALUES (?, ?, ?, ?)",
            (data.dtype.str, json.dumps(array.shape), zlib.crc32(blob), blob),
        )

    def array(self, number: int) -> npt.NDArray[Any]:
        """A stored array, writable, checked against its checksum."""
        found = self.rows("SELECT dtype, shape, crc32, data FROM arrays WHERE id = ?", (number,))
        if not found:
            raise StorageError(f"journal {self.path} is damaged: array {number} is missing")
        dtype, shape, crc, data = found[0]
        if dtype not in _DTYPES or zlib.crc32(data) != crc:
            raise StorageError(f"journal {self.path} is damaged: array {number} does not match its checksum")
        try:
            return np.frombuffer(bytearray(data), dtype=dtype).reshape(json.loads(shape))
        except ValueError as error:
            raise StorageError(f"journal {self.path} is damaged: array {number}: {error}") from error

    def put_tree(self, tree: Any) -> str:
        """JSON of nested tables whose arrays are stored beside."""
        return json.dumps(self._flat(tree))

    def _flat(self, tree: Any) -> Any:
        if isinstance(tree, np.ndarray):
            return {"array": self.put_array(tree)}
        if isinstance(tree, dict):
            return {"table": {str(key): self._flat(value) for key, value in tree.items()}}
        if isinstance(tree, list | tuple):
            return [self._flat(item) for item in tree]
        if isinstance(tree, np.generic):
            return tree.item()
        return tree

    def tree(self, text: str) -> Any:
        return self._deep(json.loads(text))

    def _deep(self, tree: Any) -> Any:
        if isinstance(tree, dict):
            if "array" in tree:
                return self.array(tree["array"])
            return {key: self._deep(value) for key, value in tree["table"].items()}
        if isinstance(tree, list):
            return [self._deep(item) for item in tree]
        return tree

    def put_frame(self, frame: Frame) -> int:
        scan = self._put_scan(frame.scan)
        counts = self.put_array(frame.counts)
        return self.execute(
            "INSERT INTO frames (scan, counts, header) VALUES (?, ?, ?)",
            (scan, counts, json.dumps(frame_header(frame))),
        )

    def frame(self, number: int) -> Frame:
        scan, counts, header = self.rows("SELECT scan, counts, header FROM frames WHERE frame = ?", (number,))[0]
        return frame_of(json.loads(header), self._scan(scan), self.array(counts))

    def _put_scan(self, scan: Scan) -> int:
        """Most frames of a run share one scan: it is stored once."""
        key = scan_header(scan)[1]
        if key not in self._scans:
            arrays = {name: self.put_array(array) for name, array in scan_arrays(scan).items()}
            self._scans[key] = self.execute(
                "INSERT INTO scans (header, arrays) VALUES (?, ?)",
                (json.dumps(scan_header(scan)[0]), json.dumps(arrays)),
            )
        return self._scans[key]

    def _scan(self, number: int) -> Scan:
        header, arrays = self.rows("SELECT header, arrays FROM scans WHERE scan = ?", (number,))[0]
        return scan_of(json.loads(header), {name: self.array(key) for name, key in json.loads(arrays).items()})

    def close(self) -> None:
        """Sync, fold the log into the file and let go. Idempotent."""
        if self._syncer is not None:
            self._syncer.close()
            self._syncer = None
            with contextlib.suppress(sqlite3.DatabaseError):  # the log is valid as it is; the next opener folds it
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take(directory: Path) -> int:
    """Exclusive lock on the run's folder; the system drops it when the process dies."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigurationError(f"{directory} is in use by another process that runs this experiment") from None
    return handle


def _check_file(path: Path) -> None:
    try:
        kind = path.lstat()
    except FileNotFoundError:
        raise ConfigurationError(f"{path.parent} holds no journal ({FILE}), expected the folder of a run") from None
    except OSError as error:
        raise StorageError(f"journal {path}: {error.strerror}") from error
    if not stat.S_ISREG(kind.st_mode):
        raise StorageError(f"journal {path} is not a regular file")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StorageError(f"journal {path}: this file system does not allow SQLite's WAL mode")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Beside a running experiment the log is shared; without a log nobody writes, and nothing is created."""
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=10)
