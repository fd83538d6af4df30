# SPDX-License-Identifier: BSD-3-Clause
"""Reading a model's files: one regular file, opened once, no link followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from probewise.errors import ConfigurationError, ModelError


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """All of one regular file of at most `limit_bytes`.

    raises  ConfigurationError when there is no such file, ModelError when it is a link, a folder, a pipe or too large
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as problem:
        raise ConfigurationError(f"{path}: no such file") from problem
    except (OSError, ValueError) as problem:
        link = isinstance(problem, OSError) and problem.errno == errno.ELOOP
        what = "a symbolic link" if link else getattr(problem, "strerror", None) or problem
        raise ModelError(f"{path}: got {what}, expected a regular file that can be read") from problem
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path}: got a folder, pipe or device, expected a regular file")
        if found.st_size > limit_bytes:
            raise ModelError(f"{path}: got {found.st_size} bytes, expected at most {limit_bytes}")
        pieces, left = [], limit_bytes + 1
        while left and (piece := os.read(descriptor, min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(descriptor)
    if not left:
        raise ModelError(f"{path}: grew past {limit_bytes} bytes while it was read")
    return b"".join(pieces)
