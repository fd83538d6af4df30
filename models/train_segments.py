# SPDX-License-Identifier: BSD-3-Clause
"""Train the segmenter, export it, compare ONNX Runtime with torch, evaluate it and write its card: one command.

    python models/train_segments.py --minutes 60

writes python/probewise/models/segments.onnx with its card segments.json, and bench/results/segments_quality.json.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from labels import CLASSES, UNKNOWN
from segment_frames import SPECIMENS, SegmentSample, stream
from segment_network import SegmentNetwork
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

BATCH = 8
PEAK_RATE = 3e-3
AVERAGE = 0.998  # of the weights that are kept, over about 500 steps


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


def _average(kept: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    share = 1 - min(AVERAGE, (1 + int(steps)) / (10 + int(steps)))
    return kept + share * (now - kept)


def batch_of(samples: list[SegmentSample]) -> tuple[Tensor, Tensor, Tensor]:
    image = torch.from_numpy(np.stack([one.image for one in samples]))[:, None]
    kind = torch.from_numpy(np.stack([one.kind for one in samples]).astype(np.int64))
    turn = torch.from_numpy(np.stack([one.turn for one in samples]))
    return image.contiguous(memory_format=torch.channels_last), kind, turn


def train(*, minutes: float, seed: int, pool: int, width: int = 16, log=print, source=None) -> tuple[SegmentNetwork, int]:
    """The averaged network after `minutes`, and the steps it took."""
    torch.manual_seed(seed)
    network = SegmentNetwork(len(CLASSES), width).to(memory_format=torch.channels_last)
    averaged = torch.optim.swa_utils.AveragedModel(network, avg_fn=_average, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-3)
    samples = source or stream(seed, pool=pool)
    share = np.full(len(CLASSES), 1 / len(CLASSES))
    began, steps, recent = time.monotonic(), 0, []
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        chosen = [next(samples) for _ in range(BATCH)]
        image, kind, turn = batch_of(chosen)
        for k in range(len(CLASSES)):
            share[k] += 0.005 * (float((kind == k).float().mean()) - share[k])
        weight = torch.from_numpy((share + 0.01) ** -0.5).float()
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (steps + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
        with torch.autocast("cpu", torch.bfloat16):  # 1.5 times as fast as float32 where the CPU has it
            scores, polarised = network(image)
        loss = loss_of(scores.float(), polarised.float(), kind, turn, weight / weight.mean())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        averaged.update_parameters(network)
        steps += 1
        recent.append(float(loss.detach()))
        if steps % 100 == 0:
            hit = (scores.argmax(1) == kind)
            log([f"{CLASSES[k]} {float(hit[kind==k].float().mean()):.2f}" for k in range(8) if (kind==k).any()], f"P {float(((polarised-turn)**2*(turn!=0)).sum()/(turn!=0).sum().clamp_min(1)):.3f}")
            log(f"{steps} steps, {time.monotonic() - began:.0f} s, loss {np.mean(recent):.3f}", flush=True)
            recent = []
    return averaged.module, steps
