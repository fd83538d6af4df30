# SPDX-License-Identifier: BSD-3-Clause
"""Where the network calls a place an atom, and a site a vacancy or a dopant: biases chosen on frames of their own."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from judge import Score
from networks import MULTIPLE_OF
from probewise.image import find_atoms, network_input
from probewise.image.contrast import stand_out
from probewise.instrument.specimens import build
from probewise.types import Float32Array, FloatArray, IntArray
from scenes import CLASSES, NATIVE_NM, single_atoms
from shots import Shot

FALSE_PER_SITE = 3e-4  # 1e-3 is allowed at SNR 8; fainter frames have more
SNR = 8.0
FIRST_SEED, FIRST_NUMBER = 2**32, 7000  # specimens and scans that neither training nor evaluation uses
_HOSTS = {"graphene": ("C", 6), "mos2": ("TMD chalcogen", 10)}  # class of the stated SNR, frames


_SINGLE_FRAMES, _SINGLE_SNRS = 8, (5.0, 8.0, 12.0)
_PRESENCES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)  # below, the atoms of a lattice run into each other
_SINGLE_TOLERANCE_NM = 0.05


def calibrated(network: nn.Module, *, part: float = 1.0) -> nn.Module:
    """The network with the biases of presence and of `dopant` and `vacancy` moved.

    Presence, from single heavy atoms on film at SNR 5 to 12: 0.5 where F1 is highest.
    The classes, from the two monolayers at SNR 8: the threshold lies where, in the worse of the two, FALSE_PER_SITE
    others pass it; halfway to the true ones where there is a gap.
    part  of the frames that are looked at
    """
    out = copy.deepcopy(network).eval()
    presence = best_presence(out, part)
    head = out.site[0] if isinstance(out.site, nn.Sequential) else out.site
    with torch.no_grad():
        head.bias -= math.log(presence / (1 - presence))
    for name in ("dopant", "vacancy"):
        index = CLASSES.index(name)
        each = [margins(out, index, material, part) for material in _HOSTS]
        true = np.concatenate([margin[label == index] for margin, label in each])
        allowed = max(float(np.quantile(margin[label != index], 1 - FALSE_PER_SITE)) for margin, label in each)
        enough = float(np.quantile(true, 0.01))
        threshold = max(allowed, min(enough, 0.5 * (allowed + enough)))
        print(
            f"{name}: bias {-threshold:+.2f}, recall {float((true > threshold).mean()):.4f} of {len(true)}", flush=True
        )
        with torch.no_grad():
            out.kind.bias[index] -= threshold
    return out


def best_presence(network: nn.Module, part: float) -> float:
    """The probability of presence beyond which single atoms are told best from their film."""
    scores = {presence: Score() for presence in _PRESENCES}
    heavy = CLASSES.index("heavy")
    for number in range(FIRST_NUMBER, FIRST_NUMBER + max(1, round(part * _SINGLE_FRAMES))):
        shot = Shot(single_atoms(FIRST_SEED + number, clusters=False), "single atoms", number, NATIVE_NM)
        true = shot.scene.yx[shot.scene.label == heavy]
        for snr in _SINGLE_SNRS if len(true) > 1 else ():
            counts = shot.counts(shot.electrons_for(heavy, snr))
            site, _ = outputs(network, counts)
            probability = torch.sigmoid(site).numpy()
            for presence, score in scores.items():
                found = find_atoms(probability, presence, classes=("atom",)).yx
                there = stand_out(counts, found, (NATIVE_NM, NATIVE_NM))
                score.add(found[there], true, _SINGLE_TOLERANCE_NM / NATIVE_NM, shot.edge)
    best = max(scores, key=lambda presence: scores[presence].f1 or 0.0)
    print(f"presence: {best} becomes 0.5, F1 {scores[best].f1}, was {scores[0.5].f1} of single atoms", flush=True)
    return best


def outputs(network: nn.Module, counts: Float32Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the site and the class of a frame, cut to what the network divides."""
    image, _ = network_input(counts)
    rows, cols = (side // MULTIPLE_OF * MULTIPLE_OF for side in image.shape)
    with torch.inference_mode():
        site, kind = network(torch.from_numpy(np.ascontiguousarray(image[:rows, :cols]))[None, None])
    return site[0], kind[0]


def margins(network: nn.Module, index: int, material: str, part: float) -> tuple[FloatArray, IntArray]:
    """How far the logarithm of a class's probability lies above that of the best other class, at each true site."""
    from scipy.ndimage import map_coordinates

    host, frames = _HOSTS[material]
    found: list[FloatArray] = []
    labels: list[IntArray] = []
    for number in range(FIRST_NUMBER, FIRST_NUMBER + max(1, round(part * frames))):
        made = build(material, seed=FIRST_SEED + number, fov_nm=25.0, defect_statistics="uncorrelated", defects=20_000)
        shot = Shot(made, material, number, 0.02)
        _, kind = outputs(network, shot.counts(shot.electrons_for(CLASSES.index(host), SNR)))
        share = torch.softmax(kind, dim=0).numpy()
        whole = [2 * side for side in share.shape[1:]]
        yx, label = shot.scene.yx, shot.scene.label
        counted = (label >= 0) & shot.edge.inside(yx) & (yx < np.array(whole) - 1).all(axis=1)
        places = (yx[counted].T + 0.5) / 2 - 0.5
        at = np.log(np.maximum([map_coordinates(one, places, order=1, mode="nearest") for one in share], math.exp(-30)))
        found.append(at[index] - np.delete(at, index, axis=0).max(axis=0))
        labels.append(label[counted])
    return np.concatenate(found), np.concatenate(labels)
