# SPDX-License-Identifier: BSD-3-Clause
"""The secret that a controller has to know: at least 128 bits, in a file that its owner alone can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

LEAST_BYTES = 16
MOST_BYTES = 1024


def read_token(path: str) -> bytes:
    """The token in a file, without white space at its ends.

    raises  ValueError for one too short or a file that others may read, OSError for one that cannot be read
    """
    with Path(path).open("rb") as file:
        if os.name == "posix":
            state = os.fstat(file.fileno())
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ValueError(f"token file {path} can be read by others, expected mode 0600")
            if state.st_uid != os.geteuid():
                raise ValueError(f"token file {path} belongs to another user")
        return checked_token(file.read(MOST_BYTES + 1), f"token file {path}")


def checked_token(token: bytes, name: str) -> bytes:
    """raises  ValueError, which never holds the token, naming where it came from"""
    token = token.strip()
    if not LEAST_BYTES <= len(token) <= MOST_BYTES:
        raise ValueError(f"{name} holds {len(token)} bytes, expected {LEAST_BYTES} to {MOST_BYTES}")
    return token


def write_token(path: str) -> None:
    """A new token of 256 bits in a new file.

    raises  FileExistsError
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
