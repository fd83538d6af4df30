# SPDX-License-Identifier: BSD-3-Clause
"""F1 of a network on home frames: an atom counts as found in its place and with its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from probewise.image import find_atoms, label_atoms, network_input, resample
from probewise.image.network import native_shape
from probewise.inference import Card
from probewise.training.atom_network import MULTIPLE_OF, AtomNet
from probewise.training.atom_truth import CLASSES, IGNORED
from probewise.training.home import HomeFrame
from probewise.training.matching import FrameEdge, Score
from probewise.types import Atoms, Float32Array

TOLERANCE_NM = 0.0355  # a quarter of the shortest distance between neighbours, in graphene
MARGIN_NM = 0.3


@torch.no_grad()
def atoms_by(network: AtomNet, card: Card, counts: Float32Array, pixel_nm: float) -> Atoms:
    """As `AtomFinder` does without refinement, by torch."""
    grid = native_shape(counts.shape, (pixel_nm, pixel_nm), card)
    image = network_input(counts if grid == counts.shape else resample(counts, grid))[0]
    padded = np.pad(image, [(0, -side % MULTIPLE_OF) for side in grid], mode="symmetric")
    site, kind = network.eval()(torch.from_numpy(padded)[None, None])
    presence = np.ascontiguousarray(torch.sigmoid(site)[0, :, : grid[0], : grid[1]].numpy())
    classes = np.ascontiguousarray(torch.softmax(kind, 1)[0, :, : -(-grid[0] // 2), : -(-grid[1] // 2)].numpy())
    atoms = label_atoms(find_atoms(presence), classes, 2.0, classes=card.classes)
    zoom = np.array(counts.shape) / np.array(grid)
    return Atoms((atoms.yx + 0.5) * zoom - 0.5, atoms.label, atoms.score, card.classes)


def home_f1(network: AtomNet, card: Card, frames: Sequence[HomeFrame]) -> float:
    return f1_of(lambda frame: atoms_by(network, card, frame.counts, frame.pixel_nm), frames)


def f1_of(look: Callable[[HomeFrame], Atoms], frames: Sequence[HomeFrame]) -> float:
    """Over all classes of all frames; found atoms near a place that counts neither way are left out."""
    from scipy.spatial import cKDTree

    score = Score()
    for frame in frames:
        found = look(frame)
        tolerance, yx, label = TOLERANCE_NM / frame.pixel_nm, found.yx, found.label
        vague = frame.yx[frame.label == IGNORED]
        if len(vague) and len(yx):
            clear = cKDTree(vague).query(yx)[0] > 2 * tolerance
            yx, label = yx[clear], label[clear]
        edge = FrameEdge(frame.counts.shape, MARGIN_NM / frame.pixel_nm)
        for number, name in enumerate(CLASSES):
            ours = found.classes.index(name) if name in found.classes else -1
            score.add(yx[label == ours], frame.yx[frame.label == number], tolerance, edge)
    return score.f1 or 0.0
