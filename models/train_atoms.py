# SPDX-License-Identifier: BSD-3-Clause
"""Train the atom finder, export it, compare ONNX Runtime with torch, evaluate, and write model and card.

Run: python models/train_atoms.py [--minutes 90] [--seed 0] [--name atoms] [--out python/probewise/models]
Real labelled images are read at ../shared/data beside the repository or at $PROBEWISE_DATA; without them the network
learns from simulated frames alone, and the card says so.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from calibrate import calibrated
from evaluate_atoms import ROOT, Found, data_folder, evaluate, split, summary
from export import INPUT, OPSET, OUTPUTS, export, pinned
from frames import RealImage, Sample, real_images, stream
from networks import MULTIPLE_OF, AtomNet, ReferenceUNet
from probewise.inference.card import Card, ModelInput, ModelOutput, PixelRange
from scenes import CLASSES, MATERIALS, NATIVE_NM

NETWORKS = {"fast": AtomNet, "unet": ReferenceUNet}
SHIPPED = ROOT / "python" / "probewise" / "models"
PIXEL_RANGE_NM = (0.01, 0.05)
MINIATURE = 5.0  # minutes
RARE = {"vacancy": 20.0, "dopant": 5.0}  # weight in the loss; calibrate.py sets the bias
BATCH = 8
RATE = 3e-3
EMA = 0.998


class Frames(IterableDataset[tuple[np.ndarray, ...]]):
    """Samples without end, another seed in each worker."""

    def __init__(self, seed: int, pool: int, real: list[RealImage]) -> None:
        self.seed, self.pool, self.real = seed, pool, real

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        for sample in stream(self.seed * 100 + (info.id if info else 0), pool=self.pool, real=self.real):
            yield arrays(sample)


def arrays(sample: Sample) -> tuple[np.ndarray, ...]:
    return sample.image[None], sample.site[None], sample.weight[None], sample.kind


def loss_of(network: nn.Module, batch: list[Tensor], class_weight: Tensor) -> Tensor:
    """Binary cross-entropy of the site over all pixels plus cross-entropy of the class on the discs."""
    image, site, weight, kind = batch
    with torch.autocast("cpu", torch.bfloat16):
        site_logits, kind_logits = network(image.to(memory_format=torch.channels_last))
    missed = functional.binary_cross_entropy_with_logits(site_logits.float(), site, weight, reduction="sum")
    of_class = functional.cross_entropy(kind_logits.float(), kind, class_weight, ignore_index=-100, reduction="sum")
    labelled = class_weight[kind[kind >= 0]].sum()
    return 10 * missed / weight.sum() + 2 * of_class / labelled.clamp(min=1.0)


def train(
    network: nn.Module, *, minutes: float, seed: int, pool: int, workers: int, real: list[RealImage], checkpoint: Path
) -> tuple[nn.Module, int]:
    """AdamW, rate falling as a cosine over `minutes`; returns the exponential mean of the weights and the steps."""
    torch.manual_seed(seed)
    network = network.to(memory_format=torch.channels_last).train()
    mean = copy.deepcopy(network).eval()
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 1e-2}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    class_weight = torch.ones(len(CLASSES))
    for name, factor in RARE.items():
        class_weight[CLASSES.index(name)] = factor
    batches = DataLoader(Frames(seed, pool, real), BATCH, num_workers=workers, prefetch_factor=8 if workers else None)
    checkpoint.parent.mkdir(exist_ok=True)
    started = said = time.monotonic()
    steps, running = 0, 0.0
    for batch in batches:
        part = (time.monotonic() - started) / (60 * minutes)
        if part >= 1 and steps:
            break
        rate = RATE * min(1.0, (steps + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(part, 1.0)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(network, batch, class_weight)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        steps += 1
        follow(mean, network, min(EMA, (1 + steps) / (10 + steps)))
        running = 0.98 * running + 0.02 * float(loss.detach()) if steps > 1 else float(loss.detach())
        if time.monotonic() - said > 60:
            said = time.monotonic()
            torch.save(mean.state_dict(), checkpoint)
            print(f"{(said - started) / 60:6.1f} min  {steps} steps  rate {rate:.1e}  loss {running:.4f}", flush=True)
    torch.save(mean.state_dict(), checkpoint)
    return mean, steps


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, keep: float) -> None:
    state = network.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.mul_(keep).add_(state[name], alpha=1 - keep)
        else:
            value.copy_(state[name])


def card(
    path: Path, arguments: argparse.Namespace, steps: int, real: dict[str, list[str]], metrics: Mapping[str, Any]
) -> Card:
    sha256, size = pinned(path)
    recipe = {
        "command": "python models/train_atoms.py",
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "steps": steps,
        "batch": BATCH,
        "data": "simulated specimens "
        + ", ".join(MATERIALS)
        + "; noise, background and detector drawn for every frame",
        **real,
    }
    return Card(
        name=path.stem,
        kind="atoms",
        sha256=sha256,
        size_bytes=size,
        opset=OPSET,
        input=ModelInput(INPUT, "N1HW", MULTIPLE_OF, None),
        outputs=(ModelOutput(OUTPUTS[0], "sigmoid", 1), ModelOutput(OUTPUTS[1], "softmax", 2)),
        classes=CLASSES,
        background="absent",
        pixel_nm=PixelRange(NATIVE_NM, *PIXEL_RANGE_NM),
        normalisation="robust",
        latent=None,
        ood=None,
        licence="BSD-3-Clause",
        recipe=recipe,
        metrics=metrics,
    )


def ship(
    mean: nn.Module, steps: int, arguments: argparse.Namespace, trained: list[RealImage], held: list[RealImage]
) -> None:
    """Calibrate, export, compare, evaluate; model and card to `arguments.out`."""
    small = arguments.minutes < MINIATURE
    path = arguments.out / f"{arguments.name}.onnx"
    worst = export(calibrated(mean.to(memory_format=torch.contiguous_format), part=0.1 if small else 1.0), path)
    print(f"{steps} steps; ONNX Runtime and torch differ by at most {worst:.1e}", flush=True)
    real = {"real_trained": [image.name for image in trained], "real_held_out": [image.name for image in held]}
    card_path = path.with_suffix(".json")
    card_path.write_text(card(path, arguments, steps, real, {}).to_json())  # the evaluation loads the model by its card
    metrics = summary(evaluate(Found(path), trained, held, small=small))
    card_path.write_text(card(path, arguments, steps, real, metrics).to_json())
    print(card_path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90.0, help="under 5: a miniature, evaluated on a few frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="atoms")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="fast", help="unet is the reference, not shipped")
    parser.add_argument("--fold", type=int, default=0, help="which fourth of the real images is held out")
    parser.add_argument("--start", type=Path, help="weights to start from, as a checkpoint holds them")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "build" / "atoms.pt", help="written once a minute")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained, held = split(real_images(data_folder()), arguments.fold)
    network = NETWORKS[arguments.network](len(CLASSES))
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start, weights_only=True))
    small = arguments.minutes < MINIATURE
    mean, steps = train(
        network,
        minutes=arguments.minutes,
        seed=arguments.seed,
        pool=8 if small else 300,
        workers=0 if small else 1,
        real=trained,
        checkpoint=arguments.checkpoint,
    )
    ship(mean, steps, arguments, trained, held)


if __name__ == "__main__":
    main()
