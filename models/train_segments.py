# SPDX-License-Identifier: BSD-3-Clause
"""Train the segmenter, export it, compare ONNX Runtime with torch, evaluate it, and write model and card.

Run: python models/train_segments.py [--minutes 50] [--seed 1] [--name segments] [--out python/probewise/models]
The evaluation of the shipped model goes to bench/results/segments_quality.json.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from evaluate_segments import RESULT, ROOT, evaluate, record, summary
from export import card_of_frames, folded, write
from labels import CLASSES, UNKNOWN
from probewise.image import Segmenter
from probewise.inference import Card, ModelOutput
from segment_frames import SPECIMENS, SegmentSample, stream
from segment_network import MULTIPLE_OF, NATIVE_NM, STRIDE, Probabilities, SegmentNetwork

SHIPPED = ROOT / "python" / "probewise" / "models"
OUTPUT = "segments"
MINIATURE = 5.0  # minutes
BATCH = 6
RATE = 3e-3
EMA = 0.998


def loss_of(scores: Tensor, turn: Tensor, kind: Tensor, true_turn: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy, soft Jaccard distance of the batch, and squared error of the polarisation."""
    known = (kind != UNKNOWN).unsqueeze(1)
    entropy = F.cross_entropy(scores, kind, weight, ignore_index=UNKNOWN)
    share = F.softmax(scores, dim=1) * known
    wanted = F.one_hot(kind.clamp_min(0), scores.shape[1]).permute(0, 3, 1, 2) * known
    both = (share * wanted).sum(dim=(0, 2, 3))
    either = share.sum(dim=(0, 2, 3)) + wanted.sum(dim=(0, 2, 3)) - both
    present = wanted.sum(dim=(0, 2, 3)) > 0
    jaccard = 1 - (both[present] / either[present]).mean()
    domain = (true_turn != 0).any(dim=1, keepdim=True)
    turned = ((turn - true_turn) ** 2 * domain).sum() / domain.sum().clamp_min(1)
    return entropy + jaccard + turned


def batch_of(samples: list[SegmentSample]) -> tuple[Tensor, Tensor, Tensor]:
    image = torch.from_numpy(np.stack([one.image for one in samples]))[:, None]
    kind = torch.from_numpy(np.stack([one.kind for one in samples]).astype(np.int64))
    turn = torch.from_numpy(np.stack([one.turn for one in samples]))
    return image.contiguous(memory_format=torch.channels_last), kind, turn


def _average(kept: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    share = 1 - min(EMA, (1 + int(steps)) / (10 + int(steps)))
    return kept + share * (now - kept)


def train(network: nn.Module, *, minutes: float, seed: int, pool: int, checkpoint: Path) -> tuple[nn.Module, int]:
    """AdamW, rate falling as a cosine over `minutes` of processor time.

    returns  the exponential mean of the weights, and the steps
    """
    torch.manual_seed(seed)
    network = network.to(memory_format=torch.channels_last).train()
    mean = AveragedModel(network, avg_fn=_average, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    samples = stream(seed, pool=pool)
    share = np.full(len(CLASSES), 1 / len(CLASSES))
    checkpoint.parent.mkdir(exist_ok=True)
    started = said = time.process_time()
    steps, running = 0, 0.0
    while (part := (time.process_time() - started) / (60 * minutes)) < 1 or not steps:
        image, kind, turn = batch_of([next(samples) for _ in range(BATCH)])
        share += 0.005 * (np.bincount(kind[kind >= 0], minlength=len(CLASSES)) / kind.numel() - share)
        weight = torch.from_numpy((share + 0.01) ** -0.5).float()
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (steps + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(part, 1.0)))
        with torch.autocast("cpu", torch.bfloat16):  # 1.5 times as fast as float32
            scores, polarised = network(image)
        loss = loss_of(scores.float(), polarised.float(), kind, turn, weight / weight.mean())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        mean.update_parameters(network)
        steps += 1
        running = 0.98 * running + 0.02 * float(loss.detach()) if steps > 1 else float(loss.detach())
        if time.process_time() - said > 60:
            said = time.process_time()
            torch.save(mean.module.state_dict(), checkpoint)
            print(f"{(said - started) / 60:6.1f} min  {steps} steps  loss {running:.3f}", flush=True)
    torch.save(mean.module.state_dict(), checkpoint)
    return mean.module, steps


def card(path: Path, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> Card:
    outputs = (ModelOutput(OUTPUT, "softmax", STRIDE),)
    return card_of_frames(path, "segments", outputs, CLASSES, NATIVE_NM, recipe=recipe, metrics=metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=50.0, help="of processor time; under 5: a miniature, evaluated on a few frames"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="segments")
    parser.add_argument("--start", type=Path, help="weights to start from, as a checkpoint holds them")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args()
    torch.set_num_threads(1)
    small = given.minutes < MINIATURE
    network: nn.Module = SegmentNetwork(len(CLASSES))
    if given.start:
        network.load_state_dict(torch.load(given.start, weights_only=True))
    steps = 0
    if given.minutes > 0:
        network, steps = train(
            network,
            minutes=given.minutes,
            seed=given.seed,
            pool=8 if small else 600,
            checkpoint=ROOT / "build" / f"{given.name}.pt",
        )
    path = given.out / f"{given.name}.onnx"
    worst = write(Probabilities(folded(network)), path, (OUTPUT,), MULTIPLE_OF)
    print(f"{steps} steps; ONNX Runtime and torch differ by at most {worst:.1e}", flush=True)
    recipe = {
        "command": "python models/train_segments.py",
        "seed": given.seed,
        "minutes": given.minutes,
        "steps": steps,
        "batch": BATCH,
        "data": "simulated specimens " + ", ".join(SPECIMENS) + "; dose and detector drawn for every frame",
    }
    beside = path.with_suffix(".json")
    beside.write_text(card(path, recipe, {}).to_json())  # the evaluation loads the model by its card
    segmenter = Segmenter(path)
    report = evaluate(segmenter, share=0.02 if small else 1.0, sweeps=not small)
    beside.write_text(card(path, recipe, summary(report)).to_json())
    if path.parent == SHIPPED:
        record(segmenter, report, RESULT)
    print(beside.read_text())


if __name__ == "__main__":
    main()
