# SPDX-License-Identifier: BSD-3-Clause
"""Class maps against what specimens are made of: atom positions, areas of objects, widths of lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

import labels
import probewise as pw
from labels import CLASSES, UNKNOWN, class_map, polarisation
from probewise.types import FloatArray

STEP_NM = 0.1


def grid(centre: FloatArray, side_nm: float) -> FloatArray:
    """(n, n, 2) positions about `centre`."""
    offset = np.arange(-side_nm / 2, side_nm / 2, STEP_NM)
    return np.stack(np.meshgrid(centre[0] + offset, centre[1] + offset, indexing="ij"), axis=-1)


def share_nm2(kinds: np.ndarray, name: str) -> float:
    return float((kinds == CLASSES.index(name)).sum()) * STEP_NM**2


def test_polarisation_is_the_shift_of_the_iron_columns() -> None:
    truth = pw.truth("bfo", seed=3, mistilt_pm=0.0)
    wall = truth.walls[0].samples_nm
    places = grid(wall[len(wall) // 2], 14.0)
    y, x = places[[0, -1], [0, -1]].T
    yx, number = truth.atoms((y[0] - 1, x[0] - 1, y[1] + 1, x[1] + 1))
    iron, bismuth = yx[number == 26], yx[number == 83]
    around = bismuth[cKDTree(bismuth).query(iron, k=4)[1]].mean(axis=1)
    inner = ((iron > places[0, 0] + 0.5) & (iron < places[-1, -1] - 0.5)).all(axis=1)
    iron, shift = iron[inner], (iron - around)[inner]
    for rotation in (0.0, 0.7):
        told = polarisation(truth, iron[None], rotation)[0]
        cosine, sine = math.cos(rotation), math.sin(rotation)
        # the scan's axes turned by the rotation: frame = R^T field
        seen = np.stack([cosine * shift[:, 0] + sine * shift[:, 1], -sine * shift[:, 0] + cosine * shift[:, 1]], axis=1)
        away = class_map(truth, iron[None])[0] == CLASSES.index("crystal")
        assert away.sum() > 200
        along = (told * seen).sum(axis=1)[away] / np.hypot(*seen.T)[away]
        # columns shake by 2 pm about a shift of 25 pm: a few degrees
        assert np.median(along) > 0.99
        assert (along > 0.8).mean() > 0.98


def test_walls_are_drawn_where_the_projection_turns() -> None:
    truth = pw.truth("bfo", seed=3)
    wall = max(truth.walls, key=lambda thing: len(thing.samples_nm))
    centre = wall.samples_nm[len(wall.samples_nm) // 2]
    places = grid(centre, 3.0)
    ends = wall.samples_nm[[0, -1]]
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    across = np.abs((places - centre) @ np.array([-along[1], along[0]]))
    drawn = class_map(truth, places) == CLASSES.index("wall")
    # the truth's class map has 0.5 nm pixels, ours 0.1 nm
    assert drawn[across < labels.LINE_NM / 2 - 0.25].all()
    assert not drawn[across > labels.LINE_NM / 2 + 0.35].any()


def test_a_wall_that_projection_hides_is_not_drawn() -> None:
    """Between domains of one label nothing is drawn: far from all samples and label borders there is crystal alone."""
    truth = pw.truth("bfo", seed=3)
    changes = np.argwhere((np.diff(truth.labels, axis=0)[:, :-1] != 0) | (np.diff(truth.labels, axis=1)[:-1] != 0))
    border = cKDTree((changes + 1.0) * truth.label_nm)
    random = np.random.default_rng(0)
    for centre in random.uniform(20, 180, (6, 2)):
        places = grid(centre, 12.0)
        far = border.query(places.reshape(-1, 2))[0].reshape(places.shape[:2]) > labels.LINE_NM / 2 + 1.0
        assert set(np.unique(class_map(truth, places)[far])) <= {CLASSES.index("crystal")}


def test_areas_of_pillars_particles_and_junctions() -> None:
    pillars = pw.truth("nio-lsmo", seed=2)
    for thing in pillars.objects[:4]:
        kinds = class_map(pillars, grid(thing.samples_nm.mean(axis=0), 26.0))
        near = [o for o in pillars.objects if np.abs(o.samples_nm - thing.samples_nm.mean(axis=0)).max() < 13.0]
        if near == [thing]:
            # samples stand for 0.25 nm^2; edges are smoothed over 0.3 nm
            assert share_nm2(kinds, "pillar") == pytest.approx(len(thing.samples_nm) * 0.25, rel=0.06)
    particles = pw.truth("particles", seed=2)
    junction = particles.objects[0]
    places = grid(junction.samples_nm.mean(axis=0), 8.0)
    kinds = class_map(particles, places)
    # samples of two grids overlap, so that the area is that of the points' neighbourhood
    close = cKDTree(junction.samples_nm).query(places.reshape(-1, 2))[0].reshape(kinds.shape)
    assert (kinds[close < 0.1] == CLASSES.index("junction")).mean() > 0.97
    assert not (kinds[close > 0.4] == CLASSES.index("junction")).any()
    assert share_nm2(kinds, "amorphous") > 0
    assert share_nm2(kinds, "particle") > 0


def test_a_grain_boundary_is_a_band_of_the_stated_width() -> None:
    truth = pw.truth("graphene", seed=4)
    points = np.concatenate([thing.samples_nm for thing in truth.walls])
    ends = points[[0, -1]]
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    places = grid(points[len(points) // 2], 6.0)
    across = np.abs((places - points[0]) @ np.array([-along[1], along[0]]))
    drawn = class_map(truth, places) == CLASSES.index("grain boundary")
    assert drawn[across < labels.LINE_NM / 2 - 0.15].all()
    assert not drawn[across > labels.LINE_NM / 2 + 0.15].any()


def test_holes_are_vacuum_and_contamination_is_amorphous_on_graphene_alone() -> None:
    hole, stain = np.array([0.16, 0.18]) * 200, np.array([0.18, 0.82]) * 200
    graphene = pw.truth("graphene", seed=1, features=("hole", "contamination"))
    assert share_nm2(class_map(graphene, grid(hole, 44.0)), "vacuum") == pytest.approx(math.pi * 20**2, rel=0.01)
    reach = 20 + labels.CONTAMINATION_EDGE_NM
    assert share_nm2(class_map(graphene, grid(stain, 50.0)), "amorphous") == pytest.approx(math.pi * reach**2, rel=0.02)
    for name, expected in (("mos2", "crystal"), ("bfo", "crystal")):
        truth = pw.truth(name, seed=1, features=("contamination",))
        assert share_nm2(class_map(truth, grid(stain, 10.0)), "amorphous") == 0
        assert share_nm2(class_map(truth, grid(stain, 10.0)), expected) > 0
    particles = pw.truth("particles", seed=1, features=("contamination",))
    assert (class_map(particles, grid(stain, 4.0)) == UNKNOWN).all()
