# SPDX-License-Identifier: BSD-3-Clause
"""The controller's side of the beam keeper: start it, or find that another controller's has the instrument."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from typing import Any

from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument.driven import DrivenInstrument, from_driver
from probewise.instrument.keeper import Place, place_of
from probewise_agent.client import RemoteDriver
from probewise_agent.dose import Held, State
from probewise_agent.driver import DriverError
from probewise_agent.server import Address
from probewise_agent.tokens import read_token

HEARTBEAT_S = 0.18  # silence, with the beam on, after which the keeper takes it off
OPEN_S = 120.0  # what a vendor's connection may take
END_S = 5.0


def open_kept(uri: str, options: dict[str, Any], max_beam_s: float | None = None) -> DrivenInstrument:
    """The instrument that `uri` names, held by a keeper of its own.

    options     of the backend, plain values
    max_beam_s  the beam may be on so long in all, idle time included; then it is off for good
    raises      as the backend does; InstrumentError when another controller has the instrument
    """
    try:
        order = json.dumps(
            {
                "uri": uri,
                "options": options,
                "max_beam_s": max_beam_s,
                "heartbeat_s": HEARTBEAT_S,
                "path": sys.path,
            }
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"an option of {uri} is no plain value ({error}), which a keeper needs; keeper = 'in-process' does not"
        ) from error
    place = place_of(uri)
    process, said = _start(order, place)
    if said.get("held"):
        _ask_to_leave(place, uri)
        process, said = _start(order, place)
    if said.get("held"):
        raise InstrumentError(f"{uri} is in use by another controller")
    if "error" in said:
        kind = ConfigurationError if said.get("refused") else InstrumentError
        raise kind(said["error"])
    try:
        driver = KeptDriver(place, process)
    except (DriverError, OSError, ValueError) as error:
        process.kill()
        process.wait()
        raise InstrumentError(f"the keeper of {uri} cannot be reached: {error}") from error
    kept = from_driver(driver, source=uri)
    for name, value in said["facts"].items():
        setattr(kept, name, tuple(value) if isinstance(value, list) else value)
    return kept


class KeptDriver(RemoteDriver):
    """What a keeper serves; it ends with its controller."""

    def __init__(self, place: Place, process: subprocess.Popen[str]) -> None:
        self.process = process
        super().__init__(_address(place), read_token(str(place.file("token"))))

    def close(self) -> None:
        super().close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise DriverError(f"the keeper, process {self.process.pid}, does not end") from None


def _start(order: str, place: Place) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """The process and what it said; one that does not serve has ended."""
    with place.file("log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "probewise.instrument.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    with stdout:
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(order + "\n")
        reader.start()
        reader.join(OPEN_S)
        if not lines:
            process.kill()
            reader.join()
    said: dict[str, Any] = {"error": f"the keeper ended or hung without a word, see {place.file('log')}"}
    if lines and lines[0]:
        said = json.loads(lines[0])
    if "facts" not in said:
        process.wait()
    return process, said


def _ask_to_leave(place: Place, uri: str) -> None:
    """Take the lease of a controller that is silent, so that its keeper ends; one that lives keeps it."""
    with contextlib.suppress(OSError):  # it is about to end
        try:
            RemoteDriver(_address(place), read_token(str(place.file("token")))).close()
        except DriverError as error:
            if "nobody answers" not in str(error):
                raise InstrumentError(f"{uri} is in use: {error}") from error
    limit = time.monotonic() + END_S
    while True:
        try:
            State(str(place.file("state"))).close()
        except Held as error:
            if time.monotonic() > limit:
                raise InstrumentError(f"{uri} is in use: {error}") from error
            time.sleep(0.02)
        else:
            return


def _address(place: Place) -> Address:
    address = json.loads(place.file("address").read_text())
    if isinstance(address, str):
        return address
    host, port = address
    return (host, port)
