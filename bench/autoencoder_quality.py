# SPDX-License-Identifier: BSD-3-Clause
"""Is the content of a rotationally invariant autoencoder invariant, and what can be told from it?

Patches about true atoms of rendered specimens, ours and AtomAI's rVAE (where it is installed) trained on the same
patches, one thread; AtomAI for `--times` as much processor time (at least one pass over the patches). Then, on
specimens with other seeds: balanced accuracy of a linear probe on content, on cos and sin of symmetry x angle, and on
both; how far the content moves when the specimen is rendered again with the scan turned, in distances between the
classes' means, without noise and at 1e5 e/A^2 (beside it what new noise alone does); and the error of the angle modulo
the pattern's symmetry.

Materials that are not named keep their rows in the file.

    python bench/autoencoder_quality.py [--steps 1500] [--frames 80] [--times 1] [--materials graphene bfo mos2]
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import torch

from model_fuzz import cpu_model
from probewise.experiment.recorder import machine
from probewise.training.autoencoder import Invariances
from probewise.training.evaluation import probes, rotation_test
from probewise.training.exporting import encode
from probewise.training.fit import train
from probewise.training.rendered import MATERIALS, atom_patches, capped

BATCH = 128
TURN_RAD = 0.3  # of the scan in all test frames: what a domain is called depends on it


def ours(patches, side_px, content, steps):
    begun = time.process_time()
    fitted = train(patches, Invariances(side_px, "full", False, content), steps=steps, batch=BATCH, seed=1)
    return time.process_time() - begun, lambda x: encode(fitted.encoder, x)


def atomai_rvae(patches, side_px, content, seconds):
    """AtomAI's defaults but for the content; as many cycles as fit into `seconds`, at least one."""
    from atomai.models import rVAE

    def fit(some, cycles):
        model = rVAE(in_dim=(side_px, side_px), latent_dim=content, seed=1)
        begun = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(some, training_cycles=cycles, batch_size=BATCH, filename=os.devnull)
        return time.process_time() - begun, model

    one = fit(patches[::8], 1)[0] * 8
    cycles = max(1, round(seconds / one))
    used, model = fit(patches, cycles)

    def encoded(x):
        with contextlib.redirect_stdout(io.StringIO()):
            mean, deviation = model.encode(x)
        return np.asarray(mean), np.asarray(deviation)

    return used, cycles, encoded


def judged(encoded, material, test):
    found = {"probes": probes(test, material, encoded(test.patches)[0].astype(np.float64))}
    for name, dose in (("noiseless", None), ("dose_1e5", 1e5)):
        found[name] = rotation_test(encoded, material, seed=2001, dose_e_per_A2=dose)
    return found


def without_torchvision():
    """AtomAI imports four names of torchvision that a rVAE never calls; its wheel may not fit the installed torch."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    vision, models, utils = (types.ModuleType(f"torchvision{part}") for part in ("", ".models", ".utils"))
    for name in ("mobilenet_v2", "resnet50", "vgg16"):
        setattr(models, name, None)
    utils.make_grid = None
    vision.models, vision.utils = models, utils
    sys.modules |= {"torchvision": vision, "torchvision.models": models, "torchvision.utils": utils}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--times", type=float, default=1.0)
    parser.add_argument("--materials", nargs="+", choices=sorted(MATERIALS), default=sorted(MATERIALS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "autoencoder_quality.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    peer = importlib.util.find_spec("atomai") is not None
    if peer:
        without_torchvision()
    table = json.loads(chosen.out.read_text())["materials"] if chosen.out.exists() else {}
    for material in chosen.materials:
        side, content = MATERIALS[material].side_px, MATERIALS[material].content
        data = capped(atom_patches(material, seed=1, frames=chosen.frames, noiseless=0.15), 3000, seed=1)
        test = capped(atom_patches(material, seed=1001, frames=chosen.frames // 2, rotation_rad=TURN_RAD), 1500, seed=0)
        seconds, encoded = ours(data.patches, side, content, chosen.steps)
        row = {
            "patches": len(data),
            "content": content,
            "probewise": {"cpu_s": round(seconds, 1), "steps": chosen.steps, **judged(encoded, material, test)},
        }
        if peer:
            seconds, cycles, encoded = atomai_rvae(data.patches, side, content, chosen.times * seconds)
            row["atomai"] = {"cpu_s": round(seconds, 1), "cycles": cycles, **judged(encoded, material, test)}
        table[material] = row
        print(material, json.dumps(row, indent=1), flush=True)
    versions = {"torch": torch.__version__, "atomai": importlib.metadata.version("atomai") if peer else None}
    result = {"machine": machine(), "cpu": cpu_model(), "threads": 1, "versions": versions, "materials": table}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
