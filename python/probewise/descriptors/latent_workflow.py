# SPDX-License-Identifier: BSD-3-Clause
"""The unsupervised workflow: patches to latent variables, and one of their columns to a value of the site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from probewise._core import descriptors as _descriptors
from probewise.descriptors.basis import BasisReport, residual_limit
from probewise.descriptors.column_picture import Manifold, columns_picture
from probewise.descriptors.components import Rule
from probewise.descriptors.cut_patches import cut_about_atoms, cut_windows, window_px
from probewise.descriptors.following import Follower, Sense, State, mean_of_finite
from probewise.descriptors.gaps import without_gaps
from probewise.descriptors.latents import LatentEncoder, angle_terms, draw_content
from probewise.descriptors.outliers import Bulk, Bulks, bulks_of
from probewise.inference import LatentLayout, Model
from probewise.inference.card import Rotation
from probewise.types import Atoms, Description, Float32Array, FloatArray, Frame, IntArray

DISCORD, OUTLIER, DENSITY = "angle discord", "outlier", "density"
COUNTED = (OUTLIER, DENSITY)
RULES = ("rare", "max-variance")
LEAST_SITES = 12
_LABEL, _AREA = "label", "area_nm2"
_NEIGHBOURS = 6
_DRAWN = 7  # pictures along each side of the manifold


class LatentWorkflow:
    """Latent variables of patches about the atoms of a frame, or of windows spread over it.

    encoder      a `LatentEncoder`; None for a workflow that is restored and values what was described before
    decoder      that belongs to the encoder, for `picture`
    look         finds the atoms of a frame that patches are cut about, in its pixels; None: windows
    step_px      of the windows, in pixels of the network's grid; None: half a window
    component    "rare": "outlier" of patches about atoms, and of windows a rule among the content, as "max-variance"
                 is; a column's index or name, a callable that is given all columns of all patches (n, columns), or a
                 template: a patch (side, side) float32 scaled as the encoder's are, whose most unusual content is
                 followed
    sense        of `Follower`
    refit_every  sites after which the statistics of the bulk are taken again
    cells        along a side of the frame, for the columns that count patches

    The columns of values are
    "content 0" and so on
    "angle cos", "angle sin"  of symmetry * angle, where the encoder has a rotation
    "angle discord"  1 - |mean of exp(i symmetry angle)| over a patch and its six nearest neighbours of the same label,
                     high at walls and boundaries
    "outlier"        robust Mahalanobis distance of the content from the bulk of all visited patches of the same label
    "density"        patches per nm^2 of the frame
    A site's value is the mean of the followed column, but for "outlier" the number of its patches beyond
    `outlier_limit` per nm^2, and 0 for "outlier" and "density" of a site without patches.
    """

    def __init__(
        self,
        encoder: LatentEncoder | None,
        look: Callable[[Frame], Atoms] | None = None,
        *,
        decoder: Model | None = None,
        step_px: int | None = None,
        component: Rule = "rare",
        sense: Sense = "auto",
        refit_every: int = 20,
        cells: int = 2,
    ) -> None:
        if step_px is not None and step_px < 1:
            raise ValueError(f"step_px is {step_px}, expected at least 1")
        if refit_every < 1:
            raise ValueError(f"refit_every is {refit_every}, expected at least 1")
        if not 1 <= cells <= 16:
            raise ValueError(f"cells is {cells}, expected 1 to 16")
        self._encoder = encoder
        self._layout = None if encoder is None else encoder.layout
        self._made_by = "" if encoder is None else encoder.model.card.sha256
        self._look = look
        self._decoder = decoder
        self._cells = cells
        if isinstance(component, str) and encoder is not None and component not in (*RULES, *self.columns):
            known = ", ".join((*RULES, *self.columns))
            raise ValueError(f"got {component!r}, expected an index, a template or one of {known}")
        self._every_column = callable(component)
        self._step = step_px
        # A few unlike atoms hardly move a mean; a phase is in each of its windows.
        of_atoms = isinstance(component, str) and component == "rare" and look is not None
        self._follower = Follower(OUTLIER if of_atoms else component, sense)
        self._towards = -1.0 if sense == "minimise" else 1.0
        self._refit_every = refit_every
        self._bulk: Bulks | None = None
        self._limit = np.inf
        self._beyond = np.inf

    @property
    def fitted(self) -> bool:
        return self._bulk is not None

    @property
    def least_sites(self) -> int:
        """Start sites wanted before the first fit."""
        return LEAST_SITES

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `values`."""
        layout = self._layout_of()
        turned = () if layout.rotation == "none" else ("angle cos", "angle sin", DISCORD)
        return (*(f"content {i}" for i in range(layout.content)), *turned, OUTLIER, DENSITY)

    @property
    def component(self) -> int:
        """The column that makes the value of a site."""
        self._fit_of()
        return self._follower.column

    @property
    def outlier_limit(self) -> float:
        """Distance beyond which lie one normal patch in 10,000, and no patch of half of the sites.

        Real content is not normal; what the median site holds is nothing rare.
        """
        self._fit_of()
        return self._beyond

    def describe(self, frame: Frame) -> Description:
        """Latent variables of the patches of the frame's first channel.

        raises  ValueError for a non-finite pixel, a frame smaller than a window, pixels outside the card's range, or a
                path that leaves too much of the frame unseen (`without_gaps`)
        """
        card = self._encoder_of().model.card
        frame, notices = without_gaps(frame)
        if self._look is None:
            cut = cut_windows(frame, card, self._step, self._cells)
        else:
            cut = cut_about_atoms(frame, card, self._look, self._cells)
        found = self._described(cut.patches, cut.centre_yx, cut.label, cut.area_nm2)
        return replace(found, notices=notices) if notices else found

    def describe_patches(
        self,
        patches: Float32Array,
        centre_yx: FloatArray,
        *,
        area_nm2: float | FloatArray,
        label: IntArray | None = None,
    ) -> Description:
        """Latent variables of patches that were cut already.

        patches    (n, side_px, side_px) float32, as `LatentEncoder` takes them; none is allowed
        centre_yx  (n, 2) float64, fractions of the frame
        area_nm2   of the part of the frame that patches can come from, or of that part of each of its cells
        label      (n,) int64, kind of atom that each is about; None: all of one kind
        """
        centres = np.asarray(centre_yx, dtype=np.float64)
        if centres.shape != (len(patches), 2) or not np.isfinite(centres).all():
            raise ValueError(f"centre_yx has shape {centres.shape}, expected finite ({len(patches)}, 2), one a patch")
        places = self._cells**2
        area = np.full(places, area_nm2 / places) if np.ndim(area_nm2) == 0 else np.asarray(area_nm2)
        if area.shape != (places,) or not (np.isfinite(area) & (area >= 0)).all() or not area.any():
            raise ValueError(f"area_nm2 is {area_nm2}, expected a positive finite number, or {places} of them")
        kinds = np.zeros(len(patches), dtype=np.int64) if label is None else np.asarray(label)
        if kinds.shape != (len(patches),) or kinds.dtype.kind not in "iu":
            raise ValueError(f"label is {kinds.dtype} of shape {kinds.shape}, expected integers ({len(patches)},)")
        return self._described(patches, centres, kinds.astype(np.int64, copy=False), area)

    def _described(
        self, patches: Float32Array, centres: FloatArray, kinds: IntArray, area_nm2: FloatArray
    ) -> Description:
        latents = self._encoder_of()(patches)
        features = np.concatenate([latents.angle[:, None], latents.shift, latents.z], axis=1)
        extra = {_LABEL: kinds.astype(np.float64), _AREA: area_nm2}
        if self._layout_of().rotation != "none":
            extra[DISCORD] = _descriptors.discord(
                centres, kinds, angle_terms(latents.angle, self._symmetry), _NEIGHBOURS
            )
        return Description(features, centres, extra)

    def fit(self, descriptions: Sequence[Description], *, seed: int = 0) -> BasisReport:
        """Take the statistics of all visited patches and choose the component; the encoder stays as it is.

        descriptions  of all sites visited so far
        seed          unused: nothing is drawn
        raises        ValueError when there are too few patches, or the rule finds no component
        """
        if not descriptions:
            raise ValueError("descriptions is empty, expected at least one visited site")
        notices: list[str] = []
        if len(descriptions) < self.least_sites:
            notices.append(f"statistics of {len(descriptions)} sites, at least {self.least_sites} are advised")
        content = np.concatenate([self._content(description) for description in descriptions])
        first = not self.fitted
        self._bulk = bulks_of(content, np.concatenate([_labels(description) for description in descriptions]))
        k = content.shape[1]
        same = np.full(k, -1) if first else np.arange(k)
        tables = [self._table(description, self._bulk) for description in descriptions]
        ranked = len(self.columns) if self._every_column else k
        notices.extend(
            self._follower.choose(
                self.columns,
                tables,
                ranked,
                previous=np.full(ranked, -1) if first else np.arange(ranked),
                template=self._unusual_in_template,
            )
        )
        left = [self.residual(description) for description in descriptions if len(description.features)]
        self._beyond = max(self._bulk.limit, float(np.median([patches.max() for patches in left])))
        self._limit = residual_limit([float(patches.mean()) for patches in left])
        variance = content.var(axis=0)
        return BasisReport(
            mapping=same,
            similarity=np.zeros(k) if first else np.ones(k),
            component=self._follower.column,
            name=self._follower.name,
            sign=self._follower.sign,
            explained=variance / max(float(variance.sum()), 1e-12),
            residual=float(np.median(np.concatenate(left))),
            notices=tuple(notices),
        )

    def values(self, description: Description) -> FloatArray:
        """All columns of every patch, (patches, columns) float64."""
        return self._table(description, self._fit_of())

    def residual(self, description: Description) -> FloatArray:
        """Distance of each patch from the bulk, (patches,); 0 for a site without patches."""
        if not len(description.features):
            return np.zeros(1)
        return self._fit_of().distance(self._content(description), _labels(description))

    def told(self, description: Description) -> tuple[FloatArray, FloatArray]:
        """Values of the followed column (n,) and their places (n, 2), fractions of the frame: of each patch at its own
        place, or of each cell in its middle where patches are counted.
        """
        self._fit_of()
        if self._follower.name not in COUNTED:
            return self._follower.values(self.values(description)), description.centre_yx
        row, col = np.divmod(np.arange(self._cells**2), self._cells)
        centres = (np.stack([row, col], axis=1) + 0.5) / self._cells
        area = description.extra[_AREA]
        reached = area > 0
        cell = np.minimum((self._counted(description) * self._cells).astype(np.int64), self._cells - 1)
        counts = np.bincount(cell[:, 0] * self._cells + cell[:, 1], minlength=self._cells**2)
        return self._per_area(counts[reached] / area[reached]), centres[reached]

    def value(self, description: Description) -> float:
        """Value of the site, see the class; NaN where a mean is over no patch."""
        self._fit_of()
        if self._follower.name not in COUNTED:
            return mean_of_finite(self._follower.values(self.values(description)))
        counted = np.array([len(self._counted(description)) / sum(description.extra[_AREA].tolist())])
        return float(self._per_area(counted)[0])

    def _counted(self, description: Description) -> FloatArray:
        """(n, 2) places of all patches, or of those beyond the limit."""
        centres = description.centre_yx
        if self._follower.name == OUTLIER and len(centres):
            return centres[self.residual(description) > self._beyond]
        return centres

    def _per_area(self, density: FloatArray) -> FloatArray:
        if self._follower.name == OUTLIER:  # many are high, whatever the skewness of the sites' means
            return np.asarray(self._towards * density)
        return self._follower.signed(density)

    def needs_refit(self, recent: Sequence[FloatArray]) -> bool:
        """Whether statistics should be taken again: `refit_every` sites later, or when the newest site lies farther
        out than every fitted one and five robust standard deviations above their median.

        recent  what `residual` gave for each site measured since the last fit, in order
        """
        if not recent or not self.fitted:
            return False
        return len(recent) >= self._refit_every or float(np.mean(recent[-1])) > self._limit

    def state(self) -> State:
        """All that `restore` needs to give the same values to the bit."""
        bulk, layout = self._fit_of(), self._layout_of()
        return self._follower.state() | {
            "encoder": self._made_by,
            "rotation": layout.rotation,
            "translation": int(layout.translation),
            "content": layout.content,
            "symmetry": layout.symmetry or 0,
            "bulk_labels": bulk.labels,
            "bulk_centre": np.stack([one.centre for one in bulk.each]),
            "bulk_whitening": np.stack([one.whitening for one in bulk.each]),
            "bulk_limit": bulk.limit,
            "outlier_limit": self._beyond,
            "limit": self._limit,
        }

    def restore(self, state: State) -> None:
        """Take over a `state`; ValueError when it belongs to another encoder."""
        made_by = str(state.get("encoder"))
        if self._encoder is not None and made_by != self._made_by:
            raise ValueError(f"state has encoder {made_by[:12]}, expected {self._made_by[:12]}")
        self._made_by = made_by
        content, symmetry = (int(cast(int, state[name])) for name in ("content", "symmetry"))
        rotation = cast(Rotation, str(state["rotation"]))
        self._layout = LatentLayout(rotation, bool(state["translation"]), content, symmetry or None)
        centre, whitening = (np.asarray(state[f"bulk_{name}"], dtype=np.float64) for name in ("centre", "whitening"))
        limit = float(cast(float, state["bulk_limit"]))
        each = tuple(Bulk(*pair, limit) for pair in zip(centre, whitening, strict=True))
        self._bulk = Bulks(np.asarray(state["bulk_labels"], dtype=np.int64), each)
        self._follower.restore(state)
        self._limit = float(cast(float, state["limit"]))
        self._beyond = float(cast(float, state["outlier_limit"]))

    def _content(self, description: Description) -> FloatArray:
        return description.features[:, 3:].astype(np.float64)

    def _table(self, description: Description, bulk: Bulks) -> FloatArray:
        content = self._content(description)
        parts = [content]
        if DISCORD in description.extra:
            parts += [angle_terms(description.features[:, 0], self._symmetry), description.extra[DISCORD][:, None]]
        density = np.full(len(content), len(content) / float(description.extra[_AREA].sum()))
        return np.column_stack([*parts, bulk.distance(content, _labels(description)), density])

    def _unusual_in_template(self, template: np.ndarray[Any, Any]) -> int:
        z = self._encoder_of()(np.ascontiguousarray(template)[None]).z[0].astype(np.float64)
        bulk = self._fit_of().each[0]
        spread = np.sqrt(np.diag(np.linalg.inv(bulk.whitening.T @ bulk.whitening)))
        return int(np.argmax(np.abs(z - bulk.centre) / spread))

    @property
    def _symmetry(self) -> int:
        return self._layout_of().symmetry or 1

    def picture(self, descriptions: Sequence[Description], frames: Sequence[Frame], path: str | Path) -> None:
        """Write a PNG of the columns over the visited sites, on top what the decoder draws; see `columns_picture`."""
        card = self._encoder_of().model.card
        tables = [self.values(description) for description in descriptions]
        content = np.concatenate([self._content(description) for description in descriptions])
        manifold = None if self._decoder is None or content.shape[1] < 2 else _manifold(self._decoder, content)
        pixel = np.array(frames[0].pixel_nm)
        native = pixel if card.pixel_nm is None else np.full(2, card.pixel_nm.native)
        part = window_px(card) * native / (pixel * frames[0].shape)
        columns_picture(
            descriptions, frames, self.columns, tables, (float(part[0]), float(part[1])), path, manifold=manifold
        )

    def _encoder_of(self) -> LatentEncoder:
        if self._encoder is None:
            raise ValueError("the workflow has no encoder, expected one to describe a frame")
        return self._encoder

    def _layout_of(self) -> LatentLayout:
        if self._layout is None:
            raise ValueError("the workflow has no encoder, expected one or restore() first")
        return self._layout

    def _fit_of(self) -> Bulks:
        if self._bulk is None:
            raise ValueError("the workflow has no statistics yet, expected fit() or restore() first")
        return self._bulk


def _manifold(decoder: Model, content: FloatArray) -> Manifold:
    low, high = np.percentile(content[:, :2], (1, 99), axis=0)
    first, second = (np.linspace(low[axis], high[axis], _DRAWN) for axis in (0, 1))
    grid = np.tile(np.median(content, axis=0), (_DRAWN**2, 1))
    grid[:, 0], grid[:, 1] = np.tile(first, _DRAWN), np.repeat(second, _DRAWN)
    drawn = draw_content(decoder, grid)
    return Manifold(drawn.reshape(_DRAWN, _DRAWN, *drawn.shape[1:]), content[:, :2], low, high)


def _labels(description: Description) -> IntArray:
    return description.extra[_LABEL].astype(np.int64)
