# SPDX-License-Identifier: BSD-3-Clause
"""agent://HOST:PORT, an instrument that is served by the computer it is attached to."""

from __future__ import annotations

import os
from pathlib import Path

from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument.driven import DrivenInstrument, from_driver
from probewise_agent.client import RemoteDriver
from probewise_agent.driver import DriverError
from probewise_agent.messages import host_and_port
from probewise_agent.tokens import checked_token, read_token

TOKEN = "PROBEWISE_AGENT_TOKEN"
TOKEN_FILE = "PROBEWISE_AGENT_TOKEN_FILE"


def open_agent(rest: str, *, token_file: str | None = None) -> DrivenInstrument:
    """Open "agent://HOST:PORT" and take the lease of what is served there.

    token_file  holds the server's secret; left out, the file that PROBEWISE_AGENT_TOKEN_FILE names, or the value of
                PROBEWISE_AGENT_TOKEN
    raises      ConfigurationError for a malformed address or no token; InstrumentError when nobody answers, the token
                is refused or another controller has the instrument
    """
    uri = f"agent:{rest}"
    try:
        if not rest.startswith("//"):
            raise ValueError(f"{rest!r} does not begin with //")
        address = host_and_port(rest[2:].rstrip("/"))
    except ValueError as error:
        raise ConfigurationError(f"instrument.uri is {uri!r}, expected agent://HOST:PORT: {error}") from error
    token = _token(token_file)
    try:
        return from_driver(RemoteDriver(address, token), source=uri)
    except DriverError as error:
        raise InstrumentError(str(error)) from error


def _token(token_file: str | None) -> bytes:
    path = token_file or os.environ.get(TOKEN_FILE)
    try:
        if path is not None:
            return read_token(str(Path(path).expanduser()))
        if TOKEN in os.environ:
            return checked_token(os.environ[TOKEN].encode(), TOKEN)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"instrument.options.token_file: {error}") from error
    raise ConfigurationError(
        f"no token for the instrument's server, expected instrument.options.token_file, {TOKEN_FILE} or {TOKEN}"
    )
