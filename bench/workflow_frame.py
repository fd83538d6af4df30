# SPDX-License-Identifier: BSD-3-Clause
"""What does a workflow do to one 256 x 256 frame after its networks, and how long does that take?

Rendered graphene, about 360 atoms. The finder's maps are computed once and given back, so that everything else is
timed: atoms, classes, surroundings and densities (dcnn); atoms, patches of 27 x 27, the shipped encoder, discord of
angles, outliers and their number (rvae). Beside them AtomAI's path: label and centroids, windows of 28 x 28 by a
Python loop, two hidden layers of 128 (its rVAE's default; random weights, NumPy), the variances. One thread, in turn
in the same run. Usage: python bench/workflow_frame.py [--json FILE]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import image_bench
import peer_refinement
import probewise as pw
from probewise.descriptors import AtomWorkflow, LatentEncoder, LatentWorkflow
from probewise.image import AtomFinder

PIXEL_NM = 0.012
SIDE = 256


class Remembered(AtomFinder):
    """A finder whose network has looked at a frame already."""

    def __init__(self) -> None:
        super().__init__("atoms", refine=False)
        self._known: dict[bytes, Any] = {}

    def _run(self, model: Any, image: np.ndarray) -> Any:
        key = image.tobytes()
        if key not in self._known:
            self._known[key] = super()._run(model, image)
        return self._known[key]


def frames(count: int) -> list[pw.Frame]:
    side = SIDE * PIXEL_NM
    return [
        pw.render(
            "graphene", pw.RasterROI((SIDE, SIDE), 4000), seed=200 + i, context=pw.Context((side, side), (3.0 * i, 0))
        )
        for i in range(count)
    ]


def calls() -> tuple[dict[str, Any], int, int]:
    finder = Remembered()
    encoder = LatentEncoder("graphene-encoder")
    seen = frames(14)
    frame = seen[0]
    atoms = AtomWorkflow(finder, finder.card.classes, component="outliers")
    latent = LatentWorkflow(encoder, finder, component="outlier")
    for workflow in (atoms, latent):
        workflow.fit([workflow.describe(one) for one in seen])
    presence = np.ascontiguousarray(finder.maps(frame).probability[0])
    random = np.random.default_rng(1)
    weights = [random.normal(0, 0.03, shape).astype(np.float32) for shape in ((28 * 28, 128), (128, 128), (128, 7))]
    description = latent.describe(frame)
    patches = np.zeros((len(description.features), 27, 27), dtype=np.float32)
    image = np.ascontiguousarray(frame.image())
    scale = SIDE / presence.shape[0]

    def peer() -> None:
        centres = scale * peer_refinement.label_and_centre(presence)
        values = peer_refinement.patches(image, centres, 28)
        values = values.reshape(len(values), -1)
        for matrix in weights[:-1]:
            values = np.tanh(values @ matrix)
        (values @ weights[-1])[:, 3:].var(axis=0).argmax()

    return (
        {
            "dcnn, all after the network": lambda: atoms.told(atoms.describe(frame)),
            "rvae, all after the finder": lambda: latent.told(latent.describe(frame)),
            "  of it: the finder's maps to atoms": lambda: finder(frame),
            "  of it: the encoder": lambda: encoder(patches),
            "AtomAI's path after its network": peer,
        },
        len(finder(frame)),
        len(patches),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "workflow_frame.json")
    arguments = parser.parse_args()
    timed, atoms, patches = calls()
    rows = image_bench.interleaved(timed, rounds=40)
    image_bench.write(arguments.json, __doc__, rows, frame=f"{SIDE} x {SIDE}", atoms=atoms, patches=patches)


if __name__ == "__main__":
    main()
