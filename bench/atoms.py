# SPDX-License-Identifier: BSD-3-Clause
"""How long does it take to turn a 1024 x 1024 probability map of 2,025 atoms into positions, and a frame into atoms?

First the map alone: ours beside AtomAI's Locator, scipy.ndimage.label with bincount, OpenCV's connected components
with bincount; the floor is one read of the map. Then what follows a network on a 256 x 256 frame of about 360 atoms:
atoms, classes, joint refinement, patches of 32 x 32 and the encoder's matrices (32 x 32 to 128, 128, 5, random
weights, NumPy), beside AtomAI's recipe for the same (label, centroids, a least-squares fit per atom by SciPy,
patches). In turn in the same run, one thread. Usage: python bench/atoms.py [--json FILE]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import image_bench
import peer_refinement
import probewise as pw
from probewise.image import estimate_noise, label_atoms, network_input, refine_atoms


def blobs(shape: tuple[int, int], points: np.ndarray, width: float) -> np.ndarray:
    """Largest of a Gaussian of peak 1 about each point."""
    out = np.zeros(shape)
    half = int(4 * width)
    for y, x in points:
        rows = slice(max(0, int(y) - half), int(y) + half + 1)
        cols = slice(max(0, int(x) - half), int(x) + half + 1)
        part = out[rows, cols]
        r = np.arange(rows.start, rows.start + part.shape[0])[:, None] - y
        c = np.arange(cols.start, cols.start + part.shape[1]) - x
        np.maximum(part, np.exp(-(r * r + c * c) / (2 * width**2)), out=part)
    return out.astype(np.float32)


def with_scipy(probability: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(probability > 0.5)
    inside = np.flatnonzero(labels)
    part, weight = labels.ravel()[inside], probability.ravel()[inside]
    row, col = np.divmod(inside, probability.shape[1])
    total = np.bincount(part, weight, count + 1)[1:]
    sums = [np.bincount(part, weight * axis, count + 1)[1:] for axis in (row, col)]
    return np.stack(sums, axis=1) / total[:, None]


def map_calls(probability: np.ndarray) -> dict[str, Any]:
    maps = probability[None]
    calls: dict[str, Any] = {
        "one read of the map": probability.max,
        "probewise": lambda: pw.find_atoms(maps),
        "scipy label + bincount": lambda: with_scipy(probability),
        "scipy label + center_of_mass": lambda: peer_refinement.label_and_centre(probability),
    }
    try:
        import cv2
    except ImportError:
        print("cv2 is not installed: not run")
    else:
        cv2.setNumThreads(1)

        def with_cv2() -> np.ndarray:
            count, labels = cv2.connectedComponents((probability > 0.5).astype(np.uint8), connectivity=4)
            inside = np.flatnonzero(labels)
            part, weight = labels.ravel()[inside], probability.ravel()[inside]
            row, col = np.divmod(inside, probability.shape[1])
            total = np.bincount(part, weight, count)[1:]
            sums = [np.bincount(part, weight * axis, count)[1:] for axis in (row, col)]
            return np.stack(sums, axis=1) / total[:, None]

        calls["cv2 connected components + bincount"] = with_cv2
    try:
        from atomai.predictors import Locator
    except ImportError as missing:
        print(f"atomai: {missing}: not run")
    else:
        stack = np.stack([probability, 1 - probability], axis=-1)[None]
        calls["atomai Locator"] = lambda: Locator(0.5).run(stack)
    return calls


def frame_calls() -> tuple[dict[str, Any], int]:
    """A 256 x 256 graphene-like frame with Poisson noise, its presence and class maps."""
    rng = np.random.default_rng(1)
    distance, width = 11.8, 3.7
    cell = distance * np.sqrt(3)
    i, j = (axis.ravel() for axis in np.indices((60, 60)) - 30)
    corner = np.stack([j * cell * np.sqrt(3) / 2, i * cell + j * cell / 2], axis=1)
    points = np.concatenate([corner, corner + np.array([distance, 0])])
    cos, sin = np.cos(0.2), np.sin(0.2)
    points = points @ np.array([[cos, -sin], [sin, cos]])
    points = points[((points > 0) & (points < 255)).all(axis=1)]
    y, x = np.arange(256.0), np.arange(256.0)
    mean = 0.05 + np.exp(-((y - points[:, :1]) ** 2) / (2 * width**2)).T @ np.exp(
        -((x - points[:, 1:]) ** 2) / (2 * width**2)
    )
    frame = (10 * rng.poisson(3 * mean) + rng.normal(100, 3, mean.shape)).astype(np.float32)
    presence = blobs((256, 256), points + rng.normal(0, 0.3, points.shape), 2.5)[None]
    classes = rng.dirichlet(np.ones(7), (128, 128)).astype(np.float32).transpose(2, 0, 1).copy()
    buffer = np.empty((len(points), 32, 32), dtype=np.float32)
    weights = [rng.normal(0, 0.03, shape).astype(np.float32) for shape in ((1024, 128), (128, 128), (128, 5))]
    scaled = np.empty_like(frame)
    atoms = pw.find_atoms(presence)
    noise = estimate_noise(frame)

    def encode(patches: np.ndarray) -> np.ndarray:
        values = patches.reshape(len(patches), -1)
        for matrix in weights[:-1]:
            values = np.tanh(values @ matrix)
        return values @ weights[-1]

    def chain() -> None:
        found = label_atoms(pw.find_atoms(presence, refine_on=frame), classes, 2)
        patches, _ = pw.extract_patches(scaled, found.yx, 32, out=buffer)
        content = encode(patches)[:, 3:]
        content.var(axis=0).argmax()

    def peer_chain() -> None:
        centres = peer_refinement.label_and_centre(presence[0])
        refined = peer_refinement.refine(frame, centres)
        patches = peer_refinement.patches(frame, refined, 32)
        encode(patches)[:, 3:].var(axis=0).argmax()

    network_input(frame, scaled)
    patches, _ = pw.extract_patches(scaled, atoms.yx, 32, out=buffer)
    return {
        "network_input": lambda: network_input(frame, scaled),
        "find_atoms": lambda: pw.find_atoms(presence),
        "label_atoms": lambda: label_atoms(atoms, classes, 2),
        "estimate_noise": lambda: estimate_noise(frame),
        "refine_atoms, noise given": lambda: refine_atoms(frame, atoms.yx, noise=noise),
        "extract_patches": lambda: pw.extract_patches(scaled, atoms.yx, 32, out=buffer),
        "encode": lambda: encode(patches),
        "all after the network": chain,
        "AtomAI's recipe for the same": peer_chain,
    }, len(atoms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "atoms.json")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    axis = np.arange(11, 1024, 22.75)
    points = np.stack([part.ravel() for part in np.meshgrid(axis, axis, indexing="ij")], axis=1)
    probability = blobs((1024, 1024), points + rng.normal(0, 1, points.shape), 3.0)
    rows = image_bench.interleaved(map_calls(probability), rounds=25)
    image_bench.write(arguments.json, __doc__, rows, floor="one read of the map", atoms=len(points))
    calls, count = frame_calls()
    peer = {name: calls.pop(name) for name in ["AtomAI's recipe for the same"]}
    after = image_bench.interleaved(calls, rounds=40) + image_bench.interleaved(peer, rounds=1)
    image_bench.write(
        arguments.json, __doc__, after, atoms=len(points), map_rows=rows, frame="256 x 256", frame_atoms=count
    )


if __name__ == "__main__":
    main()
