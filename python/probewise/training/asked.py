# SPDX-License-Identifier: BSD-3-Clause
"""A network in torch, asked as `AtomFinder` asks an exported one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from probewise.image import find_atoms, label_atoms, network_input, resample
from probewise.image.network import native_shape
from probewise.inference import Card
from probewise.training.atom_network import MULTIPLE_OF, AtomNet
from probewise.training.home import HomeFrame
from probewise.training.home_score import f1_of
from probewise.types import Atoms, Float32Array


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
    return f1_of((atoms_by(network, card, frame.counts, frame.pixel_nm), frame) for frame in frames)
