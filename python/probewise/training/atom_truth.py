# SPDX-License-Identifier: BSD-3-Clause
"""What an atom finder should find in a simulated frame: classes, true places on the executed pixels; and a specimen of
single heavy atoms.
"""

from __future__ import annotations

import math

import numpy as np

from probewise.instrument.build import Model, columns
from probewise.instrument.specimens import Specimen
from probewise.types import FloatArray, IntArray

CLASSES = ("C", "dopant", "perovskite A", "perovskite B", "TMD metal", "TMD chalcogen", "heavy", "vacancy")
IGNORED = -1  # something is there, but neither a hit nor a miss
SINGLE_ATOMS_NM = 40.0  # side of the specimen
_CARBON_PER_NM3 = 100.0

# Species index of each specimen -> class; None is background (oxygen columns, the film).
_SPECIES: dict[str, tuple[int | None, ...]] = {
    "graphene": (0, 1),
    "mos2": (4, 5, 7, 1),
    "nio-lsmo": (2, 3, None, 3),
    "bfo": (2, 3, None),
    "strained": (2, 3, None),
    "particles": (None, 6),
    "single atoms": (None, 6, 6, 6, 6),
}
_HOST = {"graphene": 0, "mos2": 1}  # species that a vacancy lacks


def single_atoms(seed: int, *, film: bool = True, heavy: bool = True, clusters: bool = True) -> Specimen:
    """Heavy single atoms on an amorphous carbon film, in half of the specimens pairs and small clusters too."""
    side = SINGLE_ATOMS_NM
    model = Model("single atoms", seed, (side, side), ("film",), "count", 1.0)
    random = model.random
    clump = random.uniform(0.08, 0.16)
    atoms = _CARBON_PER_NM3 * math.exp(random.uniform(math.log(0.5), math.log(10.0))) * clump**2
    carbon = model.add_species((6, atoms))
    species = [model.add_species((z, 1)) for z in (74, 78, 79, 83)]
    if film:
        spread = min(0.6, random.uniform(0.3, 1.0) / math.sqrt(atoms))  # at most Poisson's
        grain = columns((0, 0, carbon, 1, spread, 0.3 * clump, 0))
        turn = random.uniform(0, math.pi / 2)
        a = clump * np.array([math.cos(turn), math.sin(turn)])
        model.core.add_lattice((0.0, 0.0), tuple(a), (-a[1], a[0]), grain)
    if heavy:
        middles = random.uniform(0, side, (round(random.uniform(0.05, 0.8) * side**2), 2))
        yx = [middles]
        if random.random() < 0.5 and clusters:
            seeds = middles[random.random(len(middles)) < random.uniform(0.1, 0.5)]
            spread = random.uniform(0.15, 0.5)
            yx += [seeds + random.normal(0, spread, seeds.shape) for _ in range(random.integers(1, 6))]
        points = np.concatenate(yx)
        points = points[((points > 0) & (points < side)).all(axis=1)]
        basis = np.zeros((len(points), 7))
        basis[:, :2], basis[:, 3] = points, 1.0
        basis[:, 2] = random.choice(species) if random.random() < 0.7 else random.choice(species, len(points))
        for start in range(0, len(basis), 255):  # one huge cell: the core takes 255 columns a cell
            model.core.add_lattice((0.0, 0.0), (1e4, 0.0), (0.0, 1e4), basis[start : start + 255])
    return Specimen(model.core, tuple(model.species), model.truth())


def columns_with_labels(
    specimen: Specimen, name: str, probed: FloatArray
) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Positions (nm), labels, species and weight of the columns and vacancies about the probed area."""
    low, high = probed.min(axis=(0, 1)) - 0.3, probed.max(axis=(0, 1)) + 0.3
    yx, species, weight = specimen.core.atoms([*low, *high])
    classes = _SPECIES[name]
    label = np.array([-2 if c is None else c for c in classes], dtype=np.int64)[species]
    seen = label > -2
    yx, species, weight, label = yx[seen], species[seen].astype(np.int64), weight[seen].astype(np.float64), label[seen]
    if len(yx) > 1:
        label[_nearest(yx, yx, 2)[:, 1] < 0.11] = IGNORED  # two lattices overlap
    missing = [
        place
        for thing in specimen.truth.objects
        if thing.kind in ("vacancy", "S2 vacancy")
        for place in thing.samples_nm
        if (place > low).all() and (place < high).all()
    ]
    if missing:
        empty = np.array(missing)
        surrounded = _nearest(yx, empty, 2)[:, 1] < 0.25 if len(yx) > 1 else np.zeros(len(empty), dtype=bool)
        yx = np.concatenate([yx, empty])
        label = np.concatenate([label, np.where(surrounded, CLASSES.index("vacancy"), IGNORED)])
        species = np.concatenate([species, np.full(len(empty), _HOST[name])])
        weight = np.concatenate([weight, np.ones(len(empty))])
    return yx, label, species.astype(np.int64), weight.astype(np.float64)


def _nearest(points: FloatArray, at: FloatArray, count: int) -> FloatArray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(at, k=count)[0])


def on_pixel_grid(yx_nm: FloatArray, probed_nm: FloatArray) -> FloatArray:
    """Pixel coordinates (n, 2) at which an executed scan saw points of the specimen.

    probed_nm  (rows, cols, 2), where the probe really was at each pixel
    """
    rows, cols, _ = probed_nm.shape
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1)
    step = max(1, min(rows, cols) // 32)
    known = probed_nm[::step, ::step].reshape(-1, 2)
    design = np.column_stack([known, np.ones(len(known))])
    affine = np.linalg.lstsq(design, grid[::step, ::step].reshape(-1, 2), rcond=None)[0]
    pixels = yx_nm @ affine[:2] + affine[2]
    for _ in range(4):
        at = np.clip(pixels, 0, [rows - 1.001, cols - 1.001])
        whole = at.astype(np.int64)
        part = at - whole
        value = np.zeros_like(yx_nm)
        for i in (0, 1):
            for j in (0, 1):
                share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
                value += share[:, None] * probed_nm[whole[:, 0] + i, whole[:, 1] + j]
        pixels = at + (yx_nm - value) @ affine[:2]
    return pixels
