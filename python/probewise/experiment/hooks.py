# SPDX-License-Identifier: BSD-3-Clause
"""What only Python can give a run: an opened instrument and callables. A configuration keeps their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError
from probewise.experiment.config import Configuration
from probewise.experiment.describer import Scalarize
from probewise.experiment.loading import build
from probewise.experiment.watch import Confirm
from probewise.types import Instrument


@dataclass(frozen=True)
class Hooks:
    instrument: Instrument | None = None
    scalarize: Scalarize | None = None
    component: Any = None
    ask: Callable[..., int] | None = None
    confirm: Confirm | None = None


def with_hooks(
    instrument: Instrument | str | None,
    tables: Mapping[str, Any],
    ask: Callable[..., int] | None,
    confirm: Confirm | None,
) -> tuple[Configuration, Hooks]:
    """Take objects out of nested tables, check what is left, and keep both."""
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{name} is {table!r}, expected a table such as {name}={{...}}")
    plain = {name: dict(table) for name, table in tables.items()}
    scalarize, component = None, None
    measure, chosen = plain.get("measure", {}), plain.get("component", {})
    if callable(measure.get("scalarize")):
        scalarize = measure["scalarize"]
        measure["scalarize"] = getattr(scalarize, "__qualname__", type(scalarize).__name__)
    if callable(chosen.get("by")) or isinstance(chosen.get("by"), np.ndarray):
        component, chosen["by"] = chosen["by"], "callback"
    listed = plain.get("sites", {}).get("list")
    if isinstance(listed, np.ndarray):
        plain["sites"]["list"] = listed.tolist()
    opened = None
    if isinstance(instrument, str):
        plain.setdefault("instrument", {})["uri"] = instrument
    elif instrument is not None:
        opened = instrument
        plain["instrument"] = _named_after(instrument, plain.get("instrument", {}))
    return build(plain), Hooks(opened, scalarize, component, ask, confirm)


def _named_after(instrument: Instrument, table: dict[str, Any]) -> dict[str, Any]:
    """An opened instrument names itself, and says what it knows of its beam."""
    table = {"uri": str(getattr(instrument, "source", f"object:{type(instrument).__name__}")), **table}
    for name in ("fov_nm", "beam_current_pA", "voltage_kV", "realtime"):
        known = getattr(instrument, name, None)
        if known is not None:
            table.setdefault(name, known)
    return table
