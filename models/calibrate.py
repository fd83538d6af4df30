# SPDX-License-Identifier: BSD-3-Clause
"""Where the network calls a site a vacancy or a dopant: the class bias that gives a stated rate of false ones."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from networks import MULTIPLE_OF
from probewise.image import network_input
from probewise.instrument.specimens import build
from probewise.types import FloatArray, IntArray
from scenes import CLASSES
from shots import Shot

FALSE_PER_SITE = 3e-4  # 1e-3 is allowed at SNR 8; fainter frames have more
SNR = 8.0
FIRST_SEED, FIRST_NUMBER = 2**32, 7000  # specimens and scans that neither training nor evaluation uses
_HOSTS = {"graphene": ("C", 6), "mos2": ("TMD chalcogen", 10)}  # class of the stated SNR, frames


def calibrated(network: nn.Module, *, part: float = 1.0) -> nn.Module:
    """The network with the biases of `dopant` and `vacancy` moved, from frames of the two monolayers at SNR 8.

    The threshold lies where, in the worse of the two, FALSE_PER_SITE others pass it; halfway to the true ones where
    there is a gap.
    part  of the frames that are looked at
    """
    out = copy.deepcopy(network).eval()
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


def margins(network: nn.Module, index: int, material: str, part: float) -> tuple[FloatArray, IntArray]:
    """How far the logarithm of a class's probability lies above that of the best other class, at each true site."""
    from scipy.ndimage import map_coordinates

    host, frames = _HOSTS[material]
    found: list[FloatArray] = []
    labels: list[IntArray] = []
    for number in range(FIRST_NUMBER, FIRST_NUMBER + max(1, round(part * frames))):
        made = build(material, seed=FIRST_SEED + number, fov_nm=25.0, defect_statistics="uncorrelated", defects=20_000)
        shot = Shot(made, material, number, 0.02)
        image, _ = network_input(shot.counts(shot.electrons_for(CLASSES.index(host), SNR)))
        whole = [side // MULTIPLE_OF * MULTIPLE_OF for side in image.shape]
        with torch.inference_mode():
            _, kind = network(torch.from_numpy(np.ascontiguousarray(image[: whole[0], : whole[1]]))[None, None])
        share = torch.softmax(kind[0], dim=0).numpy()
        yx, label = shot.scene.yx, shot.scene.label
        counted = (label >= 0) & shot.edge.inside(yx) & (yx < np.array(whole) - 1).all(axis=1)
        places = (yx[counted].T + 0.5) / 2 - 0.5
        at = np.log(np.maximum([map_coordinates(one, places, order=1, mode="nearest") for one in share], math.exp(-30)))
        found.append(at[index] - np.delete(at, index, axis=0).max(axis=0))
        labels.append(label[counted])
    return np.concatenate(found), np.concatenate(labels)
