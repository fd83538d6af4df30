# SPDX-License-Identifier: BSD-3-Clause
"""The folder of a run: its default name, and that it is new."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from probewise.errors import ConfigurationError, StorageError

PLACE = Path("probewise-runs")
FREE_BYTES = 64 << 20  # what a short run needs; a longer one is told by its journal when space runs out


def default_name(source: str, seed: int, now: datetime | None = None) -> str:
    """<UTC time>-<source>-<seed>, the source reduced to a-z, 0-9 and "-", at most 40 characters of it."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dt%H%M%Sz")
    reduced = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:40].strip("-")
    return f"{stamp}-{reduced or 'run'}-{seed}"


def make_folder(out: str | Path | None, source: str, seed: int) -> Path:
    """A new, empty folder for a run.

    raises  ConfigurationError when it holds something already, StorageError when it cannot be made or is full
    """
    path = Path(out) if out is not None else PLACE / default_name(source, seed)
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = next(path.iterdir(), None)
    except FileExistsError:
        raise ConfigurationError(f"run.out is {str(path)!r}, a file, expected a new or empty folder") from None
    except OSError as error:
        raise StorageError(f"run.out {str(path)!r} cannot be made: {error.strerror}") from error
    if occupied is not None:
        raise ConfigurationError(f"run.out is {str(path)!r} and holds {occupied.name}, expected a new or empty folder")
    free = shutil.disk_usage(path).free
    if free < FREE_BYTES:
        raise StorageError(f"run.out {str(path)!r} has {free >> 20} MiB free, expected at least {FREE_BYTES >> 20} MiB")
    return path


def vacated(path: Path, *, remove: bool) -> bool:
    """True when a refused run left nothing in its folder, which then goes too if asked for."""
    if any(path.iterdir()):
        return False
    if remove:
        path.rmdir()
    return True
