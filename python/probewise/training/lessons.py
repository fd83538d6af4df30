# SPDX-License-Identifier: BSD-3-Clause
"""What an atom finder is taught by a user's frames: its own confident answers, or labels; the rest is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from probewise.training.atom_network import MULTIPLE_OF
from probewise.training.given import UNKNOWN
from probewise.types import Float32Array, FloatArray, IntArray

DISC_PX = 2.2  # radius of the disc about a labelled atom, as in the training from the start
RING_PX = 2.9  # up to here nothing is asked; wider, and nothing would part neighbours in a lattice
SURE = 2.0  # standard deviations over the views by which a probability has to clear its bound
PRESENT, ABSENT = 0.5, 0.15  # bounds of the probability
OF_CLASS = 0.8  # least mean probability of the likeliest class


@dataclass(frozen=True, eq=False)
class Lesson:
    """image, site (target) and weight (rows, cols) float32; kind (rows / 2, cols / 2) class or UNKNOWN."""

    image: Float32Array
    site: Float32Array
    weight: Float32Array
    kind: IntArray

    def arrays(self) -> tuple[Float32Array, Float32Array, Float32Array, IntArray]:
        return self.image, self.site, self.weight, self.kind


@torch.no_grad()
def views(networks: Sequence[nn.Module], image: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Mean and deviation of the presence, and mean classes, over the networks and the eight turns and mirrors.

    image    (rows, cols) as the networks take it, any size
    returns  (rows, cols), (rows, cols), (k, rows / 2, cols / 2)
    """
    missing = [-side % MULTIPLE_OF for side in image.shape]
    padded = torch.from_numpy(np.pad(image, [(0, n) for n in missing], mode="symmetric"))[None, None]
    presence: list[Tensor] = []
    classes: list[Tensor] = []
    for network in networks:
        for turns in range(4):
            for mirror in (False, True):
                turned = torch.rot90(padded, turns, (2, 3))
                site, kind = network.eval()(turned.flip(3) if mirror else turned)
                for answer, kept in ((torch.sigmoid(site), presence), (torch.softmax(kind, 1), classes)):
                    back = torch.rot90(answer.flip(3) if mirror else answer, -turns, (2, 3))
                    kept.append(back[0])
    rows, cols = image.shape
    of_site = torch.stack(presence)[:, 0, :rows, :cols]
    of_kind = torch.stack(classes).mean(0)[:, : -(-rows // 2), : -(-cols // 2)]
    return of_site.mean(0).numpy(), of_site.std(0).numpy(), of_kind.numpy()


def confident(networks: Sequence[nn.Module], image: Float32Array) -> Lesson:
    """The networks' own answers where mean and deviation are sure of them."""
    mean, deviation, classes = views(networks, image)
    present = mean - SURE * deviation > PRESENT
    absent = mean + SURE * deviation < ABSENT
    even = np.zeros((2 * classes.shape[1], 2 * classes.shape[2]), dtype=bool)
    even[: present.shape[0], : present.shape[1]] = present
    coarse = even.reshape(classes.shape[1], 2, classes.shape[2], 2).any(axis=(1, 3))
    kind = np.where(coarse & (classes.max(axis=0) > OF_CLASS), classes.argmax(axis=0), UNKNOWN)
    return Lesson(image, present.astype(np.float32), (present | absent).astype(np.float32), kind.astype(np.int64))


def labelled(image: Float32Array, yx: FloatArray, label: IntArray) -> Lesson:
    """Discs about the labelled atoms; elsewhere there is none. The ring about a disc is left out.

    yx  (n, 2) pixels of `image`
    """
    rows, cols = image.shape
    site, weight = np.zeros(image.shape, dtype=np.float32), np.ones(image.shape, dtype=np.float32)
    kind = np.full((-(-rows // 2), -(-cols // 2)), UNKNOWN, dtype=np.int64)
    half = math.ceil(RING_PX)
    offset = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    pixel = np.rint(yx).astype(np.int64)[:, None] + offset
    distance = np.sqrt(((pixel - yx[:, None]) ** 2).sum(axis=2))
    inside = ((pixel >= 0) & (pixel < image.shape)).all(axis=2)
    for radius, value in ((RING_PX, 0), (DISC_PX, 1)):
        near = inside & (distance <= radius)
        at = tuple(pixel[near].T)
        weight[at] = value
        if value:
            site[at] = 1
            kind[at[0] // 2, at[1] // 2] = np.broadcast_to(label[:, None], near.shape)[near]
    return Lesson(image, site, weight, kind)


def cut(random: np.random.Generator, lesson: Lesson, side: int) -> Lesson:
    """A square at random, mirrored outwards with weight 0 where the frame is smaller."""
    missing = [max(0, side - length) for length in lesson.image.shape]
    image, site, weight, kind = lesson.arrays()
    if any(missing):
        around = [(0, n) for n in missing]
        image = np.pad(image, around, mode="symmetric")
        site, weight = np.pad(site, around), np.pad(weight, around)
        room = [(0, max(0, side // 2 - length)) for length in kind.shape]
        kind = np.pad(kind, room, constant_values=UNKNOWN)
    top, left = (2 * int(random.integers(0, (length - side) // 2 + 1)) for length in image.shape)
    square = np.s_[top : top + side, left : left + side]
    half = np.s_[top // 2 : (top + side) // 2, left // 2 : (left + side) // 2]
    return Lesson(image[square], site[square], weight[square], kind[half])


def varied(random: np.random.Generator, lesson: Lesson) -> Lesson:
    """Turned and mirrored at random, with another gain, offset and a little more noise: what was sure stays so."""
    turns, step = int(random.integers(4)), 1 if random.random() < 0.5 else -1
    noise = np.float32(abs(random.normal(0, 0.05))) * random.standard_normal(lesson.image.shape, dtype=np.float32)
    image = np.float32(random.uniform(0.9, 1.1)) * lesson.image + np.float32(random.uniform(-0.05, 0.05)) + noise
    arrays = (image, lesson.site, lesson.weight, lesson.kind)
    return Lesson(*(np.ascontiguousarray(np.rot90(array, turns)[:, ::step]) for array in arrays))


def batch_of(lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors (N, 1, rows, cols) three times, and (N, rows / 2, cols / 2)."""
    image, site, weight, kind = (
        torch.from_numpy(np.stack(arrays)) for arrays in zip(*(one.arrays() for one in lessons), strict=True)
    )
    return image[:, None], site[:, None], weight[:, None], kind
