# SPDX-License-Identifier: BSD-3-Clause
"""Training frames of the segmenter: rendered sub-scans with the class and the polarisation of every output pixel.

Probe, scan distortions, field, feature and pixel are drawn for a scene, which holds no noise; dose and detector are
drawn anew whenever it is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frames import count
from labels import class_map, polarisation
from probewise.image import network_input, resample
from probewise.instrument import Detector, SimulatedInstrument
from probewise.instrument.optics import Probe, cross_section_A2
from probewise.instrument.specimens import FEATURES
from probewise.types import Context, Float32Array, FloatArray, RasterROI, Truth
from scenes import random_distortions, random_probe
from segment_network import STRIDE

SIDE_NM = 6.4
SIDE = 160  # native pixels of a training frame
REACH_NM = 6.0  # half the diagonal of a sub-scan of 8 nm, and some
FIELD_NM = 120.0
SCENES = 24  # of one specimen; a new probe's tables take as long as ten of them
SPECIMENS = {"nio-lsmo": 0.16, "bfo": 0.26, "graphene": 0.26, "mos2": 0.07, "particles": 0.19, "strained": 0.06}
DOSE_E_PER_A2 = (1.5e4, 1.5e5)  # at 60 kV; scaled so that carbon scatters as many electrons with any probe
_ORDINARY = ("vacancy", "dopant", "thick")  # labels of the truth that no class of ours stands for


@dataclass(frozen=True, eq=False)
class SegmentScene:
    """fraction (rows, cols) of the electrons expected; kind (SIDE/4, SIDE/4); turn (2, SIDE/4, SIDE/4); dose scale."""

    fraction: Float32Array
    kind: npt.NDArray[np.int8]
    turn: Float32Array
    dose_scale: float


@dataclass(frozen=True, eq=False)
class SegmentSample:
    """image (SIDE, SIDE) normalised; kind and turn as in the scene."""

    image: Float32Array
    kind: npt.NDArray[np.int8]
    turn: Float32Array


def sites_of_interest(truth: Truth) -> dict[str, FloatArray]:
    """Points (n, 2) nm of each kind of feature: samples of objects, edges of regions, the inside of features."""
    found: dict[str, list[FloatArray]] = {}
    for thing in truth.objects:
        if not any(word in thing.kind for word in _ORDINARY):
            found.setdefault(thing.kind, []).append(thing.samples_nm)
    for name in ("LSMO", "NiO", "particle", *truth.mask_names):
        if name in truth.label_names and name not in _ORDINARY:
            mask = truth.labels == truth.label_names.index(name)
            edge = mask & ~np.roll(mask, 1, axis=0) | mask & ~np.roll(mask, 1, axis=1)
            for part, suffix in ((edge, " edge"), (mask, "")):
                if part.any():
                    found[name + suffix] = [(np.argwhere(part) + 0.5) * truth.label_nm]
    return {name: np.concatenate(points) for name, points in found.items()}


def place_site(random: np.random.Generator, truth: Truth, feature_share: float = 0.8) -> FloatArray:
    """Centre (y, x) nm of a sub-scan that lies inside the field at any rotation."""
    places = sites_of_interest(truth)
    if places and random.random() < feature_share:
        names = sorted(places)
        objects = {thing.kind for thing in truth.objects}
        weight = np.array([3.0 if name in objects else 1.0 for name in names])
        points = places[str(random.choice(names, p=weight / weight.sum()))]
        centre = points[random.integers(len(points))] + random.normal(0, 2.5, 2)
    else:
        centre = random.uniform(0, 1, 2) * truth.fov_nm
    return np.clip(centre, REACH_NM, np.array(truth.fov_nm) - REACH_NM)


def output_positions(probed_nm: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Mean probe position (rows, cols, 2) of every output pixel of `shape` over the executed ones (h, w, 2)."""
    parts = [resample(np.ascontiguousarray(probed_nm[..., k], dtype=np.float32), shape) for k in (0, 1)]
    return np.stack(parts, axis=-1).astype(np.float64)


def _dose_scale(probe: Probe) -> float:
    def carbon(one: Probe) -> float:
        return cross_section_A2(6, one.voltage_kV, one.detector_mrad, one.convergence_mrad)

    return carbon(Probe()) / carbon(probe)


def scenes_of_specimen(random: np.random.Generator, name: str, count: int) -> Iterator[SegmentScene]:
    """Scenes of one specimen under one probe."""
    options: dict[str, object] = {}
    if name == "graphene":
        options["defect_statistics"] = str(random.choice(["boundary", "boundary", "boundary", "clustered"]))
    if name in ("graphene", "mos2"):
        options["defects"] = int(random.choice([60, 600]))
    if name == "bfo":
        options["mistilt_pm"] = float(random.uniform(0, 10))
    features: tuple[str, ...] = ()
    if random.random() < 0.5:
        features = ("hole",) if name == "particles" else (str(random.choice(FEATURES, p=(0.55, 0.3, 0.15))),)
    probe = random_probe(random, name)
    scale = _dose_scale(probe)
    scope = SimulatedInstrument(
        name,
        seed=int(random.integers(2**31)),
        fov_nm=FIELD_NM,
        probe=probe,
        distortions=random_distortions(random, (float(random.uniform(-2, 2)), float(random.uniform(-2, 2)))),
        detector=Detector.ideal(),
        features=features,
        **options,
    )
    for sequence in range(count):
        side = SIDE if random.random() < 0.8 else int(random.integers(SIDE * 4 // 5, 2 * SIDE + 1))
        field = SIDE_NM * random.uniform(0.96, 1.04)
        shift = place_site(random, scope.truth) - np.array(scope.fov_nm) / 2
        context = Context((field, field), (float(shift[0]), float(shift[1])), float(random.uniform(0, 2 * math.pi)))
        scan = RasterROI((side, side), int(random.choice([2000, 4000, 8000, 16000])), flyback_ns=50_000)
        scope.restore({"clock_ns": int(random.uniform(0, 5e9)), "sequence": sequence})
        armed = scope.arm(scan, context)
        probed = output_positions(scope.true_positions_nm(armed).reshape(side, side, 2), (SIDE // STRIDE,) * 2)
        scope.start(armed)
        counts = np.empty((1, side * side), dtype=np.float32)
        scope.read_into(armed, counts, timeout_s=math.inf)
        electrons = scope.beam_current_pA * 1e-12 / 1.602176634e-19 * scan.dwell_ns * 1e-9
        turn = polarisation(scope.truth, probed, context.rotation_rad).transpose(2, 0, 1).astype(np.float32)
        fraction = counts.reshape(side, side) / np.float32(electrons)
        yield SegmentScene(fraction, class_map(scope.truth, probed), turn, scale)


def sample(random: np.random.Generator, scene: SegmentScene) -> SegmentSample:
    """One use of a scene: dose, detector, one of the eight turns and mirrors."""
    dose = math.exp(random.uniform(*np.log(DOSE_E_PER_A2))) * scene.dose_scale
    area_A2 = (SIDE_NM * 10 / scene.fraction.shape[0]) ** 2
    counts = count(random, scene.fraction * np.float32(dose * area_A2))
    image, _ = network_input(resample(np.ascontiguousarray(counts, dtype=np.float32), (SIDE, SIDE)))
    kind, turn = scene.kind, scene.turn
    if random.random() < 0.5:
        image, kind, turn = image[::-1], kind[::-1], turn[:, ::-1] * np.float32([[[-1]], [[1]]])
    if random.random() < 0.5:
        image, kind, turn = image[:, ::-1], kind[:, ::-1], turn[:, :, ::-1] * np.float32([[[1]], [[-1]]])
    if random.random() < 0.5:
        image, kind, turn = image.T, kind.T, turn[::-1].transpose(0, 2, 1)
    return SegmentSample(*(np.ascontiguousarray(a) for a in (image, kind, turn)))


def stream(seed: int, *, pool: int, uses: float = 12.0) -> Iterator[SegmentSample]:
    """Samples without end: a pool of scenes, each of them used about `uses` times before another takes its place."""
    random = np.random.default_rng(seed)
    names, shares = list(SPECIMENS), np.array(list(SPECIMENS.values()))
    held: list[SegmentScene] = []
    coming: Iterator[SegmentScene] = iter(())
    while True:
        if len(held) < pool or random.random() < 1 / uses:
            scene = next(coming, None)
            if scene is None:
                coming = scenes_of_specimen(random, str(random.choice(names, p=shares / shares.sum())), SCENES)
                scene = next(coming)
            if len(held) < pool:
                held.append(scene)
            else:
                held[random.integers(pool)] = scene
        yield sample(random, held[random.integers(len(held))])
