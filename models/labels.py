# SPDX-License-Identifier: BSD-3-Clause
"""Class maps of scanned positions from the truth of a simulated specimen.

Lines (walls, grain boundaries) are drawn `LINE_NM` wide. A wall is a place where the projected polarisation turns:
walls between domains of one projection are not drawn. Amorphous is where carbon makes most of the signal: support
films, and contamination on graphene; on the heavier specimens the lattice under contamination stays the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from probewise.types import BoolArray, FloatArray, Truth

CLASSES = ("crystal", "pillar", "wall", "grain boundary", "particle", "junction", "vacuum", "amorphous")
UNKNOWN = -1
LINE_NM = 2.0  # full width; a wall's displacement changes as tanh(distance / 0.6 nm)
CONTAMINATION_EDGE_NM = 2.0 * math.sqrt(math.log(2))  # half thickness: it falls off as exp(-(distance / 2 nm)^2)

_STEP_NM = 0.1
_MARGIN_NM = 4.0
_SMOOTH_NM = 0.3  # takes the steps of the class map's 0.5 nm pixels off edges
_OBJECT_CLASS = {
    "pillar": "pillar",
    "junction": "junction",
    "90 degree wall": "wall",
    "180 degree wall": "wall",
    "boundary segment": "grain boundary",
}


@dataclass(frozen=True, eq=False)
class _Box:
    """A fine grid over a part of the survey field: `origin` is its corner, `shape` its pixels of _STEP_NM."""

    truth: Truth
    origin: FloatArray
    shape: tuple[int, int]

    @classmethod
    def around(cls, truth: Truth, yx_nm: FloatArray) -> _Box:
        low = yx_nm.reshape(-1, 2).min(axis=0) - _MARGIN_NM
        high = yx_nm.reshape(-1, 2).max(axis=0) + _MARGIN_NM
        rows, cols = np.ceil((high - low) / _STEP_NM).astype(int)
        return cls(truth, low, (int(rows), int(cols)))

    def labels(self) -> npt.NDArray[np.int16]:
        """The truth's class map at every fine pixel; the nearest one outside the field."""
        rows, cols = (
            np.clip(((at + (np.arange(count) + 0.5) * _STEP_NM) / self.truth.label_nm).astype(int), 0, size - 1)
            for at, count, size in zip(self.origin, self.shape, self.truth.labels.shape, strict=True)
        )
        return np.asarray(self.truth.labels[np.ix_(rows, cols)])

    def near(self, points_nm: FloatArray, reach_nm: float) -> BoolArray:
        """Fine pixels within `reach_nm` of any of the points (n, 2)."""
        index = np.floor((points_nm - self.origin) / _STEP_NM).astype(int)
        index = index[((index >= 0) & (index < self.shape)).all(axis=1)]
        marked = np.zeros(self.shape, dtype=bool)
        marked[index[:, 0], index[:, 1]] = True
        return within(marked, reach_nm / _STEP_NM)

    def at(self, values: npt.NDArray[np.int8], yx_nm: FloatArray) -> npt.NDArray[np.int8]:
        rows, cols = np.moveaxis(np.floor((yx_nm - self.origin) / _STEP_NM).astype(int), -1, 0)
        return np.asarray(values[rows, cols])


def within(marked: BoolArray, reach_px: float) -> BoolArray:
    """Pixels at most `reach_px` away from a marked one."""
    if not marked.any():
        return np.zeros(marked.shape, dtype=bool)
    return np.asarray(ndimage.distance_transform_edt(~marked) <= reach_px)


def _smooth(mask: BoolArray) -> BoolArray:
    if not mask.any():
        return mask
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), _SMOOTH_NM / _STEP_NM) > 0.5)


def _points(truth: Truth, wanted: str) -> FloatArray:
    """Samples of all objects of one class, lines filled in to steps of at most 0.2 nm."""
    parts = [np.empty((0, 2))]
    for thing in truth.objects:
        if _OBJECT_CLASS.get(thing.kind) == wanted:
            parts.append(thing.samples_nm)
            if wanted in ("wall", "grain boundary"):
                parts += [
                    thing.samples_nm[:-1] * (1 - share) + thing.samples_nm[1:] * share for share in (0.25, 0.5, 0.75)
                ]
    return np.concatenate(parts)


def _domain(labels: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.intp], BoolArray]:
    """The projected domain at every fine pixel, its borders made smooth; and where the map names no domain."""
    share = np.stack([ndimage.gaussian_filter((labels == k).astype(np.float32), 5.0) for k in range(4)])
    return share.argmax(axis=0), labels >= 4


def class_map(truth: Truth, yx_nm: FloatArray) -> npt.NDArray[np.int8]:
    """Index into CLASSES at each of the positions, UNKNOWN where the truth does not tell.

    yx_nm    (rows, cols, 2) positions in the survey field, as `SimulatedInstrument.true_positions_nm` gives them
    returns  (rows, cols) int8
    """
    box = _Box.around(truth, yx_nm)
    labels = box.labels()
    names = truth.label_names

    def region(name: str) -> BoolArray:
        return labels == names.index(name) if name in names else np.zeros(box.shape, dtype=bool)

    number = {name: np.int8(k) for k, name in enumerate(CLASSES)}
    on_film = truth.specimen == "particles"
    out = np.full(box.shape, number["amorphous" if on_film else "crystal"], dtype=np.int8)
    if on_film:
        out[_smooth(region("particle") | region("junction"))] = number["particle"]
        out[region("thick") | region("contamination")] = UNKNOWN
    for name, reach_nm in (("pillar", 0.3), ("junction", 0.2)):
        points = _points(truth, name)
        if len(points):
            out[_smooth(box.near(points, reach_nm))] = number[name]
    for name in ("wall", "grain boundary"):
        points = _points(truth, name)
        if len(points):
            out[box.near(points, LINE_NM / 2)] = number[name]
    if truth.specimen == "bfo":
        domain, hidden = _domain(labels)
        border = np.zeros(box.shape, dtype=bool)
        border[:-1] |= domain[:-1] != domain[1:]
        border[:, :-1] |= domain[:, :-1] != domain[:, 1:]
        border &= ~within(hidden, 1.0 / _STEP_NM)
        out[within(border, LINE_NM / 2 / _STEP_NM)] = number["wall"]
    if truth.specimen == "graphene":
        out[within(region("contamination"), CONTAMINATION_EDGE_NM / _STEP_NM)] = number["amorphous"]
    out[_smooth(region("hole"))] = number["vacuum"]
    return box.at(out, yx_nm)


def polarisation(truth: Truth, yx_nm: FloatArray, rotation_rad: float) -> FloatArray:
    """Direction of the projected polarisation of `bfo` in the frame, (rows, cols, 2) unit vectors (y, x); else zeros.

    rotation_rad  of the scan
    """
    out = np.zeros(yx_nm.shape)
    if truth.specimen != "bfo":
        return out
    box = _Box.around(truth, yx_nm)
    domain, hidden = _domain(box.labels())
    angle = box.at(domain.astype(np.int8), yx_nm) * math.pi / 2 + math.pi / 4 + rotation_rad
    known = ~box.at(hidden.astype(np.int8), yx_nm).astype(bool)
    out[known] = np.stack([np.sin(angle), np.cos(angle)], axis=-1)[known]
    return out
