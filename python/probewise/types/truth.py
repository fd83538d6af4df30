# SPDX-License-Identifier: BSD-3-Clause
"""What a simulated specimen knows about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from probewise.types.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TruthObject:
    """One thing worth finding.

    samples_nm  (m, 2) float64 points (y, x) in the survey field, evenly over the object (one for a point defect)
    measure     of one sample, in `unit` (area, length or count it stands for)
    """

    kind: str
    samples_nm: FloatArray
    measure: float
    unit: Literal["nm^2", "nm", "count"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulated specimen really holds, from its construction and never from a descriptor.

    objects      all objects of interest in the survey field
    site_holds   a square of the field is of interest when the measures of the samples inside it add up to
                 at least this (in the objects' unit)
    fov_nm       (y, x) of the survey field
    labels       (rows, cols) int16 class map of the field at `label_nm` per pixel; names in `label_names`
    mask_names   names of those labels that are not specimen (vacuum, hole, contamination)
    notes        what the specimen states about itself (zone axis, statistics, correlation length)
    columns_in   enumerates the atom columns of a box, see `atoms`; None in a truth read from a journal
    """

    specimen: str
    seed: int
    fov_nm: tuple[float, float]
    objects: tuple[TruthObject, ...]
    site_holds: float
    labels: npt.NDArray[np.int16]
    label_nm: float
    label_names: tuple[str, ...]
    mask_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    columns_in: Callable[[tuple[float, float, float, float]], tuple[FloatArray, IntArray]] | None = None

    def atoms(self, box_nm: tuple[float, float, float, float]) -> tuple[FloatArray, IntArray]:
        """The atom columns inside a box of the survey field, enumerated on demand.

        box_nm   (y0, x0, y1, x1) from the field's top left corner
        returns  yx_nm (n, 2) and Z (n,): the heaviest element of each column
        raises   ValueError for a box that is not finite or empty, and where the truth comes from a journal
        """
        if self.columns_in is None:
            raise ValueError("this truth was read from a journal, which keeps no atoms, expected one of `truth`")
        return self.columns_in(box_nm)

    @property
    def walls(self) -> tuple[TruthObject, ...]:
        """The objects that are lines, domain walls and pieces of a grain boundary: `samples_nm` run along each."""
        return tuple(thing for thing in self.objects if thing.kind.endswith(("wall", "boundary segment")))

    @property
    def masks(self) -> dict[str, BoolArray]:
        """(rows, cols) bool of each label by its name, at `label_nm` per pixel; disjoint, together the whole field."""
        return {name: self.labels == number for number, name in enumerate(self.label_names)}

    def interesting(self, centres_nm: FloatArray, side_nm: float) -> BoolArray:
        """(c,) bool: does the square sub-scan of `side_nm` at each centre (c, 2) hold the feature?"""
        held = np.zeros(len(centres_nm))
        for thing in self.objects:
            held += thing.measure * _inside(thing.samples_nm, centres_nm, side_nm).sum(axis=1)
        return held >= self.site_holds

    def found(self, centres_nm: FloatArray, side_nm: float, share: float = 0.3) -> BoolArray:
        """(objects,) bool: do the sub-scans at `centres_nm` together hold at least `share` of each object?"""
        return np.array(
            [
                _inside(thing.samples_nm, centres_nm, side_nm).any(axis=0).mean() >= share if len(centres_nm) else False
                for thing in self.objects
            ],
            dtype=bool,
        )


def _inside(samples_nm: FloatArray, centres_nm: FloatArray, side_nm: float) -> BoolArray:
    """(c, m) bool: sample j lies in the square around centre i."""
    offset = np.abs(centres_nm[:, None, :] - samples_nm[None, :, :])
    return np.asarray((offset <= side_nm / 2).all(axis=2))
