# SPDX-License-Identifier: BSD-3-Clause
"""What every simulated specimen is put together from, and what it states about itself."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from probewise import _core
from probewise.types import BoolArray, FloatArray, Truth, TruthObject

Species = tuple[tuple[int, float], ...]  # (atomic number, atoms in the column) pairs
LABEL_NM = 0.5


@dataclass(frozen=True)
class Blob:
    """A disc whose radius varies as 1 + ripple cos(fold angle + phase)."""

    y: float
    x: float
    radius: float
    ripple: float = 0.0
    fold: float = 4.0
    phase: float = 0.0

    def inside(self, yx: FloatArray) -> BoolArray:
        """(n,) bool for points (n, 2)."""
        dy, dx = yx[:, 0] - self.y, yx[:, 1] - self.x
        edge = self.radius * (1 + self.ripple * np.cos(self.fold * np.arctan2(dy, dx) + self.phase))
        return np.asarray(np.hypot(dy, dx) < edge, dtype=bool)

    def samples(self, step_nm: float = 0.5) -> FloatArray:
        """Points of a square grid inside, (n, 2) (y, x)."""
        half = self.radius * (1 + abs(self.ripple))
        offset = np.arange(-half + step_nm / 2, half, step_nm)
        grid = np.stack(np.meshgrid(offset, offset, indexing="ij"), axis=-1).reshape(-1, 2) + np.array([self.y, self.x])
        return np.asarray(grid[self.inside(grid)])


@dataclass(eq=False)
class Model:
    """A specimen under construction: the compiled columns beside the truth that they come from."""

    name: str
    seed: int
    fov_nm: tuple[float, float]
    label_names: tuple[str, ...]
    unit: Literal["nm^2", "nm", "count"]
    site_holds: float
    species: list[Species] = field(default_factory=list)
    objects: list[TruthObject] = field(default_factory=list)
    mask_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(math.isfinite(side) and side >= 20 for side in self.fov_nm):
            raise ValueError(f"fov_nm is {self.fov_nm}, expected two sides (y, x) of at least 20")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is {self.seed}, expected an integer from 0 to 2**64 - 1")
        self.core = _core.instrument.Specimen(self.seed)
        self.random = np.random.Generator(np.random.Philox([self.seed, zlib.crc32(self.name.encode())]))
        shape = tuple(max(1, round(side / LABEL_NM)) for side in self.fov_nm)
        self.labels = np.zeros(shape, dtype=np.int16)

    @property
    def area_share(self) -> float:
        """Area of the field in units of the default 200 nm x 200 nm one: how many features to place."""
        return self.fov_nm[0] * self.fov_nm[1] / 4e4

    def add_species(self, *atoms: tuple[int, float]) -> int:
        self.species.append(atoms)
        return len(self.species) - 1

    def add_blob(self, blob: Blob) -> int:
        return self.core.add_blob((blob.y, blob.x), blob.radius, blob.ripple, blob.fold, blob.phase)

    def add_object(self, kind: str, samples_nm: FloatArray, measure: float) -> None:
        self.objects.append(
            TruthObject(kind=kind, samples_nm=np.ascontiguousarray(samples_nm), measure=measure, unit=self.unit)
        )

    def paint(self, blob: Blob, label: int) -> None:
        """Write a label into the class map where a blob covers the centre of a label pixel."""
        reach = blob.radius * (1 + abs(blob.ripple)) + LABEL_NM
        rows, cols = (
            np.arange(max(0, int((at - reach) / LABEL_NM)), min(size, int((at + reach) / LABEL_NM) + 1))
            for at, size in zip((blob.y, blob.x), self.labels.shape, strict=True)
        )
        if rows.size and cols.size:
            points = np.stack(np.meshgrid((rows + 0.5) * LABEL_NM, (cols + 0.5) * LABEL_NM, indexing="ij"), axis=-1)
            covered = blob.inside(points.reshape(-1, 2)).reshape(rows.size, cols.size)
            window = self.labels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            window[covered] = label

    def truth(self) -> Truth:
        return Truth(
            specimen=self.name,
            seed=self.seed,
            fov_nm=self.fov_nm,
            objects=tuple(self.objects),
            site_holds=self.site_holds,
            labels=self.labels,
            label_nm=LABEL_NM,
            label_names=self.label_names,
            mask_names=self.mask_names,
            notes=self.notes,
        )


def columns(*rows: tuple[float, float, int, float, float, float, int]) -> FloatArray:
    """(n, 7) for add_lattice: y, x (nm in the cell), species, weight, weight_rms, position_rms (nm), group."""
    return np.array(rows, dtype=np.float64)


def rotated(yx: FloatArray, angle: float) -> FloatArray:
    """Vectors (..., 2) (y, x) turned by `angle` (radian), counter-clockwise on the screen (y down)."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.stack([cosine * yx[..., 0] - sine * yx[..., 1], sine * yx[..., 0] + cosine * yx[..., 1]], axis=-1)


def scatter_discs(
    model: Model, radii: FloatArray, gap_nm: float, *, ripple: float = 0.0, fold: float = 4.0
) -> list[Blob]:
    """Discs at random without overlap, largest first, wholly inside the field; those with no room are left out."""
    placed: list[Blob] = []
    for radius in np.sort(radii)[::-1]:
        reach = radius * (1 + ripple) + 1.0
        for _ in range(2000):
            y, x = (
                model.random.uniform(reach, side - reach) if side > 2 * reach else math.nan for side in model.fov_nm
            )
            if all(math.hypot(y - b.y, x - b.x) > (radius + b.radius) * (1 + ripple) + gap_nm for b in placed):
                phase = model.random.uniform(0, 2 * math.pi)
                if not math.isnan(y) and not math.isnan(x):
                    placed.append(Blob(float(y), float(x), float(radius), ripple, fold, float(phase)))
                break
    return placed
