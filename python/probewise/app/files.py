# SPDX-License-Identifier: BSD-3-Clause
"""Writing files that a reader sees whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from probewise.errors import StorageError


def replace_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour of `path`, flush it to disk and move it into place.

    raises  StorageError naming the path when the folder or the disk refuses
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as problem:
        raise StorageError(f"{path}: got {_reason(problem)}, expected a writable place") from problem
    finally:
        temporary.unlink(missing_ok=True)


def _reason(problem: OSError) -> str:
    """The system's own word: HDF5 puts its internals into the text of the error."""
    return os.strerror(problem.errno) if problem.errno else str(problem)


def write_atomically(path: Path, content: bytes) -> None:
    replace_with(path, lambda temporary: _fill(temporary, content))


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
