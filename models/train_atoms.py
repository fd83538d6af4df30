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
import os
import time
from pathlib import Path

import numpy as np
import torch
from frames import RealImage, Sample, real_images, stream
from networks import AtomNet, ReferenceUNet
from scenes import CLASSES
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT_EVERY = 4  # of the real images, counted in order of their names
BATCH = 8
RATE = 3e-3
EMA = 0.998


class Frames(IterableDataset[tuple[np.ndarray, ...]]):
    """Samples without end, another seed in each worker."""

    def __init__(self, seed: int, pool: int, real: list[RealImage]) -> None:
        self.seed, self.pool, self.real = seed, pool, real

    def __iter__(self):  # noqa: ANN204
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
    return 10 * missed / weight.sum() + of_class / labelled.clamp(min=1.0)


def train(
    network: nn.Module, *, minutes: float, seed: int, pool: int, workers: int, real: list[RealImage], checkpoint: Path
) -> tuple[nn.Module, int]:
    """AdamW under a one-cycle cosine over `minutes`; returns the exponential mean of the weights and the steps taken."""
    torch.manual_seed(seed)
    network = network.to(memory_format=torch.channels_last).train()
    mean = copy.deepcopy(network).eval()
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 1e-2}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    class_weight = torch.ones(len(CLASSES))
    class_weight[[CLASSES.index("vacancy"), CLASSES.index("dopant")]] = 2.0
    batches = DataLoader(Frames(seed, pool, real), BATCH, num_workers=workers, prefetch_factor=8 if workers else None)
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


def split(real: list[RealImage], fold: int) -> tuple[list[RealImage], list[RealImage]]:
    """Images for training and held-out ones: every fourth, from `fold` on."""
    held = [image for number, image in enumerate(real) if number % HELD_OUT_EVERY == fold]
    return [image for image in real if image not in held], held


def data_folder() -> Path:
    return Path(os.environ.get("PROBEWISE_DATA", ROOT.parent / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="atoms")
    parser.add_argument("--network", choices=("fast", "unet"), default="fast", help="unet is the reference, not shipped")
    parser.add_argument("--fold", type=int, default=0, help="which fourth of the real images is held out")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--out", type=Path, default=ROOT / "python" / "probewise" / "models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained, _ = split(real_images(data_folder()), arguments.fold)
    network = (AtomNet if arguments.network == "fast" else ReferenceUNet)(len(CLASSES))
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start, weights_only=True))
    small = arguments.minutes < 5
    mean, steps = train(
        network,
        minutes=arguments.minutes,
        seed=arguments.seed,
        pool=8 if small else 300,
        workers=0 if small else 1,
        real=trained,
        checkpoint=arguments.out / f"{arguments.name}.pt",
    )
    print(steps)


if __name__ == "__main__":
    main()
