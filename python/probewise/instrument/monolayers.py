# SPDX-License-Identifier: BSD-3-Clause
"""graphene and mos2: one atom layer with point defects whose placement follows `defect_statistics`."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from probewise.instrument.boundary import BOND_NM, LATTICE_NM, PERIOD_NM, graphene_boundary
from probewise.instrument.build import Blob, Model, columns, rotated
from probewise.types import FloatArray

DefectStatistics: TypeAlias = Literal["uncorrelated", "clustered", "boundary"]
STATISTICS: tuple[DefectStatistics, ...] = ("uncorrelated", "clustered", "boundary")
MOS2_NM = 0.316
CLUSTER_NM = 8.0  # rms radius of a cluster
HUG_NM = 6.0  # mean distance of a defect from the line that it gathers along


class _Sheet:
    """The lattices of a monolayer by region, so that a point can be turned into the column nearest to it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lattices: list[tuple[int, FloatArray, FloatArray, FloatArray]] = []  # index, origin, cell (2, 2), columns

    def add(self, origin: FloatArray, cell: FloatArray, basis: FloatArray, **region: object) -> None:
        index = self.model.core.add_lattice(tuple(origin), tuple(cell[0]), tuple(cell[1]), basis, **region)  # type: ignore[arg-type]
        self.lattices.append((index, origin, cell, basis))

    def nearest(self, lattice: int, point: FloatArray) -> tuple[int, int, int, FloatArray]:
        """(i, j, column, position) of the column of a lattice that lies nearest to a point."""
        _, origin, cell, basis = self.lattices[lattice]
        best: tuple[float, int, int, int, FloatArray] | None = None
        for column, offset in enumerate(basis[:, :2]):
            i, j = np.round(np.linalg.solve(cell.T, point - origin - offset)).astype(int)
            place = origin + offset + i * cell[0] + j * cell[1]
            distance = math.dist(place, point)
            if best is None or distance < best[0]:
                best = (distance, int(i), int(j), column, place)
        assert best is not None
        return best[1:]


def _line(model: Model) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A straight line across the field: a point of it, its direction and its normal (unit, (y, x))."""
    angle = model.random.uniform(-0.3, 0.3)
    shift = model.random.uniform(-0.15, 0.15, 2)
    centre = np.array(model.fov_nm) * (0.5 + shift)
    return centre, rotated(np.array([1.0, 0.0]), angle), rotated(np.array([0.0, 1.0]), angle)


def _crossing(model: Model, centre: FloatArray, along: FloatArray) -> tuple[float, float]:
    """The part (from, to) of the line inside the field, in nm from `centre`."""
    low, high = -math.inf, math.inf
    for k in (0, 1):
        if abs(along[k]) > 1e-9:
            ends = sorted(((0 - centre[k]) / along[k], (model.fov_nm[k] - centre[k]) / along[k]))
            low, high = max(low, ends[0]), min(high, ends[1])
    return float(low), float(high)


def _places(
    model: Model, statistics: DefectStatistics, count: int, line: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """(count, 2) positions of defects, at least 0.5 nm inside the field."""
    side = np.array(model.fov_nm)
    centre, along, across = line
    low, high = _crossing(model, centre, along)
    middles = model.random.uniform(0.1, 0.9, (max(1, round(6 * model.area_share)), 2)) * side
    out: list[FloatArray] = []
    while len(out) < count:
        if statistics == "uncorrelated":
            point = model.random.uniform(0, 1, 2) * side
        elif statistics == "clustered":
            point = middles[model.random.integers(len(middles))] + model.random.normal(0, CLUSTER_NM, 2)
        else:
            away = model.random.exponential(HUG_NM) * model.random.choice([-1.0, 1.0])
            point = centre + model.random.uniform(low, high) * along + away * across
        if (point > 0.5).all() and (point < side - 0.5).all():
            out.append(point)
    return np.array(out)


def _note_statistics(model: Model, statistics: DefectStatistics) -> None:
    length = {"uncorrelated": "0", "clustered": f"{CLUSTER_NM:g}", "boundary": f"{HUG_NM:g}"}[statistics]
    model.notes.update(defect_statistics=statistics, correlation_length_nm=length)


def _check(statistics: str, defects: int) -> None:
    if statistics not in STATISTICS:
        raise ValueError(f"defect_statistics is {statistics!r}, expected one of {STATISTICS}")
    if not 0 <= defects <= 100_000:
        raise ValueError(f"defects is {defects}, expected 0 to 100000")


def graphene(model: Model, *, defect_statistics: DefectStatistics = "boundary", defects: int = 60) -> None:
    """Graphene with vacancies and Si dopants; with `boundary` two grains meet at a line of 5-7 rings."""
    _check(defect_statistics, defects)
    carbon = model.add_species((6, 1))
    silicon = model.add_species((14, 1))
    line = _line(model)
    centre, along, across = line
    frame = np.stack([along, across])  # (s, w) @ frame -> (y, x)
    sheet = _Sheet(model)
    seam = graphene_boundary()
    if defect_statistics == "boundary":
        band = {"region": "band", "normal": tuple(across), "band_origin": tuple(centre)}
        for sign, low, high in ((1, -1e6, -seam.width_nm), (-1, seam.width_nm + seam.shift_sw[1], 1e6)):
            mirror = np.array([1.0, sign])
            cell = np.stack([seam.a_sw, seam.b_sw]) * mirror
            corners = np.stack([cell.sum(axis=0) / 3, cell.sum(axis=0) * 2 / 3])
            start = centre + (seam.shift_sw @ frame if sign < 0 else 0.0)
            sheet.add(start, cell @ frame, _sites(corners @ frame, carbon), low=low, high=high, **band)
        cell = np.array([[PERIOD_NM, 0.0], [0.0, 1e5]])
        sheet.add(centre, cell @ frame, _sites(seam.strip_sw @ frame, carbon))
        _boundary_objects(model, line, seam.pair_sw)
    else:
        cell = np.stack([seam.a_sw, seam.b_sw])
        sheet.add(
            centre, cell @ frame, _sites(np.stack([cell.sum(axis=0) / 3, cell.sum(axis=0) * 2 / 3]) @ frame, carbon)
        )
    taken = set()
    for place in _places(model, defect_statistics, max(0, round(defects * model.area_share)), line):
        distance = float((place - centre) @ across)
        if defect_statistics == "boundary" and abs(distance) < seam.width_nm + 0.3:
            place = place + math.copysign(seam.width_nm + 0.3, distance or 1.0) * across
            distance = float((place - centre) @ across)
        lattice = 1 if defect_statistics == "boundary" and distance > 0 else 0
        i, j, column, at = sheet.nearest(lattice, place)
        if (lattice, i, j, column) in taken:
            continue
        taken.add((lattice, i, j, column))
        dopant = model.random.random() < 0.5
        model.core.substitute(lattice, i, j, column, silicon if dopant else -1)
        model.paint(Blob(float(at[0]), float(at[1]), 0.5), 2 if dopant else 3)
        model.add_object("Si dopant" if dopant else "vacancy", at[None, :], 1.0)
    _note_statistics(model, defect_statistics)
    model.notes.update(bond_nm=f"{BOND_NM:.4f}", lattice_nm=f"{LATTICE_NM}")


def _sites(yx: FloatArray, species: int) -> FloatArray:
    rest = np.tile([float(species), 1.0, 0.0, 0.0, 0.0], (len(yx), 1))
    return np.concatenate([yx, rest], axis=1)


def _boundary_objects(model: Model, line: tuple[FloatArray, FloatArray, FloatArray], pair_sw: FloatArray) -> None:
    """Segments of about 8 nm, one sample a 5-7 pair."""
    centre, along, across = line
    low, high = _crossing(model, centre, along)
    middle = pair_sw.mean(axis=0)
    numbers = np.arange(math.ceil((low - middle[0]) / PERIOD_NM), math.floor((high - middle[0]) / PERIOD_NM) + 1)
    samples = centre + (numbers * PERIOD_NM + middle[0])[:, None] * along + middle[1] * across
    for segment in np.array_split(samples, max(1, round((high - low) / 8.0))):
        if len(segment):
            model.add_object("boundary segment", segment, 1.0)
            for y, x in segment:
                model.paint(Blob(float(y), float(x), 0.6), 1)


def mos2(model: Model, *, defect_statistics: DefectStatistics = "clustered", defects: int = 60) -> None:
    """MoS2 (1H): single and double sulphur vacancies, tungsten on molybdenum."""
    _check(defect_statistics, defects)
    metal = model.add_species((42, 1))
    pair = model.add_species((16, 2))
    single = model.add_species((16, 1))
    tungsten = model.add_species((74, 1))
    line = _line(model)
    cell = rotated(MOS2_NM * np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]]), model.random.uniform(0, math.pi / 3))
    basis = columns(
        (0, 0, metal, 1, 0, 0, 0),
        (*(cell.sum(axis=0) / 3), pair, 1, 0, 0, 0),
    )
    sheet = _Sheet(model)
    sheet.add(model.random.uniform(0, MOS2_NM, 2), cell, basis)
    taken = set()
    for place in _places(model, defect_statistics, max(0, round(defects * model.area_share)), line):
        i, j, column, at = sheet.nearest(0, place)
        if (i, j, column) in taken:
            continue
        taken.add((i, j, column))
        if column == 0:
            kind, species, label = "W dopant", tungsten, 3
        elif model.random.random() < 0.7:
            kind, species, label = "S vacancy", single, 1
        else:
            kind, species, label = "S2 vacancy", -1, 2
        model.core.substitute(0, i, j, column, species)
        model.paint(Blob(float(at[0]), float(at[1]), 0.5), label)
        model.add_object(kind, at[None, :], 1.0)
    _note_statistics(model, defect_statistics)
