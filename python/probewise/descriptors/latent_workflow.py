# SPDX-License-Identifier: BSD-3-Clause
"""The unsupervised workflow: patches to latent variables, and one of their columns to a value of the site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from probewise._core import image as _image
from probewise.descriptors.basis import BasisReport, residual_limit
from probewise.descriptors.components import Rule
from probewise.descriptors.following import Follower, Sense, State, mean_of_finite
from probewise.descriptors.latents import LatentEncoder, angle_terms
from probewise.descriptors.outliers import Bulk, Bulks, bulks_of
from probewise.descriptors.spectra import spread_corners
from probewise.types import Description, Float32Array, FloatArray, Frame, IntArray

DISCORD, OUTLIER, DENSITY = "angle discord", "outlier", "density"
_LABEL = "label"
_NEIGHBOURS = 6


class LatentWorkflow:
    """Latent variables of patches about atoms (`describe_patches`) or of sliding windows (`describe`).

    encoder      a `LatentEncoder`
    step_px      of the windows, in pixels of the network's grid; None: half a patch
    component    "rare" or "max-variance" among the content, a column's index or name, a callable that is given the
                 content (n, content), or a template: a patch (side, side) float32 scaled as the encoder's are, whose
                 most unusual content is followed
    sense        of `Follower`
    refit_every  sites after which the statistics of the bulk are taken again

    The columns of values are
    "content 0" and so on
    "angle cos", "angle sin"  of symmetry * angle, where the encoder has a rotation
    "angle discord"  1 - |mean of exp(i symmetry angle)| over a patch and its six nearest neighbours of the same label,
                     high at walls and boundaries
    "outlier"        robust Mahalanobis distance of the content from the bulk of all visited patches of the same label
    "density"        patches per nm^2 of the frame, where they were given with an area
    A site's value is the mean of the followed column, but for "outlier" the number of its patches beyond the limit.
    """

    def __init__(
        self,
        encoder: LatentEncoder,
        *,
        step_px: int | None = None,
        component: Rule = "rare",
        sense: Sense = "auto",
        refit_every: int = 20,
    ) -> None:
        if step_px is not None and step_px < 1:
            raise ValueError(f"step_px is {step_px}, expected at least 1")
        if refit_every < 1:
            raise ValueError(f"refit_every is {refit_every}, expected at least 1")
        self._encoder = encoder
        self._step = encoder.side_px // 2 if step_px is None else step_px
        self._follower = Follower(component, sense)
        self._towards = -1.0 if sense == "minimise" else 1.0
        self._refit_every = refit_every
        self._bulk: Bulks | None = None
        self._limit = np.inf

    @property
    def fitted(self) -> bool:
        return self._bulk is not None

    @property
    def least_sites(self) -> int:
        """Start sites wanted before the first fit."""
        return 12

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `values`."""
        layout = self._encoder.layout
        turned = () if layout.rotation == "none" else ("angle cos", "angle sin", DISCORD)
        return (*(f"content {i}" for i in range(layout.content)), *turned, OUTLIER, DENSITY)

    @property
    def component(self) -> int:
        """The column that makes the value of a site."""
        self._fit_of()
        return self._follower.column

    @property
    def outlier_limit(self) -> float:
        """Distance beyond which a patch is an outlier."""
        return self._fit_of().limit

    def describe(self, frame: Frame) -> Description:
        """Latent variables of windows spread over the frame's first channel.

        raises  ValueError for a non-finite pixel, a frame smaller than a window, or pixels outside the card's range
        """
        image = self._on_grid(frame)
        side = self._encoder.side_px
        scaled = np.empty_like(image)
        _image.network_input(image, scaled)
        corners = spread_corners(image.shape, side, self._step)
        centres = corners.astype(np.float64) + side // 2
        patches = np.empty((len(centres), side, side), dtype=np.float32)
        _image.extract_patches(scaled, centres, False, False, patches, np.empty(len(centres), dtype=np.int64))
        return self.describe_patches(patches, (corners + side / 2) / np.array(image.shape, dtype=np.float64))

    def describe_patches(
        self,
        patches: Float32Array,
        centre_yx: FloatArray,
        *,
        label: IntArray | None = None,
        area_nm2: float | None = None,
    ) -> Description:
        """Latent variables of patches that were cut already.

        patches    (n, side_px, side_px) float32, as `LatentEncoder` takes them; none is allowed
        centre_yx  (n, 2) float64, fractions of the frame
        label      (n,) int64, kind of atom that each is about; None: all of one kind
        area_nm2   of the part of the frame that patches can come from; gives the density
        """
        centres = np.asarray(centre_yx, dtype=np.float64)
        if centres.shape != (len(patches), 2) or not np.isfinite(centres).all():
            raise ValueError(f"centre_yx has shape {centres.shape}, expected finite ({len(patches)}, 2), one a patch")
        if area_nm2 is not None and not (np.isfinite(area_nm2) and area_nm2 > 0):
            raise ValueError(f"area_nm2 is {area_nm2}, expected a positive finite number")
        kinds = np.zeros(len(patches), dtype=np.int64) if label is None else np.asarray(label)
        if kinds.shape != (len(patches),) or kinds.dtype.kind not in "iu":
            raise ValueError(f"label is {kinds.dtype} of shape {kinds.shape}, expected integers ({len(patches)},)")
        latents = self._encoder(patches)
        features = np.concatenate([latents.angle[:, None], latents.shift, latents.z], axis=1)
        density = np.nan if area_nm2 is None else len(patches) / area_nm2
        extra = {_LABEL: kinds.astype(np.float64), DENSITY: np.full(len(patches), density)}
        if self._encoder.layout.rotation != "none":
            extra[DISCORD] = _discord(angle_terms(latents.angle, self._symmetry), centres, kinds)
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
        notices.extend(
            self._follower.choose(self.columns, tables, k, previous=same, template=self._unusual_in_template)
        )
        left = [self.residual(description) for description in descriptions if len(description.features)]
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

    def window_values(self, description: Description) -> FloatArray:
        """The followed column of every patch with its sign, (patches,); positions are `description.centre_yx`."""
        table = self.values(description)
        if self._follower.name == OUTLIER:  # far is high, whatever the skewness of the sites' means
            return np.asarray(table[:, self._follower.column] * self._towards)
        return self._follower.values(table)

    def value(self, description: Description) -> float:
        """Value of the site, see the class; NaN where a mean is over no patch."""
        bulk = self._fit_of()
        if self._follower.name == OUTLIER:
            return float(self._towards * np.count_nonzero(self.residual(description) > bulk.limit))
        if self._follower.name == DENSITY and not len(description.features):
            return 0.0
        return mean_of_finite(self.window_values(description))

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
        bulk = self._fit_of()
        return self._follower.state() | {
            "encoder": self._encoder.model.card.sha256,
            "bulk_labels": bulk.labels,
            "bulk_centre": np.stack([one.centre for one in bulk.each]),
            "bulk_whitening": np.stack([one.whitening for one in bulk.each]),
            "bulk_limit": bulk.limit,
            "limit": self._limit,
        }

    def restore(self, state: State) -> None:
        """Take over a `state`; ValueError when it belongs to another encoder."""
        own = self._encoder.model.card.sha256
        if state.get("encoder") != own:
            raise ValueError(f"state has encoder {str(state.get('encoder'))[:12]}, expected {own[:12]}")
        centre, whitening = (np.asarray(state[f"bulk_{name}"], dtype=np.float64) for name in ("centre", "whitening"))
        limit = float(cast(float, state["bulk_limit"]))
        each = tuple(Bulk(*pair, limit) for pair in zip(centre, whitening, strict=True))
        self._bulk = Bulks(np.asarray(state["bulk_labels"], dtype=np.int64), each)
        self._follower.restore(state)
        self._limit = float(cast(float, state["limit"]))

    def _on_grid(self, frame: Frame) -> Float32Array:
        """The frame's first channel on the encoder's pixel size."""
        image = np.ascontiguousarray(frame.image(0))
        if not np.isfinite(image).all():
            raise ValueError("frame holds a non-finite pixel, expected finite counts in every pixel")
        wanted = self._encoder.model.card.pixel_nm
        if wanted is None:
            return image
        if not all(wanted.low <= pixel <= wanted.high for pixel in frame.pixel_nm):
            raise ValueError(
                f"frame has pixels of {frame.pixel_nm} nm, expected {wanted.low:g} to {wanted.high:g} nm for "
                f"{self._encoder.model.card.name}"
            )
        rows, cols = (
            max(1, round(count * pixel / wanted.native))
            for count, pixel in zip(image.shape, frame.pixel_nm, strict=True)
        )
        if (rows, cols) == image.shape:
            return image
        out = np.empty((rows, cols), dtype=np.float32)
        _image.resample(image, out)
        return out

    def _content(self, description: Description) -> FloatArray:
        return description.features[:, 3:].astype(np.float64)

    def _table(self, description: Description, bulk: Bulks) -> FloatArray:
        content = self._content(description)
        parts = [content]
        if DISCORD in description.extra:
            parts += [angle_terms(description.features[:, 0], self._symmetry), description.extra[DISCORD][:, None]]
        return np.column_stack([*parts, bulk.distance(content, _labels(description)), description.extra[DENSITY]])

    def _unusual_in_template(self, template: np.ndarray[Any, Any]) -> int:
        z = self._encoder(np.ascontiguousarray(template)[None]).z[0].astype(np.float64)
        bulk = self._fit_of().each[0]
        spread = np.sqrt(np.diag(np.linalg.inv(bulk.whitening.T @ bulk.whitening)))
        return int(np.argmax(np.abs(z - bulk.centre) / spread))

    @property
    def _symmetry(self) -> int:
        return self._encoder.layout.symmetry or 1

    def _fit_of(self) -> Bulks:
        if self._bulk is None:
            raise ValueError("the workflow has no statistics yet, expected fit() or restore() first")
        return self._bulk


def _labels(description: Description) -> IntArray:
    return description.extra[_LABEL].astype(np.int64)


def _discord(terms: FloatArray, centres: FloatArray, label: IntArray) -> FloatArray:
    """(n,) circular variance of angles given as (cos, sin) over each point and its nearest neighbours of its label."""
    from scipy.spatial import cKDTree

    out = np.zeros(len(terms))
    for kind in np.unique(label):
        own = np.flatnonzero(label == kind)
        near = cKDTree(centres[own]).query(centres[own], k=range(1, min(_NEIGHBOURS + 1, len(own)) + 1))[1]
        out[own] = 1 - np.linalg.norm(terms[own][near].mean(axis=1), axis=1)
    return out
