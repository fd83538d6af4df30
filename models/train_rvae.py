# SPDX-License-Identifier: BSD-3-Clause
"""Train a shipped autoencoder: render, fit, export, compare with torch, evaluate, write the cards.

python models/train_rvae.py graphene --out python/probewise/models
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from probewise.inference import PixelRange
from probewise.training.autoencoder import ROTATIONS, Invariances
from probewise.training.evaluation import probes, rotation_test
from probewise.training.exporting import encode, export_autoencoder
from probewise.training.fit import train
from probewise.training.rendered import MATERIALS, atom_patches, capped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("material", choices=sorted(MATERIALS))
    parser.add_argument("--rotation", choices=ROTATIONS, default="full")
    parser.add_argument("--content", type=int, help="default: the material's")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("python/probewise/models"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kind = MATERIALS[chosen.material]
    content = kind.content if chosen.content is None else chosen.content
    data = capped(
        atom_patches(chosen.material, seed=chosen.seed, frames=chosen.frames, noiseless=0.15), 4000, seed=chosen.seed
    )
    print(f"{len(data)} patches", flush=True)
    fitted = train(
        data.patches,
        Invariances(kind.side_px, chosen.rotation, False, content),
        steps=chosen.steps,
        seed=chosen.seed,
        progress=lambda step, loss: print(f"step {step}  loss {loss:.2f}", flush=True),
    )

    def encoded(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return encode(fitted.encoder, patches)

    # One orientation of the scan: what a domain is called depends on it.
    test = capped(
        atom_patches(chosen.material, seed=chosen.seed + 1000, frames=max(8, chosen.frames // 3), rotation_rad=0.3),
        2000,
        seed=0,
    )
    metrics = probes(test, chosen.material, encoded(test.patches)[0].astype(np.float64))
    if chosen.rotation == "full":
        for name, dose in (("noiseless", None), ("dose_1e5", 1e5)):
            found = rotation_test(encoded, chosen.material, seed=chosen.seed + 2000, dose_e_per_A2=dose)
            metrics |= {f"{name}_{key}": value for key, value in found.items()}
    metrics = {key: round(value, 4) for key, value in metrics.items()}
    name = chosen.material + ("" if chosen.rotation == "full" else f"-{chosen.rotation}")
    command = f"python models/train_rvae.py {chosen.material} --rotation {chosen.rotation} --content {content}"
    paths = export_autoencoder(
        fitted,
        chosen.out,
        name,
        data.patches[:: max(1, len(data) // 2000)],
        pixel_nm=PixelRange(kind.pixel_nm, round(kind.pixel_nm / 3, 5), round(kind.pixel_nm * 1.25, 5)),
        symmetry=kind.crystal,
        recipe={
            "command": f"{command} --frames {chosen.frames} --steps {chosen.steps} --seed {chosen.seed}",
            "seed": chosen.seed,
            "steps": chosen.steps,
            "data": f"{len(data)} patches about true atoms of {chosen.frames} rendered {chosen.material} frames",
        },
        metrics=metrics,
    )
    for key, value in metrics.items():
        print(f"{key}  {value}")
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()
