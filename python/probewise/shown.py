# SPDX-License-Identifier: BSD-3-Clause
"""How an object shows itself: one line of text, a table in a notebook, axes to draw on."""

from __future__ import annotations

import html
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Shown:
    """Gives `repr` and a notebook's table from `_facts`, name: value."""

    @abstractmethod
    def _facts(self) -> Mapping[str, Any]: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return table(type(self).__name__, self._facts())


def table(title: str, facts: Mapping[str, Any]) -> str:
    """A table of two columns, escaped, without style or script of its own."""
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption><tbody>{rows}</tbody></table>"


def axes_or_new(axes: Axes | None) -> Axes:
    """The axes given, else those of a new pyplot figure."""
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.subplots()[1]
