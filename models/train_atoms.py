# SPDX-License-Identifier: BSD-3-Clause
"""Train the atom finder, export it, compare ONNX Runtime with torch, evaluate, and write model and card.

Run: python models/train_atoms.py [--minutes 50] [--real-minutes 4] [--seed 0] [--out python/probewise/models]
First on the rendered frames of models/frame_cache.py (made now where there are none), then for some minutes on a mix
of those and of the real labelled images that are not held out. Minutes are processor minutes of this one process.
Real images are read at ../shared/data beside the repository or at $PROBEWISE_DATA; without them the second part falls
away, and the card says so.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from calibrate import calibrated
from evaluate_atoms import Found, evaluate, summary
from export import OUTPUTS, card_of_frames, export
from frame_cache import FrameCache, open_cache, render
from frames import RealImage, Sample, real_images, real_sample, sample
from networks import AtomNet, ReferenceUNet
from probewise.inference.card import Card, ModelOutput
from real_frames import ROOT, data_folder, split
from scenes import CLASSES, MATERIALS, NATIVE_NM

NETWORKS: dict[str, Callable[[int], nn.Module]] = {"fast": AtomNet, "unet": ReferenceUNet}
RATES = {"fast": 3e-3, "unet": 1e-3}  # the second is AtomAI's default
SHIPPED = ROOT / "python" / "probewise" / "models"
MINIATURE = 5.0  # minutes
FRAMES = 8000
RARE = {"vacancy": 20.0, "dopant": 5.0}  # weight in the loss; calibrate.py sets the bias
BATCH = 8
REAL_SHARE = 0.6
REAL_RATE = 0.5  # of the network's rate
EMA = 0.998


def samples(cache: FrameCache, real: list[RealImage], seed: int) -> Iterator[Sample]:
    """Without end: the rendered frames in an order drawn anew for each pass, real images between them."""
    random = np.random.default_rng(seed)
    while True:
        for number in random.permutation(len(cache)):
            if real and random.random() < REAL_SHARE:
                yield real_sample(random, real[random.integers(len(real))])
            else:
                yield sample(random, cache[int(number)])


def batches(frames: Iterator[Sample]) -> Iterator[list[Tensor]]:
    while True:
        several = [next(frames) for _ in range(BATCH)]
        arrays = [[one.image[None], one.site[None], one.weight[None], one.kind] for one in several]
        yield [torch.from_numpy(np.stack(each)) for each in zip(*arrays, strict=True)]


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
    network: nn.Module, frames: Iterator[Sample], *, minutes: float, rate: float, seed: int, checkpoint: Path
) -> tuple[nn.Module, int]:
    """AdamW, rate falling as a cosine over processor minutes; returns the mean weights and the steps."""
    torch.manual_seed(seed)
    network = network.to(memory_format=torch.channels_last).train()
    mean = copy.deepcopy(network).eval()
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 1e-2}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    class_weight = torch.ones(len(CLASSES))
    for name, factor in RARE.items():
        class_weight[CLASSES.index(name)] = factor
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    started, said = time.process_time(), time.monotonic()
    steps, running = 0, 0.0
    for batch in batches(frames):
        used = (time.process_time() - started) / 60
        if used >= minutes and steps:
            break
        now = rate * min(1.0, (steps + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(used / minutes, 1.0)))
        for group in optimiser.param_groups:
            group["lr"] = now
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
            print(f"{used:6.1f} processor min  {steps} steps  rate {now:.1e}  loss {running:.4f}", flush=True)
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


def adapted(
    network: nn.Module,
    cache: FrameCache,
    real: list[RealImage],
    *,
    minutes: float,
    rate: float,
    seed: int,
    checkpoint: Path,
) -> tuple[nn.Module, int]:
    """A copy trained further on real images among the rendered frames."""
    frames = samples(cache, real, seed + 1)
    return train(
        copy.deepcopy(network), frames, minutes=minutes, rate=REAL_RATE * rate, seed=seed, checkpoint=checkpoint
    )


def card(path: Path, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> Card:
    outputs = ModelOutput(OUTPUTS[0], "sigmoid", 1), ModelOutput(OUTPUTS[1], "softmax", 2)
    return card_of_frames(path, "atoms", outputs, CLASSES, NATIVE_NM, recipe=recipe, metrics=metrics)


def ship(
    mean: nn.Module,
    path: Path,
    recipe: Mapping[str, Any],
    trained: list[RealImage],
    held: list[RealImage],
    *,
    small: bool,
    evaluated: bool,
) -> None:
    """Calibrate, export, compare, evaluate; model and card."""
    worst = export(calibrated(mean.to(memory_format=torch.contiguous_format), part=0.1 if small else 1.0), path)
    print(f"ONNX Runtime and torch differ by at most {worst:.1e}", flush=True)
    card_path = path.with_suffix(".json")
    card_path.write_text(card(path, recipe, {}).to_json())  # the evaluation loads the model by its card
    if evaluated:
        metrics = summary(evaluate(Found(path), trained, held, small=small))
        card_path.write_text(card(path, recipe, metrics).to_json())
    print(card_path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=50.0, help="under 5: a miniature, evaluated on a few frames")
    parser.add_argument(
        "--real-minutes", type=float, default=4.0, help="of training with real images, after the others"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="atoms")
    parser.add_argument(
        "--network", choices=tuple(NETWORKS), default="fast", help="unet is the reference: not evaluated here"
    )
    parser.add_argument("--fold", type=int, default=0, help="which fourth of the real images is held out")
    parser.add_argument("--frames", type=Path, default=ROOT / "build" / "frames", help="as frame_cache.py writes them")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="for NAME-rendered.pt and NAME.pt")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    small = arguments.minutes < MINIATURE
    if not (arguments.frames / "about.json").exists():
        render(arguments.frames, frames=40 if small else FRAMES, seed=arguments.seed, processes=1 if small else 2)
    cache = open_cache(arguments.frames)
    rate = RATES[arguments.network]
    mean, steps = train(
        NETWORKS[arguments.network](len(CLASSES)),
        samples(cache, [], arguments.seed),
        minutes=arguments.minutes,
        rate=rate,
        seed=arguments.seed,
        checkpoint=arguments.work / f"{arguments.name}-rendered.pt",
    )
    trained, held = split(real_images(data_folder()), arguments.fold)
    real_steps = 0
    if trained:
        mean, real_steps = adapted(
            mean,
            cache,
            trained,
            minutes=arguments.real_minutes,
            rate=rate,
            seed=arguments.seed,
            checkpoint=arguments.work / f"{arguments.name}.pt",
        )
    recipe = {
        "command": f"python models/train_atoms.py --minutes {arguments.minutes:g} --network {arguments.network}",
        "seed": arguments.seed,
        "data": "simulated specimens "
        + ", ".join(MATERIALS)
        + "; noise, background and detector of each frame its own",
        "frames": len(cache),
        "frames_seed": cache.about["seed"],
        "frames_processor_minutes": cache.about["processor_minutes"],
        "processor_minutes": arguments.minutes,
        "steps": steps,
        "batch": BATCH,
        "real_processor_minutes": arguments.real_minutes if trained else 0.0,
        "real_steps": real_steps,
        "real_trained": [image.name for image in trained],
        "real_held_out": [image.name for image in held],
    }
    path = arguments.out / f"{arguments.name}.onnx"
    ship(mean, path, recipe, trained, held, small=small, evaluated=arguments.network == "fast")


if __name__ == "__main__":
    main()
