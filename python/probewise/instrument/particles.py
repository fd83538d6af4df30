# SPDX-License-Identifier: BSD-3-Clause
"""particles: gold particles on an amorphous carbon film, many of them touching in pairs."""

from __future__ import annotations

import math

import numpy as np

from probewise.instrument.build import Blob, Model, columns, rotated
from probewise.types import FloatArray

GOLD_NM = 0.408
FLATNESS = 0.35  # height over diameter: flat enough for the linear model
FILM_NM = 3.0
CARBON_PER_NM3 = 100.0
_CLUMP_NM = 0.15


def particles(model: Model) -> None:
    """Gold particles of 5 to 12 nm seen along [110], turned at random; a junction is where two of them touch."""
    film = model.add_species((6, CARBON_PER_NM3 * FILM_NM * _CLUMP_NM**2))
    model.core.add_lattice((0.0, 0.0), (_CLUMP_NM, 0.0), (0.0, _CLUMP_NM), columns((0, 0, film, 1, 0.3, 0.05, 0)))
    pairs = max(1, round(24 * model.area_share))
    singles = max(1, round(16 * model.area_share))
    deepest = FLATNESS * 12 / (GOLD_NM / math.sqrt(2))
    gold = model.add_species((79, deepest))
    clusters = _clusters(model, pairs, singles)
    for cluster in clusters:
        for particle in cluster:
            angle = model.random.uniform(0, math.pi)
            cell = rotated(GOLD_NM * np.array([[1.0, 0.0], [0.0, 1 / math.sqrt(2)]]), angle)
            weight = FLATNESS * 2 * particle.radius / (GOLD_NM / math.sqrt(2)) / deepest
            basis = columns(
                (0, 0, gold, weight, 0.02, 0.003, 0), (*(cell.sum(axis=0) / 2), gold, weight, 0.02, 0.003, 0)
            )
            blob = model.add_blob(particle)
            model.core.add_lattice(
                (particle.y, particle.x),
                tuple(cell[0]),
                tuple(cell[1]),
                basis,
                region="inside_blob",
                blob=blob,
                dome=True,
            )
            model.paint(particle, 1)
    for cluster in clusters:
        if len(cluster) == 2:
            neck = _neck(*cluster)
            model.add_object("junction", neck, 0.0625)
            for y, x in neck:
                model.paint(Blob(float(y), float(x), 0.3), 2)
    model.notes.update(support=f"amorphous carbon, {FILM_NM:g} nm", particles="gold along [110], oblate domes")


def _clusters(model: Model, pairs: int, singles: int) -> list[list[Blob]]:
    """Touching pairs and single particles at random, clear of each other and of the field's edge."""
    placed: list[list[Blob]] = []
    for size in [2] * pairs + [1] * singles:
        for _ in range(2000):
            first = model.random.uniform(2.5, 6.0)
            y, x = (float(model.random.uniform(8, side - 8)) for side in model.fov_nm)
            cluster = [Blob(y, x, first)]
            if size == 2:
                second = model.random.uniform(2.5, 6.0)
                angle = model.random.uniform(0, 2 * math.pi)
                apart = 0.88 * (first + second)
                cluster.append(Blob(y + apart * math.sin(angle), x + apart * math.cos(angle), second))
            inside = all(
                b.radius + 1 < at < side - b.radius - 1
                for b in cluster
                for at, side in zip((b.y, b.x), model.fov_nm, strict=True)
            )
            clear = all(
                math.hypot(b.y - o.y, b.x - o.x) > b.radius + o.radius + 1.5
                for b in cluster
                for other in placed
                for o in other
            )
            if inside and clear:
                placed.append(cluster)
                break
    return placed


def _neck(first: Blob, second: Blob) -> FloatArray:
    """Samples, 0.25 nm apart, of both particles within 1 nm of the plane through their crossing rims."""
    apart = math.hypot(second.y - first.y, second.x - first.x)
    reach = (apart**2 + first.radius**2 - second.radius**2) / (2 * apart)
    direction = np.array([second.y - first.y, second.x - first.x]) / apart
    both = np.concatenate([first.samples(0.25), second.samples(0.25)])
    both = both[(first.inside(both) ^ second.inside(both)) | (np.arange(len(both)) < len(first.samples(0.25)))]
    distance = (both - (first.y, first.x)) @ direction - reach
    return both[np.abs(distance) < 1.0]
