# SPDX-License-Identifier: BSD-3-Clause
"""Which column of a workflow's values is followed, and what counts as high in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from probewise.descriptors.components import Rule, orientation, select_component
from probewise.types import FloatArray, IntArray

Sense = Literal["auto", "maximise", "minimise", "deviation"]
SENSES: tuple[Sense, ...] = ("auto", "maximise", "minimise", "deviation")
State: TypeAlias = "dict[str, np.ndarray[Any, Any] | str | int | float]"


class Follower:
    """Chooses a column by a rule and keeps its meaning from one basis to the next.

    rule   "rare" or "max-variance" (`select_component`), a column's index or name, a callable that is given the
           window values (n, components), or a template array, which the workflow turns into a column
    sense  what is high: "maximise" or "minimise" the column, "deviation" from its median over the fitted windows, or
           "auto": the sign with which the sites' means have positive skewness, so that the rare ones are high
    """

    def __init__(self, rule: Rule, sense: Sense) -> None:
        if sense not in SENSES:
            raise ValueError(f"sense is {sense!r}, expected one of {SENSES}")
        self._rule = rule
        self._sense: Sense = sense
        self._column = -1
        self._sign = 1.0
        self._centre = 0.0
        self._columns: tuple[str, ...] = ()

    @property
    def chosen(self) -> bool:
        return self._column >= 0

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def column(self) -> int:
        return self._column

    @property
    def name(self) -> str:
        return self._columns[self._column]

    @property
    def sign(self) -> float:
        return self._sign

    def choose(
        self,
        columns: tuple[str, ...],
        tables: Sequence[FloatArray],
        ranked: int,
        *,
        previous: IntArray,
        template: Callable[[np.ndarray[Any, Any]], int],
        scale: FloatArray | None = None,
    ) -> list[str]:
        """Choose anew after a fit; returns notices.

        columns   names of the values' columns
        tables    for each visited site its values (windows, columns)
        ranked    the first so many columns are what rules and callables choose from
        previous  (ranked,) column that each of them was before the fit, -1 for a new one
        template  gives the column that resembles a template
        scale     (ranked,) unit of each column, where columns of different units are ranked; NaN values are ranked as
                  the column's median
        raises    ValueError when the rule finds no column, or the column has no finite value
        """
        before = self._column
        table = np.concatenate([values[:, :ranked] for values in tables])
        if scale is not None:
            table = _comparable(table, scale)
        self._columns = columns
        column = self._choice(table, previous, template)
        notices = []
        same = column == before and (column >= ranked or previous[column] == column)
        if before >= 0 and not same:
            notices.append(f"the followed column is now {columns[column]!r}")
        self._column = column
        followed = [values[:, column] for values in tables]
        finite = [windows[np.isfinite(windows)] for windows in followed]
        every = np.concatenate(finite)
        if not every.size:
            raise ValueError(f"column {columns[column]!r} has no finite value at the visited sites")
        if not np.ptp(every) > 1e-12 * np.abs(every).max():
            notices.append(f"column {columns[column]!r} is constant over the visited sites")
        self._centre = float(np.median(every))
        if not same:
            # The sign is that of the sites' means: single windows at an edge or a wall may lie far out on the other
            # side.
            means = np.array([windows.mean() for windows in finite if windows.size])
            self._sign = {"maximise": 1.0, "minimise": -1.0}.get(self._sense, orientation(means))
        return notices

    def _choice(self, table: FloatArray, previous: IntArray, template: Callable[[np.ndarray[Any, Any]], int]) -> int:
        rule, ranked, before = self._rule, table.shape[1], self._column
        lives = 0 <= before < ranked and previous[before] == before
        if isinstance(rule, str) and rule in self._columns:
            return self._columns.index(rule)
        if callable(rule) and lives:
            return before  # a person is not asked again while the component lives on
        if isinstance(rule, (int, np.integer)) and not isinstance(rule, bool) and rule >= ranked:
            if rule >= len(self._columns):
                raise ValueError(f"component is {rule}, expected 0 to {len(self._columns) - 1}: {self._columns}")
            return int(rule)
        if isinstance(rule, np.ndarray):
            return template(rule)
        if isinstance(rule, str) and lives:
            # Visited sites are chosen for their values: among them the rare phase is rare no longer, and a rule over
            # all columns would drop it. Only a component that is new since may take the place of a living one.
            rivals = np.flatnonzero((previous < 0) | (np.arange(ranked) == before))
            return int(rivals[select_component(np.ascontiguousarray(table[:, rivals]), rule)])
        return select_component(table, rule)

    def values(self, table: FloatArray) -> FloatArray:
        """The followed column of (windows, columns) with its sign, (windows,)."""
        return self.signed(table[:, self._column])

    def signed(self, column: FloatArray) -> FloatArray:
        """Values of the followed column so that what is high in it is high."""
        if self._sense == "deviation":
            return np.asarray(np.abs(column - self._centre))
        return np.asarray(column * self._sign)

    def state(self) -> State:
        return {
            "column": self._column,
            "columns": "\n".join(self._columns),
            "sign": self._sign,
            "centre": self._centre,
        }

    def restore(self, state: State) -> None:
        self._column = int(cast(int, state["column"]))
        self._columns = tuple(str(state["columns"]).split("\n"))
        self._sign = float(cast(float, state["sign"]))
        self._centre = float(cast(float, state["centre"]))


def _comparable(table: FloatArray, scale: FloatArray) -> FloatArray:
    known = np.isfinite(table)
    middle = np.array(
        [np.median(column[has]) if has.any() else 0.0 for column, has in zip(table.T, known.T, strict=True)]
    )
    return np.asarray(np.where(known, table, middle) / scale)


def mean_of_finite(values: FloatArray) -> float:
    """Value of a site from those of its windows: NaN windows are left out, NaN when all are."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
