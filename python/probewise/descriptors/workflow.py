# SPDX-License-Identifier: BSD-3-Clause
"""The linear workflow: frames to spectra, spectra to components, one component to a value of the site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from probewise.descriptors.basis import BasisReport, match_columns, residual_limit
from probewise.descriptors.components import Rule, select_component
from probewise.descriptors.features import FrameSpectra
from probewise.descriptors.following import Follower, Sense, State, mean_of_finite
from probewise.descriptors.spectra import CONVENTIONS, Convention
from probewise.descriptors.unmixing import METHODS, Method, Unmixing
from probewise.types import Description, FloatArray, Frame


class LinearWorkflow:
    """Sliding-window spectra, a linear basis fitted to the visited sites, and one column of values to follow.

    window_px    side of a window, even; None: 2.56 nm (128 px at 0.02 nm), at most the frame
    step_px      about this from window to window, spread evenly from edge to edge; None: half a window
    components   of the basis
    method       of `Unmixing`
    convention   of `sliding_spectra`
    component    "rare" or "max-variance" (`select_component`), a column's index or name, a callable that is given the
                 window values (n, components), a template: the spectrum (f,) that the component should resemble, or a
                 picture (window_px, window_px) float32 of it
    sense        what is high: "maximise" or "minimise" the column, "deviation" from its median over the fitted
                 windows, or "auto": the sign with which the sites' means have positive skewness, so that the rare
                 ones are high
    refit_every  sites after which the basis is fitted again

    The columns of values are the components and, after them, values of their own: "residual", "intensity",
    "spacing_nm", "spacing_1_nm", "spacing_2_nm" (see `FrameSpectra`). A spacing is NaN where a window shows no such
    peak or two lattices meet in it.
    """

    def __init__(
        self,
        *,
        window_px: int | None = None,
        step_px: int | None = None,
        components: int = 4,
        method: Method = "nmf",
        convention: Convention = "hamming",
        component: Rule = "rare",
        sense: Sense = "auto",
        refit_every: int = 20,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}, expected one of {METHODS}")
        if convention not in CONVENTIONS:
            raise ValueError(f"convention is {convention!r}, expected one of {CONVENTIONS}")
        if refit_every < 1:
            raise ValueError(f"refit_every is {refit_every}, expected at least 1")
        self._spectra = FrameSpectra(window_px, step_px, convention)
        self._unmixing = Unmixing(method, components)
        self._follower = Follower(component, sense)
        self._refit_every = refit_every
        self._limit = np.inf

    @property
    def fitted(self) -> bool:
        return self._follower.chosen

    @property
    def least_sites(self) -> int:
        """Start sites wanted before the first fit: max(3 x components, 12)."""
        return max(3 * self._unmixing.components, 12)

    @property
    def components(self) -> int:
        """Components of the basis; fewer than asked when some came out empty."""
        return len(self._unmixing.basis) if self._unmixing.fitted else self._unmixing.components

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `values`."""
        return self._follower.columns

    @property
    def component(self) -> int:
        """The column that makes the value of a site."""
        self._require_fit()
        return self._follower.column

    @property
    def explained(self) -> FloatArray:
        """(components,) float64, see `Unmixing`."""
        self._require_fit()
        return self._unmixing.explained

    @property
    def window_px(self) -> int:
        """Side of a window; 0 until the first frame when it was not given."""
        return self._spectra.window_px

    @property
    def step_px(self) -> int:
        """Step of the windows; 0 until the first frame when it was not given."""
        return self._spectra.step_px

    @property
    def basis(self) -> FloatArray:
        """(components, f) float64."""
        self._require_fit()
        return self._unmixing.basis

    def basis_spectra(self) -> FloatArray:
        """The basis as pictures of the half spectrum, (components, rows, cols), frequency (0, 0) in the middle left."""
        self._require_fit()
        return self._spectra.as_pictures(self._unmixing.basis)

    def describe(self, frame: Frame) -> Description:
        """Spectra and values of their own of every window of the frame's first channel.

        raises  ValueError for a frame smaller than a window, a non-finite pixel, or another shape or pixel size than
                the first frame's
        """
        return self._spectra.describe(frame)

    def fit(self, descriptions: Sequence[Description], *, seed: int = 0) -> BasisReport:
        """Fit the basis to all visited sites, keep the meaning of the columns, and choose the component.

        descriptions  of all sites visited so far; fewer than `least_sites` is allowed and noted
        seed          of the random part of the NMF start
        raises        ValueError when there is none, or the chosen rule finds no component
        """
        if not descriptions:
            raise ValueError("descriptions is empty, expected at least one visited site")
        notices: list[str] = []
        if len(descriptions) < self.least_sites:
            notices.append(f"basis fitted to {len(descriptions)} sites, at least {self.least_sites} are advised")
        spectra = np.concatenate([description.features for description in descriptions])
        unmixing = Unmixing(self._unmixing.method, self._unmixing.components, seed=seed).fit(spectra)
        notices.extend(unmixing.notices)
        fresh = np.concatenate([unmixing.transform(description.features) for description in descriptions])
        if self.fitted:
            previous = np.concatenate([self._unmixing.transform(d.features) for d in descriptions])
            mapping, similarity = match_columns(previous, fresh, signed=unmixing.method in ("pca", "svd"))
            unmixing.reorder(mapping.order, mapping.signs)
            fresh = fresh[:, mapping.order] * mapping.signs
            kept = mapping.previous
        else:
            kept, similarity = np.full(fresh.shape[1], -1), np.zeros(fresh.shape[1])
        self._unmixing = unmixing
        columns = (*(f"component {i}" for i in range(fresh.shape[1])), "residual", *descriptions[0].extra)
        tables = [self._table(description) for description in descriptions]
        notices.extend(
            self._follower.choose(columns, tables, fresh.shape[1], previous=kept, template=self._like_template)
        )
        left = [values[:, fresh.shape[1]] for values in tables]
        self._limit = residual_limit([float(windows.mean()) for windows in left])
        return BasisReport(
            mapping=kept,
            similarity=similarity,
            component=self._follower.column,
            name=self._follower.name,
            sign=self._follower.sign,
            explained=unmixing.explained,
            residual=float(np.median(np.concatenate(left))),
            notices=tuple(notices),
        )

    def values(self, description: Description) -> FloatArray:
        """All columns of every window, (windows, columns) float64."""
        self._require_fit()
        return self._table(description)

    def residual(self, description: Description) -> FloatArray:
        """What the basis leaves over of each window's spectrum, relative, (windows,): high where a phase is unknown."""
        self._require_fit()
        return self._unmixing.residual(description.features)

    def window_values(self, description: Description) -> FloatArray:
        """The followed column of every window with its sign, (windows,); positions are `description.centre_yx`."""
        return self._follower.values(self.values(description))

    def told(self, description: Description) -> tuple[FloatArray, FloatArray]:
        """`window_values` and their places (n, 2), fractions of the frame."""
        return self.window_values(description), description.centre_yx

    def value(self, description: Description) -> float:
        """Value of the site: the mean of `window_values`; NaN windows are left out, NaN when all are."""
        return mean_of_finite(self.window_values(description))

    def needs_refit(self, recent: Sequence[FloatArray]) -> bool:
        """Whether the basis should be fitted again.

        recent   what `residual` gave for each site measured since the last fit, in order
        returns  True when `refit_every` sites came, or when the newest site shows an unknown phase: its mean residual
                 lies above that of every fitted site and five robust standard deviations above their median
        """
        if not recent or not self.fitted:
            return False
        return len(recent) >= self._refit_every or float(np.mean(recent[-1])) > self._limit

    def state(self) -> State:
        """All that `restore` needs to give the same values to the bit; plain arrays, strings and numbers."""
        self._require_fit()
        state: State = {f"basis.{name}": value for name, value in self._unmixing.state().items()}
        state |= {f"spectra.{name}": value for name, value in self._spectra.state().items()}
        return state | self._follower.state() | {"limit": self._limit}

    def restore(self, state: State) -> None:
        """Take over a `state`; ValueError when it belongs to another method or convention."""
        basis = {name[6:]: value for name, value in state.items() if name.startswith("basis.")}
        if basis.get("method") != self._unmixing.method:
            raise ValueError(f"state has method {basis.get('method')!r}, expected {self._unmixing.method!r}")
        self._spectra.restore({name[8:]: value for name, value in state.items() if name.startswith("spectra.")})
        self._unmixing = Unmixing.restore(basis)
        self._follower.restore(state)
        self._limit = float(cast(float, state["limit"]))

    def _table(self, description: Description) -> FloatArray:
        values, residual = self._unmixing.transform_with_residual(description.features)
        return np.column_stack([values, residual, *description.extra.values()])

    def _like_template(self, template: np.ndarray[Any, Any]) -> int:
        spectrum = self._spectra.template(template)
        return select_component(np.ascontiguousarray(self._unmixing.basis.T), spectrum)

    def _require_fit(self) -> None:
        if not self.fitted and not self._unmixing.fitted:
            raise ValueError("the workflow has no basis yet, expected fit() or restore() first")
