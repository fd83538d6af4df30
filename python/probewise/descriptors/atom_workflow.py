# SPDX-License-Identifier: BSD-3-Clause
"""The supervised workflow: what networks see in a frame, one column of it to a value of the site."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probewise.descriptors.atom_columns import (
    DIRECTIONS,
    OFF_CENTRE,
    RARE_SHARE,
    column_names,
    describe_areas,
    describe_atoms,
)
from probewise.descriptors.basis import BasisReport
from probewise.descriptors.column_picture import columns_picture
from probewise.descriptors.components import Rule, constant_components
from probewise.descriptors.following import Follower, Sense, State, mean_of_finite
from probewise.descriptors.gaps import without_gaps
from probewise.types import Atoms, BoolArray, Description, FloatArray, Frame, IntArray, Segments

PICOMETRES = ("spacing", *OFF_CENTRE)
LEAST_PM = 1.0
LEAST_SHARE = 0.05  # of a cell; what a network is never quite sure of anywhere varies by less
RULES = ("rare", "max-variance")
LEAST_SITES = 12


class AtomWorkflow:
    """Columns of one frame's atoms (`describe_atoms`) and areas (`describe_areas`), one of which is followed.

    look         finds the atoms of a frame, in its pixels
    classes      names of what it tells apart
    survey       finds the areas of a frame; None: no columns of areas
    kinds        names of what that tells apart
    component    "rare" or "max-variance", an index, the name of a column, or a callable that is given the values of all
                 cells (n, columns), NaN replaced by the column's median. For a rule each column is in units of its
                 robust spread over the visited cells, or of what goes for nothing if that is more: one picometre, a
                 twentieth of a cell's area, and of atoms the geometric mean of their mean and largest number in a cell,
                 so that a class that is never there by mistake stands over one that is now and then, and one cell full
                 of them is not all. Not ranked are directions (`DIRECTIONS`), what is known of less than half of the
                 cells, areas that vary by less than a twentieth of a cell, and classes that make up less than
                 `RARE_SHARE` of the atoms, which "defects" takes together
    sense        see `Follower`
    refit_every  sites after which the component is chosen again; only a column that showed nothing before can take the
                 place of the followed one
    cells        along a side of the frame, each with values of its own
    """

    def __init__(
        self,
        look: Callable[[Frame], Atoms],
        classes: tuple[str, ...],
        survey: Callable[[Frame], Segments] | None = None,
        kinds: tuple[str, ...] = (),
        *,
        component: Rule = "rare",
        sense: Sense = "auto",
        refit_every: int = 20,
        cells: int = 2,
    ) -> None:
        if refit_every < 1:
            raise ValueError(f"refit_every is {refit_every}, expected at least 1")
        if not 1 <= cells <= 16:
            raise ValueError(f"cells is {cells}, expected 1 to 16")
        if isinstance(component, np.ndarray):
            raise ValueError("component is a template, expected a rule, a column or a callable: atoms have no picture")
        known = (*column_names(classes), *kinds)
        if isinstance(component, str) and component not in (*RULES, *known):
            raise ValueError(f"got {component!r}, expected a rule, an index or one of {', '.join(known)}")
        self._look, self._survey, self._classes, self._kinds = look, survey, classes, kinds
        self._follower = Follower(component, sense)
        self._refit_every = refit_every
        self._cells = cells
        self._ranks = isinstance(component, str) and component in RULES
        self._alive: BoolArray = np.zeros(0, dtype=bool)

    @property
    def fitted(self) -> bool:
        return self._follower.chosen

    @property
    def least_sites(self) -> int:
        """Start sites wanted before the component is chosen."""
        return LEAST_SITES

    @property
    def columns(self) -> tuple[str, ...]:
        return self._follower.columns

    @property
    def components(self) -> int:
        return len(self._follower.columns)

    @property
    def component(self) -> int:
        return self._follower.column

    def describe(self, frame: Frame) -> Description:
        """See `describe_atoms` and `describe_areas`; what a path left open is filled (`without_gaps`)."""
        frame, notices = without_gaps(frame)
        found = describe_atoms(self._look(frame), frame.shape, frame.pixel_nm, cells=self._cells)
        shares = {} if self._survey is None else describe_areas(self._survey(frame), cells=self._cells)
        return dataclasses.replace(found, extra=found.extra | shares, notices=notices)

    def fit(self, descriptions: Sequence[Description], *, seed: int = 0) -> BasisReport:
        """Choose the column to follow from all visited sites; nothing is random, `seed` changes nothing.

        raises  ValueError when there is no site, or the rule finds no column
        """
        if not descriptions:
            raise ValueError("descriptions is empty, expected at least one visited site")
        columns = tuple(descriptions[0].extra)
        tables = [self.values(description) for description in descriptions]
        table = np.concatenate(tables)
        atoms = float(table[:, columns.index("atoms")].mean())
        scale = np.array([self._scale(name, column, atoms) for name, column in zip(columns, table.T, strict=True)])
        alive = ~constant_components(np.nan_to_num(table)) & (np.isfinite(scale) | _mostly_unknown(table))
        before = self._alive if self._alive.size else np.zeros(len(columns), dtype=bool)
        previous: IntArray = np.where(before, np.arange(len(columns)), -1)
        notices = self._follower.choose(
            columns, tables, len(columns), previous=previous, template=_no_template, scale=scale
        )
        self._alive = before | alive
        return BasisReport(
            mapping=previous,
            similarity=before.astype(np.float64),
            component=self._follower.column,
            name=self._follower.name,
            sign=self._follower.sign,
            explained=np.zeros(len(columns)),
            residual=0.0,
            notices=tuple(notices),
        )

    def values(self, description: Description) -> FloatArray:
        """All columns of every cell, (cells, columns) float64."""
        return np.array(list(description.extra.values())).T

    def window_values(self, description: Description) -> FloatArray:
        """The followed column of every cell with its sign, (cells,)."""
        return self._follower.values(self.values(description))

    def told(self, description: Description) -> tuple[FloatArray, FloatArray]:
        """`window_values` and their places (n, 2), fractions of the frame."""
        return self.window_values(description), description.centre_yx

    def value(self, description: Description) -> float:
        """Value of the site: the mean of `window_values`; NaN cells are left out, NaN when all are."""
        return mean_of_finite(self.window_values(description))

    def residual(self, description: Description) -> FloatArray:
        """Zero: there is no basis that could leave something over."""
        return np.zeros(len(description.centre_yx))

    def needs_refit(self, recent: Sequence[FloatArray]) -> bool:
        """Whether `refit_every` sites came since the component was chosen; `recent` has one entry a site."""
        return self.fitted and len(recent) >= self._refit_every

    def picture(self, descriptions: Sequence[Description], frames: Sequence[Frame], path: str | Path) -> None:
        """Write a PNG of the columns over the visited sites, see `columns_picture`."""
        tables = [self.values(description) for description in descriptions]
        columns_picture(descriptions, frames, self.columns, tables, (1 / self._cells, 1 / self._cells), path)

    def _scale(self, name: str, values: FloatArray, atoms: float) -> float:
        """Unit that a column is ranked in, see the class; infinite for one that is not ranked. atoms: their density."""
        known = values[np.isfinite(values)]
        if not (self._ranks and known.size):
            return 1.0
        if name in DIRECTIONS or _mostly_unknown(values):
            return np.inf
        if name in self._classes and known.mean() < RARE_SHARE * atoms:
            return np.inf
        spread = 1.4826 * float(np.median(np.abs(known - np.median(known))))
        if name in self._kinds:
            return max(spread, LEAST_SHARE) if np.ptp(known) >= LEAST_SHARE else np.inf
        if name in PICOMETRES:
            return max(spread, LEAST_PM)
        return max(spread, float(np.sqrt(known.mean() * known.max()))) or 1.0

    def state(self) -> State:
        """All that `restore` needs to give the same values to the bit."""
        return self._follower.state() | {"alive": self._alive}

    def restore(self, state: State) -> None:
        self._follower.restore(state)
        self._alive = np.asarray(state["alive"], dtype=bool)


def _mostly_unknown(values: FloatArray) -> BoolArray:
    """Whether a column (n,), or each of (n, columns), says nothing of more than half of the cells."""
    return np.asarray(2 * np.isfinite(values).sum(axis=0) < len(values))


def _no_template(template: np.ndarray[Any, Any]) -> int:
    raise ValueError(f"component is a template of shape {template.shape}, expected a column: atoms have no picture")
