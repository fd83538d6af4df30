# SPDX-License-Identifier: BSD-3-Clause
"""`python -m probewise.instrument.conformance URI`: exit 0 when nothing failed, 3 when something did, 2 for usage."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from typing import Any

from probewise.errors import ConfigurationError, Error, InstrumentError
from probewise.instrument.conformance.result import Result
from probewise.instrument.conformance.suite import check
from probewise.instrument.registry import open_instrument

COLOUR = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        options = dict(_option(text) for text in asked.option)
        shows = None
        if asked.shows is not None:
            from probewise.instrument.readers import read_picture

            shows = read_picture(asked.shows).data
        instrument = open_instrument(asked.uri, **options)
        results = check(instrument, fov_nm=asked.fov_nm, shows=shows, only=asked.only)
    except Error as error:
        print(f"probewise: {error}", file=sys.stderr)
        return error.exit_code
    except (TypeError, ValueError) as error:  # an option out of range
        print(f"probewise: {error}", file=sys.stderr)
        return ConfigurationError.exit_code
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in COLOUR}
    if asked.json:
        found = [{"name": r.name, "outcome": r.outcome, "sentence": r.sentence} for r in results]
        print(json.dumps({"uri": asked.uri, "results": found, **{k.replace(" ", "_"): v for k, v in counts.items()}}))
    else:
        _show(results)
        print(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return InstrumentError.exit_code if counts["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m probewise.instrument.conformance",
        description="Ask an instrument whether its driver keeps what the eight verbs promise. It scans the sample.",
    )
    parser.add_argument("uri", metavar="URI", help="the instrument, such as simulated:graphene")
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="an option of the backend; repeatable"
    )
    parser.add_argument("--fov-nm", metavar="NM", type=float, help="side of the survey field, where it is not known")
    parser.add_argument("--shows", metavar="FILE", help="a picture of what the survey field holds")
    parser.add_argument("--only", metavar="NAME", action="append", help="a check by its name; repeatable")
    parser.add_argument("--json", action="store_true", help="print the results as one line of JSON")
    return parser


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--option is {text!r}, expected KEY=VALUE")
    try:
        return key.replace("-", "_"), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.replace("-", "_"), value  # a bare word


def _show(results: Sequence[Result]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("check", "outcome", "what came", box=None)
        for result in results:
            table.add_row(result.name, Text(result.outcome, COLOUR[result.outcome]), Text(result.sentence))
        Console().print(table)
        return
    width = max(len(result.name) for result in results)
    for result in results:
        print(f"{result.name:{width}}  {result.outcome:14}  {result.sentence}")


if __name__ == "__main__":
    sys.exit(main())
