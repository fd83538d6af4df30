# SPDX-License-Identifier: BSD-3-Clause
"""Training on: an atom finder learns a user's frames and rehearses its home frames (ELIT: Ghosh et al., npj Comput.
Mater. 7 (2021) 100).

The parent's own answers on rendered home frames are the rehearsal, so that no home labels are needed while learning.
Afterwards the weights go from the parent's towards the learnt ones as far as F1 on other home frames allows (weight
averaging: Wortsman et al., CVPR 2022, 7959).
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probewise.image import network_input, resample
from probewise.image.network import native_shape
from probewise.inference import Card, PixelRange
from probewise.training.asked import home_f1
from probewise.training.atom_network import AtomNet
from probewise.training.given import UNKNOWN, Given
from probewise.training.home import HomeFrame, home_frames
from probewise.training.lessons import Lesson, batch_of, confident, cut, labelled, varied
from probewise.types import Float32Array

SIDE = 192
BATCH = 3  # squares of the user's frames, and as many of home
RATE = 1e-3
KEEP = 0.99  # of the running mean of the weights
ROUNDS = 3  # the confident answers are asked for anew
REHEARSED, CHECKED = 240, 60  # home frames
LARGEST_LOSS = 0.004  # of F1 at home; 0.005 is allowed on others
TOWARD = (0.6, 0.45, 0.3, 0.15)  # from the parent's weights to the learnt ones; farther fits the few frames alone
_SEED_OF_CHECKS = 77  # home frames that no training sees


@dataclass(frozen=True, eq=False)
class Adapted:
    """A network that was trained on.

    toward       how far its weights went from the parent's to the learnt ones, 0 to 1
    home_before, home_after  F1 on checked home frames
    confident    share of the pixels of unlabelled frames that the last round took for sure
    """

    network: AtomNet
    steps: int
    minutes: float
    toward: float
    home_before: float
    home_after: float
    confident: float | None


def prepared(frame: Given, card: Card) -> Float32Array:
    """As the network takes it: native pixels, normalised."""
    grid = native_shape(frame.counts.shape, (frame.pixel_nm, frame.pixel_nm), card)
    return network_input(frame.counts if grid == frame.counts.shape else resample(frame.counts, grid))[0]


def rehearsal(card: Card, seed: int, count: int) -> list[HomeFrame]:
    assert card.pixel_nm is not None
    return list(itertools.islice(home_frames(seed, card.pixel_nm, side_px=256), count))


@functools.lru_cache(maxsize=1)
def _checks(pixel_nm: PixelRange, count: int) -> list[HomeFrame]:
    """The same for all members of an ensemble."""
    return list(itertools.islice(home_frames(_SEED_OF_CHECKS, pixel_nm, side_px=256), count))


def train_on(
    parent: AtomNet,
    card: Card,
    frames: Sequence[Given],
    home: Sequence[HomeFrame],
    *,
    minutes: float,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> Adapted:
    """Learn `frames` for some minutes of processor time; `home` is rehearsed.

    raises  ValueError where minutes are not positive or there are no frames
    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise ValueError(f"minutes is {minutes}, expected a positive number")
    if not frames:
        raise ValueError("frames is empty, expected at least one")
    if card.pixel_nm is None:
        raise ValueError(f"card {card.name} has no pixel_nm, expected a range: home frames are rendered in it")
    started = time.monotonic()
    learnt, steps, share = _learn(parent, card, frames, home, minutes=minutes, seed=seed, progress=progress)
    checks = _checks(card.pixel_nm, CHECKED)
    before = home_f1(parent, card, checks)
    for toward in TOWARD:
        network = between(parent, learnt, toward)
        after = home_f1(network, card, checks)
        if after >= before - LARGEST_LOSS:
            return Adapted(network, steps, _minutes(started), toward, before, after, share)
    return Adapted(parent, steps, _minutes(started), 0.0, before, before, share)


def _minutes(started: float) -> float:
    return (time.monotonic() - started) / 60


def between(parent: AtomNet, learnt: AtomNet, toward: float) -> AtomNet:
    """The network whose weights lie `toward` of the way from the parent's to the learnt ones."""
    out = copy.deepcopy(parent)
    theirs = learnt.state_dict()
    out.load_state_dict({name: value.lerp(theirs[name], toward) for name, value in parent.state_dict().items()})
    return out.eval()


def _learn(
    parent: AtomNet,
    card: Card,
    frames: Sequence[Given],
    home: Sequence[HomeFrame],
    *,
    minutes: float,
    seed: int,
    progress: Callable[[str], None] | None,
) -> tuple[AtomNet, int, float | None]:
    """The running mean of the weights, the steps, and the confident share of the last round."""
    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 41])
    student = copy.deepcopy(parent).to(memory_format=torch.channels_last).train()
    mean = copy.deepcopy(parent).eval()
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=1e-3)
    images = [prepared(frame, card) for frame in frames]
    rehearsed = [prepared(Given(one.material, one.counts, one.pixel_nm), card) for one in home]
    rehearsed = [image for image in rehearsed if min(image.shape) >= SIDE]
    lessons, share = _lessons([parent], frames, images)
    started, steps, rounds = time.process_time(), 0, 1
    while (part := (time.process_time() - started) / (60 * minutes)) < 1 or steps == 0:
        if part > rounds / ROUNDS:
            rounds += 1
            lessons, share = _lessons([mean], frames, images)
            if progress is not None:
                progress(f"round {rounds} of {ROUNDS}, {steps} steps, sure of {_percent(share)}")
        rate = RATE * min(1.0, (steps + 1) / 30) * (0.5 + 0.5 * math.cos(math.pi * min(part, 1.0)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        own = [varied(random, cut(random, lessons[random.integers(len(lessons))], SIDE)) for _ in range(BATCH)]
        optimiser.zero_grad(set_to_none=True)
        loss = _loss(student, batch_of(own))
        if rehearsed:
            squares = [_square(random, rehearsed[random.integers(len(rehearsed))]) for _ in range(BATCH)]
            loss = loss + _distance(student, parent, torch.from_numpy(np.stack(squares))[:, None])
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        steps += 1
        with torch.no_grad():
            keep = min(KEEP, (1 + steps) / (10 + steps))
            for ours, theirs in zip(mean.parameters(), student.parameters(), strict=True):
                ours.mul_(keep).add_(theirs, alpha=1 - keep)
    return mean, steps, share


def _percent(share: float | None) -> str:
    return "labels" if share is None else f"{100 * share:.1f} % of the pixels"


def _lessons(
    networks: Sequence[nn.Module], frames: Sequence[Given], images: Sequence[Float32Array]
) -> tuple[list[Lesson], float | None]:
    """Of each frame, and the share of unlabelled pixels that count."""
    lessons, shares = [], []
    for frame, image in zip(frames, images, strict=True):
        if frame.yx is not None and frame.label is not None:
            zoom = np.array(image.shape) / np.array(frame.counts.shape)
            lessons.append(labelled(image, (frame.yx + 0.5) * zoom - 0.5, frame.label))
        else:
            lessons.append(confident(networks, image))
            shares.append(float(lessons[-1].weight.mean()))
    return lessons, float(np.mean(shares)) if shares else None


def _square(random: np.random.Generator, image: Float32Array) -> Float32Array:
    top, left = (int(random.integers(0, length - SIDE + 1)) for length in image.shape)
    turned = np.rot90(image[top : top + SIDE, left : left + SIDE], int(random.integers(4)))
    return np.ascontiguousarray(turned[:, :: 1 if random.random() < 0.5 else -1])


def _loss(student: nn.Module, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Cross-entropy of the site where it counts, and of the class where one is known."""
    image, site, weight, kind = batch
    of_site, of_kind = _logits(student, image)
    missed = functional.binary_cross_entropy_with_logits(of_site, site, weight, reduction="sum")
    of_class = functional.cross_entropy(of_kind, kind, ignore_index=UNKNOWN, reduction="sum")
    return 10 * missed / weight.sum().clamp(min=1.0) + of_class / (kind >= 0).sum().clamp(min=1)


def _distance(student: nn.Module, parent: nn.Module, image: Tensor) -> Tensor:
    """Cross-entropy to the parent's probabilities, of the class where there is an atom."""
    with torch.no_grad():
        site, kind = _logits(parent, image)
        present, share = torch.sigmoid(site), torch.softmax(kind, dim=1)
        there = functional.max_pool2d(present, 2)
    of_site, of_kind = _logits(student, image)
    missed = functional.binary_cross_entropy_with_logits(of_site, present)
    of_class = -(share * functional.log_softmax(of_kind, dim=1)).sum(1, keepdim=True)
    return 10 * missed + (there * of_class).sum() / there.sum().clamp(min=1.0)


def _logits(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        site, kind = network(image.to(memory_format=torch.channels_last))
    return site.float(), kind.float()
