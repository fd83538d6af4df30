# SPDX-License-Identifier: BSD-3-Clause
"""Options of a driver from the texts of a command line."""

from __future__ import annotations

import json
from typing import Any


def values_of(texts: dict[str, str]) -> dict[str, Any]:
    """JSON where a text is JSON (numbers, lists), the text itself otherwise."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values
