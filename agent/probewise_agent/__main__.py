# SPDX-License-Identifier: BSD-3-Clause
"""python -m probewise_agent --driver autoscript --token-file FILE [--bind 127.0.0.1] [--port 7311]

Serves the scan control of the microscope that this computer drives. docs/how-to/instrument-computer.md
"""

from __future__ import annotations

import argparse
import importlib
import ipaddress
import logging
import signal
import sys
from typing import Any, Callable

from probewise_agent.dose import Dose, State, beam_ns
from probewise_agent.driver import Driver, DriverError
from probewise_agent.server import Server, listen, take_precedence
from probewise_agent.tokens import read_token, write_token

DRIVERS = ("autoscript", "pyjem", "digitalmicrograph")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    if not take_precedence():
        logging.info("on a busy computer the beam may go off later: the system grants no precedence")
    try:
        if options.new_token:
            write_token(options.token_file)
        token = read_token(options.token_file)
        make_driver = _driver(options.driver, dict(_pair(text) for text in options.set))
        dose = _dose(options)
        server = Server(
            make_driver,
            token,
            listen((_bind(options), options.port)),
            dose=dose,
            heartbeat_s=options.heartbeat_s,
            lease_s=options.lease_s,
        )
        server.open()
    except (DriverError, ImportError, OSError, TypeError, ValueError) as error:
        print(f"probewise_agent: {error}", file=sys.stderr)
        return 3 if isinstance(error, DriverError) else 2
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP, others no SIGBREAK
        if number is not None:
            signal.signal(number, lambda number, frame: server.stop(f"signal {number}"))
    logging.info("serving %s at %s:%d", options.driver, options.bind, options.port)
    server.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m probewise_agent", description=(__doc__ or "").splitlines()[2])
    parser.add_argument("--driver", required=True, help=f"{', '.join(DRIVERS)}, or MODULE:NAME of your own")
    parser.add_argument("--token-file", required=True, help="the secret, readable by you alone")
    parser.add_argument("--new-token", action="store_true", help="write a new secret into that file first")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--unencrypted", action="store_true", help="needed to listen beyond this computer")
    parser.add_argument("--port", type=int, default=7311)
    parser.add_argument("--heartbeat-s", type=_positive, default=0.18, help="silence after which the beam goes off")
    parser.add_argument("--lease-s", type=_positive, default=30.0, help="silence after which another may take over")
    parser.add_argument("--state-file", help="keeps the dose count and locks the instrument")
    parser.add_argument("--electrons", type=_positive, help="most that may reach the sample in all")
    parser.add_argument("--beam-current-pA", type=_positive, help="to count them with")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="option of the driver")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive and finite")
    return value


def _pair(text: str) -> list[str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--set {text} is no NAME=VALUE")
    return [name, value]


def _bind(options: Any) -> str:
    address: str = "127.0.0.1" if options.bind == "localhost" else options.bind
    if not ipaddress.ip_address(address).is_loopback and not options.unencrypted:
        raise ValueError(
            f"--bind {address} can be reached from other computers and nothing that is sent is encrypted; "
            "add --unencrypted on a network that you trust, or leave it out and use an ssh tunnel"
        )
    return address


def _driver(name: str, options: dict[str, str]) -> Callable[[], Driver]:
    """The maker that a driver's module calls `open_driver`, or MODULE:NAME."""
    module, colon, maker = name.partition(":")
    if not colon:
        if name not in DRIVERS:
            raise ValueError(f"--driver {name} is unknown, expected {', '.join(DRIVERS)} or MODULE:NAME")
        module, maker = f"probewise_agent.{name}", "open_driver"
    made = getattr(importlib.import_module(module), maker)
    return lambda: made(**options)


def _dose(options: Any) -> Dose:
    if (options.electrons is None) != (options.beam_current_pA is None):
        raise ValueError("--electrons and --beam-current-pA belong together")
    budget = None if options.electrons is None else beam_ns(options.electrons, options.beam_current_pA)
    return Dose(budget, State(options.state_file) if options.state_file else None)


if __name__ == "__main__":
    sys.exit(main())
