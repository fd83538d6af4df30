# SPDX-License-Identifier: BSD-3-Clause
"""What an encoder is worth: invariance, angle, and what a linear probe reads from its variables."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from probewise.descriptors import angle_terms
from probewise.training.rendered import MATERIALS, UNNAMED, AtomPatches, atom_patches
from probewise.types import Float32Array, FloatArray, IntArray

Encode = Callable[[Float32Array], tuple[Float32Array, Float32Array]]


def probe_accuracy(features: FloatArray, label: IntArray, group: IntArray) -> float:
    """Balanced accuracy of logistic regression on standardised features, trained on half of the groups (by parity)
    and tested on the other half."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    even = group % 2 == 0
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=100, class_weight="balanced", max_iter=3000))
    classifier.fit(features[even], label[even])
    return float(balanced_accuracy_score(label[~even], classifier.predict(features[~even])))


def probes(data: AtomPatches, material: str, mean: FloatArray) -> dict[str, float]:
    """`probe_accuracy` of each of the material's questions from content, angle (as cos, sin) and both.

    mean  (n, 3 + content) latent means of data's patches
    """
    kind = MATERIALS[material]
    content, angle = mean[:, 3:], angle_terms(mean[:, 0], kind.symmetry)
    found = {}
    for question, groups in kind.questions.items():
        group_of = np.full(len(kind.classes) + 1, UNNAMED)  # the last entry is that of UNNAMED, -1
        for number, labels in enumerate(groups):
            group_of[list(labels)] = number
        group = group_of[data.label]
        rows = group != UNNAMED
        for name, columns in (("content", content), ("angle", angle), ("both", np.concatenate([content, angle], 1))):
            found[f"{question}_by_{name}"] = probe_accuracy(columns[rows], group[rows], data.frame[rows])
    return found


def rotation_test(
    encode: Encode,
    material: str,
    *,
    seed: int,
    frames: int = 3,
    turns_deg: tuple[float, ...] = (10.0, 37.0, 60.0, 90.0, 133.0),
    dose_e_per_A2: float | None = None,
) -> dict[str, float]:
    """Render specimens, render them again with the scan turned, and compare what the encoder says of each atom.

    dose_e_per_A2  None: expected counts from a perfect scan
    returns  class_distance     mean distance between the classes' mean contents
             moved_median       median over atoms of the content's movement, in class distances
             moved_class_mean   largest movement of a class's mean content, in class distances
             repeated_median    moved_median between two frames that differ in noise only: what noise does by itself
             angle_rms_deg, angle_median_deg  error of the change of angle modulo the pattern's symmetry
    """
    kind = MATERIALS[material]

    def seen(turn_deg: float, noise_key: int = 0) -> tuple[AtomPatches, Float32Array]:
        data = atom_patches(
            material,
            seed=seed,
            frames=frames,
            rotation_rad=math.radians(turn_deg),
            dose_e_per_A2=dose_e_per_A2 or kind.dose_e_per_A2[1],
            noiseless=1.0 if dose_e_per_A2 is None else 0.0,
            off_centre_px=0.0,
            pixel_spread=0.0,
            sequence=noise_key,
        )
        return data, encode(data.patches)[0]

    upright, before = seen(0.0)
    named = upright.label != UNNAMED
    present = np.unique(upright.label[named])
    means = np.stack([before[upright.label == label, 3:].mean(axis=0) for label in present])
    apart = np.linalg.norm(means[:, None] - means[None], axis=2)
    distance = float(apart[np.triu_indices(len(present), 1)].mean())

    def moved(after_data: AtomPatches, after: Float32Array) -> tuple[FloatArray, FloatArray, IntArray]:
        first, second = _same_atoms(upright, after_data)
        keep = upright.label[first] != UNNAMED
        first, second = first[keep], second[keep]
        content = (after[second, 3:] - before[first, 3:]).astype(np.float64)
        return content, (after[second, 0] - before[first, 0]).astype(np.float64), upright.label[first]

    lengths, drifts, errors = [], [], []
    for turn in turns_deg:
        content, angle, label = moved(*seen(turn))
        lengths.append(np.linalg.norm(content, axis=1))
        drifts += [float(np.linalg.norm(content[label == one].mean(axis=0))) for one in np.unique(label)]
        # x' = x R(angle): a frame whose scan is turned by +turn shows the specimen turned the other way.
        errors.append(np.angle(np.exp(1j * kind.symmetry * (angle + math.radians(turn)))) / kind.symmetry)
    again, _, _ = moved(*seen(0.0, 1))
    error = np.degrees(np.concatenate(errors))
    return {
        "class_distance": distance,
        "moved_median": float(np.median(np.concatenate(lengths))) / distance,
        "moved_class_mean": max(drifts) / distance,
        "repeated_median": float(np.median(np.linalg.norm(again, axis=1))) / distance,
        "angle_rms_deg": float(np.sqrt((error**2).mean())),
        "angle_median_deg": float(np.median(np.abs(error))),
    }


def _same_atoms(a: AtomPatches, b: AtomPatches) -> tuple[IntArray, IntArray]:
    """Rows of the atoms that both hold."""
    key = {(frame, *place): row for row, (frame, place) in enumerate(zip(a.frame, a.place.round(5), strict=True))}
    pairs = [
        (key[frame, *place], row)
        for row, (frame, place) in enumerate(zip(b.frame, b.place.round(5), strict=True))
        if (frame, *place) in key
    ]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
