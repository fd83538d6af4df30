# SPDX-License-Identifier: BSD-3-Clause
"""From text to a checked configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probewise.errors import ConfigurationError
from probewise.experiment import toml_text
from probewise.experiment.checks import cross_checks
from probewise.experiment.config import Configuration


def load(
    path: str | Path | None = None, sets: Iterable[str] = (), overrides: Mapping[str, Any] | None = None
) -> Configuration:
    """Read a configuration: the file first, then each "table.key=value" (TOML value), then `overrides` by table.

    raises  ConfigurationError, one line that names the field, what came and what was expected
    """
    tables = toml_text.read(Path(path)) if path is not None else {}
    for setting in sets:
        toml_text.put(tables, setting)
    return build(toml_text.merge(tables, overrides or {}))


def build(tables: Mapping[str, Any]) -> Configuration:
    """A checked configuration from nested tables."""
    try:
        configuration = Configuration.model_validate(tables)
    except ValidationError as error:
        known = {name: list(type(table).model_fields) for name, table in Configuration()}
        raise ConfigurationError(toml_text.first_line(error, tables, known)) from None
    for problem in cross_checks(configuration):
        raise ConfigurationError(problem)
    return configuration
