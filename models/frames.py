# SPDX-License-Identifier: BSD-3-Clause
"""Training frames: a scene with background, dose and detector drawn anew for every use, at the network's pixel.

A target disc marks each atom and each vacancy; the class is asked for on the discs only.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probewise.image import network_input, resample
from probewise.types import BoolArray, Float32Array, FloatArray, IntArray
from scenes import CLASSES, IGNORED, MATERIALS, NATIVE_NM, SIDE, Scene, scenes

DISC_PX = 2.2  # radius of the target disc; neighbours in graphene lie 7.1 px apart
REAL_DISC_PX = 3.0  # hand labels are a pixel or two off
SPARSE_GAIN = 4.0  # a frame of few atoms has a hundredth of a lattice's disc pixels
FAINTEST = 2.0  # single atoms and rims of particles below this SNR are neither asked for nor forbidden
_VACANCY = CLASSES.index("vacancy")
_HEAVY = CLASSES.index("heavy")


@dataclass(frozen=True, eq=False)
class Sample:
    """image, site (0 or 1) and weight (SIDE, SIDE) float32; kind (SIDE / 2, SIDE / 2) class or -100."""

    image: Float32Array
    site: Float32Array
    weight: Float32Array
    kind: IntArray


def smooth_noise(random: np.random.Generator, shape: tuple[int, int], length_px: float) -> Float32Array:
    """Random field of unit variance, correlated over about `length_px`."""
    coarse = tuple(max(2, math.ceil(side / length_px) + 1) for side in shape)
    field = resample(random.standard_normal(coarse).astype(np.float32), shape)
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def background(random: np.random.Generator, scene: Scene, film: Scene | None) -> Float32Array:
    """Scattered fraction added by what lies on, under or beside the atoms: film, thickness, stains, an edge."""
    shape = scene.fraction.shape
    level = max(float(scene.fraction.mean()), 1e-5)
    total = np.zeros(shape, dtype=np.float32)
    if film is not None and random.random() < 0.25:
        speckle = resample(film.fraction, shape)
        total += speckle * np.float32(level / max(float(speckle.mean()), 1e-9) * np.exp(random.uniform(-2.5, 1.0)))
    if random.random() < 0.5:
        amount = level * np.exp(random.uniform(-3.0, 1.5))
        length = np.exp(random.uniform(math.log(0.4), math.log(6.0))) / scene.pixel_nm
        stain = smooth_noise(random, shape, length) + np.float32(random.uniform(-1.5, 2.0))
        total += np.float32(amount) * np.maximum(stain, 0)
    if scene.material == "single atoms" and random.random() < 0.4:  # uneven support, much brighter than an atom
        support = 1.5 + smooth_noise(random, shape, np.exp(random.uniform(0.0, 1.5)) / scene.pixel_nm)
        total += np.float32(level * np.exp(random.uniform(0.0, 2.5))) * np.maximum(support, 0)
    if random.random() < 0.3:
        y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
        angle = random.uniform(0, 2 * math.pi)
        slope = (1 + math.cos(angle) * y + math.sin(angle) * x).astype(np.float32)
        if random.random() < 0.3:  # edge of a support
            slope = (slope > random.uniform(0.3, 1.7)) * (np.maximum(slope, 0) + 1)
        total += np.float32(level * np.exp(random.uniform(-2.0, 2.0))) * np.maximum(slope, 0)
    return total


def count(random: np.random.Generator, expected: Float32Array) -> Float32Array:
    """Counts of a detector drawn at random, for expected electrons; the same chain as the simulated one."""
    root = np.sqrt(expected) + 0.5 * random.standard_normal(expected.shape, dtype=np.float32)
    electrons = np.rint(np.maximum(root * np.abs(root) - 0.25, 0))  # Anscombe's transform backwards
    few = expected < 5
    electrons[few] = random.poisson(expected[few])
    read = np.float32(abs(random.normal(0, 0.3)))
    excess = np.float32(random.uniform(0.0, 0.3))
    electrons += np.sqrt(excess * electrons + read**2) * random.standard_normal(expected.shape, dtype=np.float32)
    if random.random() < 0.5:
        from scipy.signal import lfilter

        share, stay = random.uniform(0, 0.15), random.uniform(0, 0.6)
        late = lfilter([0.0, 1 - stay], [1.0, -stay], electrons.ravel()).reshape(expected.shape)
        electrons = ((1 - share) * electrons + share * late).astype(np.float32)
    spread = float(electrons.std()) + 1e-6
    if random.random() < 0.15:  # rows that differ: beam current, amplifier hum
        electrons += np.float32(random.uniform(0.05, 0.4) * spread) * random.standard_normal(
            (expected.shape[0], 1), dtype=np.float32
        )
    if random.random() < 0.2:  # low-bit recording
        step = np.float32(spread * random.uniform(0.05, 0.4))
        electrons = np.rint(electrons / step) * step
    if random.random() < 0.1:
        electrons = np.minimum(electrons, np.float32(np.percentile(electrons, random.uniform(97, 99.8))))
    if random.random() < 0.1:
        electrons = np.maximum(electrons, np.float32(np.percentile(electrons, random.uniform(0.1, 20))))
    return electrons


def sample(random: np.random.Generator, scene: Scene, film: Scene | None) -> Sample:
    """A training frame of a scene."""
    added = background(random, scene, film)
    total = scene.fraction + added
    seen = scene.label >= 0
    snr = scene.unit_snr.copy()
    if len(snr):
        at = np.rint(scene.yx).astype(np.int64)
        own = scene.fraction[at[:, 0], at[:, 1]]
        snr *= np.sqrt(own / np.maximum(own + added[at[:, 0], at[:, 1]], 1e-12))
    if seen.any():
        reference = float(np.median(snr[scene.label == random.choice(np.unique(scene.label[seen]))]))
        wanted = float(np.exp(random.uniform(math.log(2.5), math.log(30.0))))
        dose = (wanted / max(reference, 1e-9)) ** 2
    else:
        dose = float(np.exp(random.uniform(math.log(0.05), math.log(300.0)))) / max(float(total.mean()), 1e-6)
        dose = min(dose, 1e7)
    faint = (snr * math.sqrt(dose) < FAINTEST) & (scene.label == _HEAVY)
    label = np.where(faint, IGNORED, scene.label)
    zoom = scene.pixel_nm / NATIVE_NM * random.uniform(0.9, 1.1)
    gain = SPARSE_GAIN if seen.sum() < 80 else 1.0
    return finish(random, count(random, total * np.float32(dose)), zoom, scene.yx, label, DISC_PX, gain=gain)


def finish(
    random: np.random.Generator,
    counts: Float32Array,
    zoom: float,
    yx: FloatArray,
    label: IntArray,
    disc_px: float,
    *,
    gain: float = 1.0,
    outside: float = 1.0,
) -> Sample:
    """Resample, cut, normalise, turn, and draw the targets."""
    shape = tuple(max(SIDE, round(side * zoom)) for side in counts.shape)
    frame = resample(np.ascontiguousarray(counts, dtype=np.float32), shape)
    scale = np.array(shape) / np.array(counts.shape)
    places = (yx + 0.5) * scale - 0.5
    corner = np.array([random.integers(0, side - SIDE + 1) for side in shape])
    frame = frame[corner[0] : corner[0] + SIDE, corner[1] : corner[1] + SIDE]
    image, _ = network_input(np.ascontiguousarray(frame))
    site, weight, kind = targets(places - corner, label, disc_px)
    weight *= np.float32(gain) * np.where(site > 0, np.float32(1), np.float32(outside))
    return turned(random, Sample(image, site, weight, kind))


def turned(random: np.random.Generator, sample: Sample) -> Sample:
    """Turned by quarters and mirrored at random."""
    turns, flip = int(random.integers(4)), 1 if random.random() < 0.5 else -1
    arrays = (sample.image, sample.site, sample.weight, sample.kind)
    return Sample(*(np.ascontiguousarray(np.rot90(array, turns)[:, ::flip]) for array in arrays))


def targets(yx: FloatArray, label: IntArray, disc_px: float) -> tuple[Float32Array, Float32Array, IntArray]:
    """Discs around the atoms: site and weight (SIDE, SIDE), class (SIDE / 2, SIDE / 2)."""
    site = np.zeros((SIDE, SIDE), dtype=np.float32)
    weight = np.ones((SIDE, SIDE), dtype=np.float32)
    kind = np.full((SIDE // 2, SIDE // 2), -100, dtype=np.int64)
    for ignored in (True, False):
        chosen = (label < 0) == ignored
        radius = disc_px * (2.0 if ignored else 1.0)
        half = math.ceil(radius)
        offset = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        pixel = np.rint(yx[chosen]).astype(np.int64)[:, None] + offset
        near = (((pixel - yx[chosen][:, None]) ** 2).sum(axis=2) <= radius**2) & inside(pixel)
        rows, cols = pixel[near].T
        if ignored:
            weight[rows, cols] = 0
        else:
            labels = np.broadcast_to(label[chosen][:, None], near.shape)[near]
            site[rows, cols] = 1
            weight[rows, cols] = np.where((labels == _VACANCY) | (labels == 1), 2.0, 1.0)
            kind[rows // 2, cols // 2] = labels
    return site, weight, kind


def inside(pixel: IntArray) -> BoolArray:
    return np.asarray(((pixel >= 0) & (pixel < SIDE)).all(axis=-1))


@dataclass(frozen=True, eq=False)
class RealImage:
    """A hand-labelled image: counts, atoms (row, col) and its pixel (assumed where the source does not say)."""

    name: str
    counts: Float32Array
    yx: FloatArray
    pixel_nm: float


def real_images(folder: Path) -> list[RealImage]:
    """The labelled single-atom images, in order of their names; empty where the folder has none."""
    from skimage.io import imread

    out = []
    for group, pixel_nm in (("pt_single_atoms_hpai", 15 / 512), ("single_atoms_sjeon", 0.02)):  # second: by atom size
        for path in sorted((folder / group).glob("*.tif")):
            table = path.with_suffix(".csv")
            table = table if table.exists() else path.with_name(path.name[:3] + "_Results.csv")
            with table.open() as lines:
                yx = [(float(row["Y"]), float(row["X"])) for row in csv.DictReader(lines)]
            out.append(RealImage(f"{group}/{path.stem}", imread(path).astype(np.float32), np.array(yx), pixel_nm))
    return out


def real_sample(random: np.random.Generator, real: RealImage) -> Sample:
    label = np.full(len(real.yx), _HEAVY)
    zoom = real.pixel_nm / NATIVE_NM * random.uniform(0.85, 1.15)
    return finish(random, real.counts, zoom, real.yx, label, REAL_DISC_PX, gain=SPARSE_GAIN, outside=0.5)


def stream(seed: int, *, pool: int, real: list[RealImage], real_share: float = 0.20) -> Iterator[Sample]:
    """Samples without end: a pool of scenes is filled, then renewed little by little.

    Each sample comes twice, the second time later and turned: making one takes as long as a step of training on it.
    """
    random = np.random.default_rng(seed)
    held: list[Scene] = []
    films: list[Scene] = [next(scenes(random, "empty", 1)) for _ in range(4)]
    names, shares = list(MATERIALS), np.array(list(MATERIALS.values()))
    again: list[Sample] = []
    coming: Iterator[Scene] = iter(())

    def fresh() -> Scene:
        nonlocal coming
        for scene in coming:
            return scene
        coming = scenes(random, str(random.choice(names, p=shares / shares.sum())), 12)
        return next(coming)

    number = 0
    while True:
        number += 1
        pick = held[random.integers(len(held))] if held else fresh()
        if len(held) < pool:
            if len(held) < 64 or number % 3 == 0:
                held.append(fresh())
                pick = held[-1]
        elif number % 8 == 0:
            held[random.integers(pool)] = pick = fresh()
        if pick.material == "single atoms" and len(pick.yx) == 0:
            films[random.integers(len(films))] = pick
        if real and random.random() < real_share:
            made = real_sample(random, real[random.integers(len(real))])
        else:
            made = sample(random, pick, films[random.integers(len(films))])
        yield made
        again.append(made)
        if len(again) > 64:
            yield turned(random, again.pop(int(random.integers(len(again)))))
