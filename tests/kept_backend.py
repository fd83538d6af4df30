# SPDX-License-Identifier: BSD-3-Clause
"""A backend of "real hardware", the plain driver, whose beam is written to a file that outlives every process."""

import os
from pathlib import Path

from plain_driver import PlainDriver
from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument import from_driver
from probewise.instrument.registry import hardware


def beam_log(path):
    """What PlainDriver calls with every change of its beam: a line of ns and state, in one write."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda now, state: os.write(file, f"{now} {state}\n".encode())


def read_log(path):
    """[(ns, state), ...]"""
    return [(int(line.split()[0]), line.split()[1]) for line in Path(path).read_text().splitlines()]


@hardware
def open_plain(rest, *, log=None, realtime=True, wrong=0):
    if rest == "absent":
        raise InstrumentError("no microscope answers")
    if rest == "odd":
        raise ConfigurationError("wrong units")
    if rest == "broken":
        raise KeyError("vendor")
    return from_driver(
        PlainDriver(realtime=realtime, log=None if log is None else beam_log(log)), source=f"plain:{rest}"
    )


def install(folder, monkeypatch):
    """Make "plain:" a scheme, here and in processes that get this sys.path, with keepers in `folder`."""
    info = folder / "plain-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[probewise.instruments]\nplain = kept_backend:open_plain\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
