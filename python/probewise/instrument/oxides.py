# SPDX-License-Identifier: BSD-3-Clause
"""Perovskite specimens: nio-lsmo (pillars), bfo (ferroelectric domains), strained (a 1 % change of periodicity)."""

from __future__ import annotations

import math

import numpy as np

from probewise.instrument.build import LABEL_NM, Model, columns, scatter_discs
from probewise.types import FloatArray

LSMO_NM = 0.389
NIO_NM = 0.418
BFO_NM = 0.396
CELLS_DEEP = 8  # about 3 nm: thicker columns channel, which the linear model does not know


def _lsmo_columns(model: Model) -> FloatArray:
    """A (La0.7 Sr0.3), B (Mn and the apical O) and equatorial O columns along [001]."""
    n = CELLS_DEEP
    a_site = model.add_species((57, 0.7 * n), (38, 0.3 * n))
    b_site = model.add_species((25, n), (8, n))
    oxygen = model.add_species((8, n))
    half = LSMO_NM / 2
    return columns(
        (0, 0, a_site, 1, 0.08, 0.002, 0),  # 8 %: binomial La/Sr in 8 atoms
        (half, half, b_site, 1, 0.02, 0.002, 0),
        (0, half, oxygen, 1, 0, 0.002, 0),
        (half, 0, oxygen, 1, 0, 0.002, 0),
    )


def nio_lsmo(model: Model) -> None:
    """NiO pillars of 5 to 20 nm in an LSMO film, both along [001]."""
    count = max(1, round(model.random.integers(20, 26) * model.area_share))
    radii = 2.5 * 4 ** model.random.beta(1.1, 1.45, count)
    pillars = scatter_discs(model, radii, 2.0, ripple=0.06)
    matrix = _lsmo_columns(model)
    # Ni and O alternate along every column of rock salt seen along [001].
    mixed = model.add_species((28, 7.5), (8, 7.5))
    half = NIO_NM / 2
    rock_salt = columns((0, 0, mixed, 1, 0.02, 0.002, 0))
    for pillar in pillars:
        blob = model.add_blob(pillar)
        origin = model.random.uniform(0, NIO_NM, 2) + np.array([pillar.y, pillar.x])
        model.core.add_lattice(tuple(origin), (half, 0), (0, half), rock_salt, region="inside_blob", blob=blob)
        model.paint(pillar, 1)
        model.add_object("pillar", pillar.samples(), 0.25)
    model.core.add_lattice(
        tuple(model.random.uniform(0, LSMO_NM, 2)),
        (LSMO_NM, 0),
        (0, LSMO_NM),
        matrix,
        region="outside_blobs",
        margin=0.02,
    )
    model.notes.update(zone_axis="[001] of both phases", thickness_nm="3.1")


def strained(model: Model, *, strain: float = 0.01) -> None:
    """LSMO with nearly coherent islands whose period is larger by `strain` in both directions."""
    if not 0 < abs(strain) <= 0.1:
        raise ValueError(f"strain is {strain}, expected a relative change of at most 0.1 that is not 0")
    count = max(1, round(22 * model.area_share))
    islands = scatter_discs(model, model.random.uniform(7, 12, count), 2.0)
    matrix = _lsmo_columns(model)
    origin = model.random.uniform(0, LSMO_NM, 2)
    stretched = matrix * np.array([1 + strain, 1 + strain, 1, 1, 1, 1, 1])
    period = LSMO_NM * (1 + strain)
    # The matrix gives up the sites that the islands' columns left: strain times the mean radius inside the rim.
    for island in islands:
        centre = np.round((np.array([island.y, island.x]) - origin) / LSMO_NM) * LSMO_NM + origin
        blob = model.add_blob(island)
        model.core.add_lattice(tuple(centre), (period, 0), (0, period), stretched, region="inside_blob", blob=blob)
        model.paint(island, 1)
        model.add_object("strained island", island.samples(), 0.25)
    model.core.add_lattice(
        tuple(origin), (LSMO_NM, 0), (0, LSMO_NM), matrix, region="outside_blobs", margin=-strain * 9.5
    )
    model.notes.update(zone_axis="[001]", strain=f"{strain:g} along both axes inside islands, 0 outside")


def bfo(model: Model, *, mistilt_pm: float = 4.0) -> None:
    """BiFeO3 along [001]: domains of the eight <111> polarisations, seen through their two in-plane components.

    mistilt_pm  size of the false A to B displacement at the field's centre; it changes by as much across the field
    """
    if not 0 <= mistilt_pm <= 20:
        raise ValueError(f"mistilt_pm is {mistilt_pm}, expected 0 to 20")
    n = CELLS_DEEP
    bismuth = model.add_species((83, n))
    iron = model.add_species((26, n), (8, n))
    oxygen = model.add_species((8, n))
    half = BFO_NM / 2
    cell = columns(
        (0, 0, bismuth, 1, 0.02, 0.002, 0),
        (half, half, iron, 1, 0.02, 0.002, 1),
        (0, half, oxygen, 1, 0, 0.002, 0),
        (half, 0, oxygen, 1, 0, 0.002, 0),
    )
    model.core.add_lattice(tuple(model.random.uniform(0, BFO_NM, 2)), (BFO_NM, 0), (0, BFO_NM), cell)
    wanted = 20 if model.area_share >= 0.99 else 1
    for _ in range(50):
        seeds = _spread_points(model, max(2, round(20 * model.area_share)), 22.0)
        variant = model.random.integers(0, 8, len(seeds))  # in-plane quadrant in the low two bits, up or down above
        walls = _voronoi_walls(seeds, model.fov_nm)
        visible = [(i, j, a, b) for i, j, a, b in walls if variant[i] % 4 != variant[j] % 4 and math.dist(a, b) >= 4]
        if len(visible) >= wanted:
            break
    angle = (variant % 4) * math.pi / 2 + math.pi / 4
    displacement = 0.025 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    for place, move in zip(seeds, displacement, strict=True):
        model.core.add_domain(tuple(place), tuple(move))
    model.core.set_wall_width(0.6)
    for i, j, start, end in visible:
        apart = int(variant[i] % 4 - variant[j] % 4) % 4
        length = math.dist(start, end)
        along = (np.arange(max(1, round(length / 0.5))) + 0.5) / max(1, round(length / 0.5))
        samples = np.array(start) + along[:, None] * (np.array(end) - start)
        model.add_object("180 degree wall" if apart == 2 else "90 degree wall", samples, length / len(samples))
    rows, cols = np.indices(model.labels.shape)
    points = (np.stack([rows, cols], axis=-1) + 0.5) * LABEL_NM
    distance = ((points[:, :, None, :] - seeds) ** 2).sum(axis=-1)
    model.labels[:] = variant[distance.argmin(axis=2)] % 4
    tilt = model.random.uniform(0, 2 * math.pi, 2)
    steady, change = (mistilt_pm * 1e-3 * np.array([math.sin(a), math.cos(a)]) for a in tilt)
    middle = change * 0.5
    per_nm = change / model.fov_nm[0]
    model.core.set_mistilt(tuple(steady - middle), tuple(per_nm), (0.0, 0.0))
    model.notes.update(
        zone_axis="[001] pseudocubic",
        polarisation="labels are the in-plane direction: 0 +y+x, 1 +y-x, 2 -y-x, 3 -y+x; Fe is displaced along it "
        "by 25 pm from the centre of Bi",
        walls=f"{len(walls) - len(visible)} walls between domains of one projection, or under 4 nm, are no objects",
        mistilt_pm=f"{mistilt_pm:g}",
    )


def _spread_points(model: Model, count: int, apart_nm: float) -> FloatArray:
    points: list[FloatArray] = []
    for _ in range(4000):
        point = model.random.uniform(0, 1, 2) * model.fov_nm
        if all(math.dist(point, other) > apart_nm for other in points):
            points.append(point)
        if len(points) == count:
            break
    return np.array(points)


def _voronoi_walls(
    seeds: FloatArray, fov_nm: tuple[float, float]
) -> list[tuple[int, int, tuple[float, float], tuple[float, float]]]:
    """Edges of the Voronoi cells inside the field: each bisector clipped by all other bisectors and the field."""
    walls = []
    for i in range(len(seeds)):
        for j in range(i + 1, len(seeds)):
            middle, across = (seeds[i] + seeds[j]) / 2, seeds[j] - seeds[i]
            along = np.array([-across[1], across[0]]) / math.hypot(*across)
            limits = [
                (along[k] * sign, (fov_nm[k] if sign > 0 else 0.0) * sign - middle[k] * sign)
                for k in (0, 1)
                for sign in (1, -1)
            ]
            for other in (seed for k, seed in enumerate(seeds) if k not in (i, j)):
                normal = other - seeds[i]
                limits.append((float(along @ normal), float(((other + seeds[i]) / 2 - middle) @ normal)))
            low, high = -math.inf, math.inf
            for slope, bound in limits:  # slope * t <= bound
                if slope > 1e-12:
                    high = min(high, bound / slope)
                elif slope < -1e-12:
                    low = max(low, bound / slope)
                elif bound < 0:
                    high = -math.inf
            if high > low:
                start, end = middle + low * along, middle + high * along
                walls.append((i, j, (float(start[0]), float(start[1])), (float(end[0]), float(end[1]))))
    return walls
