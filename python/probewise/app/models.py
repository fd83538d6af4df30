# SPDX-License-Identifier: BSD-3-Clause
"""`probewise models`: what is shipped, and whether a model is what its card says."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from probewise import models
from probewise.errors import ConfigurationError, Error
from probewise.inference import Card, examine_model, load_model

DEADLINE_S = 10.0
_SHOWN_METRICS = 3


def list_models(*, as_json: bool) -> int:
    cards = [Card.load(models.path(name).with_suffix(".json")) for name in models.names()]
    if as_json:
        print(json.dumps([json.loads(card.to_json()) for card in cards]))
        return 0
    if not cards:
        print("no models are shipped with this version")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "classes", "nm/px", "kB", "sha256", "metrics", box=None)
    for card in cards:
        pixel = "any" if card.pixel_nm is None else f"{card.pixel_nm.low:g}-{card.pixel_nm.high:g}"
        size = str(round(card.size_bytes / 1000))
        table.add_row(
            card.name, card.kind, ", ".join(card.classes), pixel, size, card.sha256[:12], _brief(card.metrics)
        )
    Console().print(table)
    return 0


def show(model: str, *, as_json: bool) -> int:
    """The card in full, after its model was checked, loaded and run once."""
    is_path = model.endswith(".onnx")
    examined = examine_model(Path(model) if is_path else models.path(model))
    begun = time.perf_counter()
    loaded = load_model(Path(model) if is_path else model, deadline_s=DEADLINE_S)
    took_ms = (time.perf_counter() - begun) * 1e3
    found = {
        "parameters": examined.parameters,
        "operators": dict(sorted(examined.operators.items())),
        "provider": loaded.provider,
        "load_ms": round(took_ms, 1),
    }
    card = json.loads(loaded.card.to_json())
    if as_json:
        print(json.dumps({**card, **found}))
        return 0
    lines = [*_lines(card), *_lines(found)]
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in lines))
    return 0


def import_atomai(file: Path, out: Path, *, translation_prior: float) -> int:
    try:
        from probewise.convert.atomai import import_atomai
    except ImportError as problem:
        missing = problem.name or "torch"
        raise ConfigurationError(
            f"{missing} is missing, expected the extra train; type: pip install 'probewise[train]'"
        ) from problem
    for path in import_atomai(file, out, translation_prior=translation_prior):
        metrics = Card.load(path.with_suffix(".json")).metrics
        compared = ", ".join(f"{name.replace('_', ' ')} {value:.1g}" for name, value in metrics.items())
        print(f"{path}: {compared}")
        if "difference_from_atomai" not in metrics:
            print(f"{path}: not compared with AtomAI, which is not installed", file=sys.stderr)
    return 0


def state_of_models() -> dict[str, str]:
    """Each shipped model: "ok" when hash and structure are right, or what is wrong."""
    found = {}
    for name in models.names():
        try:
            examine_model(models.path(name))
            found[name] = "ok"
        except Error as problem:
            found[name] = str(problem)
    return found


def _brief(metrics: Mapping[str, Any]) -> str:
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, (int, float))]
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers[:_SHOWN_METRICS])


def _lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value) of every entry."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            for index, entry in enumerate(value):
                yield from _lines(entry, f"{name}[{index}].")
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value)) or "none"
        else:
            yield name, "none" if value is None else str(value)
