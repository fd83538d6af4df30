# SPDX-License-Identifier: BSD-3-Clause
"""Training frames: a scene with background, dose and detector drawn for each frame, at the network's pixel.

A target disc marks each atom and each vacancy; the class is asked for on the discs only.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probewise.image import network_input, resample
from probewise.types import BoolArray, Float32Array, FloatArray, IntArray
from scenes import CLASSES, IGNORED, NATIVE_NM, SIDE, Scene

DISC_PX = 2.2  # radius of the target disc; neighbours in graphene lie 7.1 px apart
REAL_DISC_PX = 3.0  # hand labels are a pixel or two off
RIM_PX = 6.0  # atoms this far outside a frame still reach into it
SPARSE_GAIN = 4.0  # a frame of few atoms has a hundredth of a lattice's disc pixels
GAP_PX = 3.2  # pixels this near to two atoms keep the two apart
GAP_WEIGHT = 3.0
FAINTEST = (
    3.0  # heavy atoms and vacancies below this SNR, speckle counted as noise, are neither asked for nor forbidden
)
_VACANCY = CLASSES.index("vacancy")
_HEAVY = CLASSES.index("heavy")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A frame as the network sees it, (SIDE, SIDE) float32; its atoms (n, 2) px and labels; weight of the frame."""

    image: Float32Array
    yx: FloatArray
    label: IntArray
    gain: float


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


def background(random: np.random.Generator, scene: Scene, film: Scene | None) -> tuple[Float32Array, float]:
    """Scattered fraction added by what lies on, under or beside the atoms: film, thickness, stains, an edge; and the
    deviation of the part of it that is as fine as an atom.
    """
    shape = scene.fraction.shape
    level = max(float(scene.fraction.mean()), 1e-5)
    total = np.zeros(shape, dtype=np.float32)
    fine = 0.0
    if film is not None and random.random() < 0.25:
        speckle = resample(film.fraction, shape)
        factor = level / max(float(speckle.mean()), 1e-9) * math.exp(random.uniform(-2.5, 1.0))
        total += speckle * np.float32(factor)
        fine = factor * spread(film.fraction)
    if random.random() < 0.5:
        amount = level * np.exp(random.uniform(-3.0, 1.5))
        length = np.exp(random.uniform(math.log(0.4), math.log(6.0))) / scene.pixel_nm
        stain = smooth_noise(random, shape, length) + np.float32(random.uniform(-1.5, 2.0))
        total += np.float32(amount) * np.maximum(stain, 0)
    if scene.material == "single atoms" and random.random() < 0.45:
        added, texture = thick_carbon(random, scene, level)
        total += added
        fine = math.hypot(fine, texture)
    if random.random() < 0.3:
        y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
        angle = random.uniform(0, 2 * math.pi)
        slope = (1 + math.cos(angle) * y + math.sin(angle) * x).astype(np.float32)
        if random.random() < 0.3:  # edge of a support
            slope = (slope > random.uniform(0.3, 1.7)) * (np.maximum(slope, 0) + 1)
        total += np.float32(level * np.exp(random.uniform(-2.0, 2.0))) * np.maximum(slope, 0)
    return total, fine


def thick_carbon(random: np.random.Generator, scene: Scene, level: float) -> tuple[Float32Array, float]:
    """Uneven support, up to fifteen times as bright as an atom, with texture from an atom's size on, in places with an
    edge to the vacuum; and the deviation of the texture.
    """
    shape = scene.fraction.shape
    atom = float(np.median(scene.table[scene.species, 0] * scene.weight)) if len(scene.yx) else level
    height = 2.0 + smooth_noise(random, shape, math.exp(random.uniform(0.0, 1.8)) / scene.pixel_nm)
    height += np.float32(random.uniform(0, 0.6)) * smooth_noise(
        random, shape, random.uniform(0.4, 1.2) / scene.pixel_nm
    )
    if random.random() < 0.35:
        height -= np.float32(random.uniform(1.0, 2.5))
    height = np.maximum(height, 0)
    texture = atom * math.exp(random.uniform(math.log(0.02), math.log(0.3)))
    rough = smooth_noise(random, shape, random.uniform(0.1, 0.4) / scene.pixel_nm)
    carbon = np.float32(atom * math.exp(random.uniform(-1.0, 2.0))) * height
    carbon += np.float32(texture) * rough * np.minimum(height, 1)
    return np.maximum(carbon, 0), texture


def spread(fraction: Float32Array) -> float:
    """Standard deviation of a speckle, by its lower half: atoms on it do not count."""
    low, middle = np.percentile(fraction[::2, ::2], [15.87, 50])
    return float(middle - low)


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


def smoothed(random: np.random.Generator, counts: Float32Array) -> Float32Array:
    """Some frames smoothed, as recorders and hands do, more along the lines."""
    if random.random() >= 0.2:
        return counts
    from scipy.ndimage import gaussian_filter

    sigma = math.exp(random.uniform(math.log(0.4), math.log(1.8)))
    return np.asarray(gaussian_filter(counts, (sigma, sigma * random.uniform(1.0, 1.8))))


def draw(random: np.random.Generator, scene: Scene, film: Scene | None) -> Drawn:
    """A frame of a scene."""
    added, fine = background(random, scene, film)
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
        dose = float(np.exp(random.uniform(math.log(0.05), math.log(3000.0)))) / max(float(total.mean()), 1e-6)
        dose = min(dose, 1e7)
    snr *= math.sqrt(dose)
    if scene.material == "single atoms" and len(snr):
        peak = scene.table[scene.species, 0] * scene.weight
        speckle = math.hypot(fine, spread(scene.fraction)) / np.maximum(peak, 1e-12)
        snr = 1 / np.sqrt(1 / np.maximum(snr, 1e-9) ** 2 + speckle**2)
    faint = (snr < FAINTEST) & ((scene.label == _HEAVY) | (scene.label == _VACANCY))
    label = np.where(faint, IGNORED, scene.label)
    zoom = scene.pixel_nm / NATIVE_NM * random.uniform(0.9, 1.1)
    gain = SPARSE_GAIN if seen.sum() < 80 else 1.0
    counts = smoothed(random, count(random, total * np.float32(dose)))
    return finish(random, counts, zoom, scene.yx, label, gain)


def finish(
    random: np.random.Generator, counts: Float32Array, zoom: float, yx: FloatArray, label: IntArray, gain: float
) -> Drawn:
    """Resample, cut, normalise."""
    shape = tuple(max(SIDE, round(side * zoom)) for side in counts.shape)
    frame = resample(np.ascontiguousarray(counts, dtype=np.float32), shape)
    scale = np.array(shape) / np.array(counts.shape)
    corner = np.array([random.integers(0, side - SIDE + 1) for side in shape])
    frame = frame[corner[0] : corner[0] + SIDE, corner[1] : corner[1] + SIDE]
    image, _ = network_input(np.ascontiguousarray(frame))
    places = (yx + 0.5) * scale - 0.5 - corner
    near = ((places > -RIM_PX) & (places < SIDE + RIM_PX)).all(axis=1)
    return Drawn(image, places[near], label[near], gain)


def sample(random: np.random.Generator, drawn: Drawn, disc_px: float = DISC_PX, outside: float = 1.0) -> Sample:
    """A frame with its targets; gain, offset and a little noise drawn anew, turned by quarters, mirrored.

    outside  weight of the pixels that lie on no atom
    """
    image = drawn.image * np.float32(random.uniform(0.93, 1.07)) + np.float32(random.uniform(-0.03, 0.03))
    if random.random() < 0.3:
        image += np.float32(random.uniform(0, 0.04)) * random.standard_normal(image.shape, dtype=np.float32)
    site, weight, kind = targets(drawn.yx, drawn.label, disc_px)
    weight *= np.float32(drawn.gain) * np.where(site > 0, np.float32(1), np.float32(outside))
    turns, flip = int(random.integers(4)), 1 if random.random() < 0.5 else -1
    return Sample(*(np.ascontiguousarray(np.rot90(a, turns)[:, ::flip]) for a in (image, site, weight, kind)))


def targets(yx: FloatArray, label: IntArray, disc_px: float) -> tuple[Float32Array, Float32Array, IntArray]:
    """Discs around the atoms: site and weight (SIDE, SIDE), class (SIDE / 2, SIDE / 2)."""
    site = np.zeros((SIDE, SIDE), dtype=np.float32)
    weight = np.ones((SIDE, SIDE), dtype=np.float32)
    kind = np.full((SIDE // 2, SIDE // 2), -100, dtype=np.int64)
    rows, cols, _ = disc(yx[label < 0], 2 * disc_px)
    weight[rows, cols] = 0
    rows, cols, atom = disc(yx[label >= 0], disc_px)
    labels = label[label >= 0][atom]
    site[rows, cols] = 1
    weight[rows, cols] = np.where((labels == _VACANCY) | (labels == 1), 2.0, 1.0)
    kind[rows // 2, cols // 2] = labels
    weight[crowded(yx[label >= 0]) & (site == 0)] *= GAP_WEIGHT
    return site, weight, kind


def disc(yx: FloatArray, radius: float) -> tuple[IntArray, IntArray, IntArray]:
    """Rows and columns of the pixels at most `radius` from each atom, inside the frame, and whose atom it is."""
    half = math.ceil(radius)
    dy, dx = (axis.ravel() for axis in np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"))
    pixel = np.rint(yx).astype(np.int64)
    part = (pixel - yx).astype(np.float32)
    near = (part[:, :1] + dy.astype(np.float32)) ** 2 + (part[:, 1:] + dx.astype(np.float32)) ** 2 <= radius**2
    atom, place = np.nonzero(near)
    rows, cols = pixel[atom, 0] + dy[place], pixel[atom, 1] + dx[place]
    inside = (rows >= 0) & (rows < SIDE) & (cols >= 0) & (cols < SIDE)
    return rows[inside], cols[inside], atom[inside]


def crowded(yx: FloatArray) -> BoolArray:
    """Pixels within GAP_PX of two atoms or more, (SIDE, SIDE)."""
    from scipy.spatial import cKDTree

    close = np.unique(cKDTree(yx).query_pairs(2 * GAP_PX, output_type="ndarray")) if len(yx) > 1 else []
    rows, cols, _ = disc(yx[np.asarray(close, dtype=np.int64)], GAP_PX)
    return np.asarray(np.bincount(rows * SIDE + cols, minlength=SIDE * SIDE).reshape(SIDE, SIDE) > 1)


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
    drawn = finish(random, real.counts, zoom, real.yx, label, SPARSE_GAIN)
    return sample(random, drawn, REAL_DISC_PX, outside=0.5)
