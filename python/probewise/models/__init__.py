# SPDX-License-Identifier: BSD-3-Clause
"""The models that come with the package: NAME.onnx and its card NAME.json, in this folder."""

from __future__ import annotations

from pathlib import Path

from probewise.errors import ConfigurationError

_HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the shipped models, in alphabetical order."""
    return tuple(sorted(card.stem for card in _HERE.glob("*.json")))


def path(name: str) -> Path:
    """The .onnx file of a shipped model; ConfigurationError lists the names there are."""
    if name not in names():
        known = ", ".join(names()) or "none"
        raise ConfigurationError(f"model is {name!r}, expected a shipped one ({known}) or the path of a .onnx file")
    return _HERE / f"{name}.onnx"
