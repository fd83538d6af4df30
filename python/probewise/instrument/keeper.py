# SPDX-License-Identifier: BSD-3-Clause
"""The beam keeper: a small process that holds an instrument and takes the beam off when its controller dies or hangs.

`kept.open_kept` starts it as `python -m probewise.instrument.keeper`. What it is to open comes as one line of JSON on
its standard input, what became of it goes out as one line on its standard output; then it serves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probewise.errors import ConfigurationError, Error, InstrumentError
from probewise_agent.dose import Dose, Held, State
from probewise_agent.driver import DriverError
from probewise_agent.server import Address, Server, listen, take_precedence
from probewise_agent.tokens import read_token, write_token

LEASE_S = 30.0
LINGER_S = 0.3
UNIX_PATH = 100  # bytes that the path of a socket may have everywhere
# What a run asks of an instrument beside the verbs.
FACTS = ("source", "fov_nm", "beam_current_pA", "voltage_kV", "saturation", "realtime", "notices")


@dataclass(frozen=True)
class Place:
    """Files of one instrument's keeper, in a folder of the user alone."""

    folder: Path
    name: str

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"


def place_of(uri: str) -> Place:
    """raises  InstrumentError when the folder is not the user's alone"""
    base = os.environ.get("XDG_RUNTIME_DIR")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(base, "probewise") if base else Path(tempfile.gettempdir(), f"probewise-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        state = folder.lstat()
        if state.st_uid != os.getuid() or state.st_mode & 0o077 or folder.is_symlink():
            raise InstrumentError(f"{folder} is not a folder of this user alone, expected mode 0700")
    return Place(folder, hashlib.sha256(uri.encode()).hexdigest()[:16])


def main() -> int:
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the controller
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    take_precedence()
    order = json.loads(sys.stdin.readline())
    sys.path[:] = order["path"]
    place = place_of(order["uri"])
    try:
        state = State(str(place.file("state")))
    except Held:
        _say({"held": True})
        return InstrumentError.exit_code
    except DriverError as error:
        _say({"error": str(error)})
        return InstrumentError.exit_code
    code = _serve(order, place, state)
    state.close()
    return code


def _serve(order: dict[str, Any], place: Place, state: State) -> int:
    facts: dict[str, Any] = {}

    def make_driver() -> Any:
        from probewise.instrument.registry import open_instrument
        from probewise.instrument.served import InstrumentDriver

        instrument = open_instrument(order["uri"], keeper="in-process", **order["options"])
        for name in FACTS:
            value = getattr(instrument, name, None)
            if value is not None:
                facts[name] = value
        return InstrumentDriver(instrument)

    seconds = order["max_beam_s"]
    listener = _listen(place)
    server = Server(
        make_driver,
        read_token(str(place.file("token"))),
        listener,
        dose=Dose(None if seconds is None else int(seconds * 1e9), state),
        heartbeat_s=order["heartbeat_s"],
        lease_s=LEASE_S,
        linger_s=LINGER_S,
    )
    try:
        server.open()
    except Exception as error:  # noqa: BLE001  told to whoever started this
        refused = isinstance(error, ConfigurationError | ValueError | TypeError)
        text = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
        _say({"error": text, "refused": refused})
        return InstrumentError.exit_code
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda number, frame: server.stop(f"signal {number}"))
    _say({"facts": facts})
    server.run()
    if server.left_well:
        state.write(state.fence, 0)  # what a controller that vanished spent is still counted for the next
    for kind in ("address", "socket", "token"):
        place.file(kind).unlink(missing_ok=True)
    return 0


def _listen(place: Place) -> socket.socket:
    """A listening socket, its address and a new token in their files, which the lock on the state keeps to us."""
    for kind in ("address", "socket", "token"):
        place.file(kind).unlink(missing_ok=True)
    write_token(str(place.file("token")))
    path = str(place.file("socket"))
    address: Address = ("127.0.0.1", 0)
    if hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= UNIX_PATH:
        address = path
    listener = listen(address)
    place.file("address").write_text(json.dumps(listener.getsockname()))
    return listener


def _say(what: dict[str, Any]) -> None:
    """The one line, after which nobody reads the standard output any more."""
    print(json.dumps(what), flush=True)
    with contextlib.suppress(OSError):
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # a driver that hangs in a thread of its own holds nobody
