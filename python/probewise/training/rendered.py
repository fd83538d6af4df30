# SPDX-License-Identifier: BSD-3-Clause
"""Patches around the true atoms of rendered specimens, with what each atom is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.image import extract_patches, network_input
from probewise.instrument import Detector, Distortions, atoms, render, truth
from probewise.types import Context, Float32Array, FloatArray, IntArray, RasterROI, Truth

UNNAMED = -1
FIELD_NM = 24.0


@dataclass(frozen=True, eq=False)
class AtomPatches:
    """patches (n, side, side), label (n,) index into the material's classes or UNNAMED, place (n, 2) nm in the field,
    frame (n,) number of the frame."""

    patches: Float32Array
    label: IntArray
    place: FloatArray
    frame: IntArray

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Material:
    """How a specimen is seen: pixel, patch, options of the specimen, and the classes of its atoms.

    symmetry   rotations that the pattern about an atom does not change under; `crystal`: that turn one site of the
               lattice into another (graphene's two sublattices are a sixth of a turn apart)
    content    latent variables: off-centre patches, contrast and pixel size take some of them
    questions  what a probe is asked: for each name, groups of labels that it has to tell apart
    centre_on  only columns of this element get patches
    """

    specimen: str
    pixel_nm: float
    side_px: int
    classes: tuple[str, ...]
    label: Callable[[Truth, FloatArray, IntArray], IntArray]
    options: dict[str, Any]
    dose_e_per_A2: tuple[float, float]
    symmetry: int
    crystal: int
    content: int
    questions: dict[str, tuple[tuple[int, ...], ...]]
    centre_on: int | None = None


def _nearest(points: FloatArray, others: FloatArray) -> FloatArray:
    from scipy.spatial import cKDTree

    if not len(others):
        return np.full(len(points), math.inf)
    return np.asarray(cKDTree(others).query(points)[0])


def _samples(held: Truth, kind: str) -> FloatArray:
    found = [thing.samples_nm for thing in held.objects if thing.kind == kind]
    return np.concatenate(found) if found else np.empty((0, 2))


def _graphene(held: Truth, yx: FloatArray, number: IntArray) -> IntArray:
    vacancy, seam = _nearest(yx, _samples(held, "vacancy")), _nearest(yx, _samples(held, "boundary segment"))
    dopant = _nearest(yx, _samples(held, "Si dopant"))
    label = np.full(len(yx), UNNAMED)
    label[np.minimum(np.minimum(vacancy, seam), dopant) > 0.62] = 0
    label[(seam < 0.26) & (np.minimum(vacancy, dopant) > 0.5)] = 1
    label[(number == 14) & (np.minimum(vacancy, seam) > 0.5)] = 2
    label[(vacancy < 0.17) & (np.minimum(dopant, seam) > 0.5)] = 3
    return label


def _bfo(held: Truth, yx: FloatArray, number: IntArray) -> IntArray:
    walls = [_samples(held, kind) for kind in ("90 degree wall", "180 degree wall")]
    right, straight = (_nearest(yx, wall) for wall in walls)
    cells = np.minimum((yx / held.label_nm).astype(int), np.array(held.labels.shape) - 1)
    label: IntArray = held.labels[cells[:, 0], cells[:, 1]].astype(np.int64)
    label[np.minimum(right, straight) < 2.0] = UNNAMED
    label[right < 0.5] = 4
    label[straight < 0.5] = 5
    label[number != 26] = UNNAMED
    return label


def _mos2(held: Truth, yx: FloatArray, number: IntArray) -> IntArray:
    kinds = {kind: _nearest(yx, _samples(held, kind)) for kind in ("S vacancy", "S2 vacancy", "W dopant")}
    far = np.minimum.reduce(list(kinds.values())) > 0.75
    label = np.where(far, np.where(number == 42, 0, 1), UNNAMED)
    label[kinds["S vacancy"] < 0.01] = 2
    label[(number == 42) & (kinds["S2 vacancy"] < 0.2)] = 3
    label[kinds["W dopant"] < 0.01] = 4
    return label


MATERIALS = {
    "graphene": Material(
        "graphene",
        0.02,
        27,
        ("bulk", "boundary", "dopant", "next to vacancy"),
        _graphene,
        {"defects": 5000},
        (1.5e4, 5e5),
        3,
        6,
        4,
        {"defects": ((0,), (1,), (2,), (3,))},
    ),
    "bfo": Material(
        "bfo",
        0.03,
        31,
        ("+y+x", "+y-x", "-y-x", "-y+x", "90 degree wall", "180 degree wall"),
        _bfo,
        {},
        (1e4, 5e5),
        1,
        1,
        4,
        {"domains": ((0,), (1,), (2,), (3,)), "walls": ((0, 1, 2, 3), (4, 5))},
        26,
    ),
    "mos2": Material(
        "mos2",
        0.025,
        27,
        ("Mo", "S2", "S vacancy", "next to S2 vacancy", "W dopant"),
        _mos2,
        {"defects": 12000, "defect_statistics": "uncorrelated"},
        (5e3, 2e5),
        3,
        3,
        7,
        {"defects": ((0,), (1,), (2,), (3,), (4,))},
    ),
}


def atom_patches(
    material: str,
    *,
    seed: int,
    frames: int,
    side_nm: float = 10.0,
    rotation_rad: float | None = None,
    dose_e_per_A2: float | None = None,
    noiseless: float = 0.0,
    off_centre_px: float = 0.25,
    pixel_spread: float = 0.05,
    sequence: int = 0,
) -> AtomPatches:
    """Patches of `frames` frames, each of another specimen of its own seed.

    rotation_rad   of all frames; None: drawn for each
    dose_e_per_A2  None: drawn log-uniformly from the material's range for each frame
    noiseless      share of frames of expected counts from a perfect scan
    off_centre_px  rms error of the centres in y and x
    pixel_spread   relative, of the pixel size about the material's
    sequence       of the frames: another one has other noise
    """
    kind = MATERIALS[material]
    random = np.random.default_rng([seed, 17])
    parts = []
    for number in range(frames):
        specimen_seed = int(random.integers(1 << 30))
        turn = random.uniform(0, 2 * math.pi) if rotation_rad is None else rotation_rad
        low, high = np.log(kind.dose_e_per_A2)
        dose = float(np.exp(random.uniform(low, high))) if dose_e_per_A2 is None else dose_e_per_A2
        pixel = kind.pixel_nm * (1 + pixel_spread * random.uniform(-1, 1))
        pixels = round(side_nm / pixel)
        noise = random.random() >= noiseless
        held = truth(kind.specimen, seed=specimen_seed, fov_nm=FIELD_NM, **kind.options)
        context = Context(
            fov_nm=(pixels * pixel, pixels * pixel), rotation_rad=turn, shift_nm=_towards(held, pixels * pixel, random)
        )
        frame = render(
            kind.specimen,
            RasterROI((pixels, pixels), 4000),
            seed=specimen_seed,
            fov_nm=FIELD_NM,
            context=context,
            dose_e_per_A2=dose,
            distortions=_local() if noise else Distortions.none(),
            sequence=sequence,
            detector=Detector() if noise else Detector.ideal(),
            **kind.options,
        )
        place, z = atoms(kind.specimen, (0, 0, FIELD_NM, FIELD_NM), seed=specimen_seed, fov_nm=FIELD_NM, **kind.options)
        centres = to_pixels(place, context, pixel, pixels) + random.normal(0, off_centre_px, place.shape)
        label = kind.label(held, place, z)
        if kind.centre_on is not None:
            centres, label, place = (values[z == kind.centre_on] for values in (centres, label, place))
        patches, kept = extract_patches(network_input(frame.image())[0], centres, kind.side_px, subpixel=True)
        parts.append(AtomPatches(patches, label[kept], place[kept], np.full(len(kept), number)))
    return AtomPatches(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("patches", "label", "place", "frame"))
    )


def to_pixels(place_nm: FloatArray, context: Context, pixel_nm: float, pixels: int) -> FloatArray:
    """Positions of the field in pixels (centres at integers) of a square frame of `context`."""
    cosine, sine = math.cos(context.rotation_rad), math.sin(context.rotation_rad)
    offset = place_nm - FIELD_NM / 2 - np.array(context.shift_nm)
    turned = np.stack(
        [cosine * offset[:, 0] + sine * offset[:, 1], cosine * offset[:, 1] - sine * offset[:, 0]], axis=1
    )
    return np.asarray(turned / pixel_nm + pixels / 2 - 0.5)


def _towards(held: Truth, side_nm: float, random: np.random.Generator) -> tuple[float, float]:
    """Shift of a frame, turned at will inside the field, that brings it near an object."""
    room = (FIELD_NM - side_nm * math.sqrt(2)) / 2
    if not held.objects:
        return (0.0, 0.0)
    thing = held.objects[int(random.integers(len(held.objects)))]
    place = thing.samples_nm[int(random.integers(len(thing.samples_nm)))] - FIELD_NM / 2
    y, x = np.clip(place + random.normal(0, 1.0, 2), -room, room)
    return (float(y), float(x))


def _local() -> Distortions:
    """Distortions that leave the true positions true to a fraction of a pixel."""
    zero = (0.0, 0.0)
    return Distortions(scale_error=zero, shear_deg=0.0, drift_nm_per_min=zero, slow_share=0.0, settle_share=0.0)


def capped(data: AtomPatches, most: int, *, seed: int) -> AtomPatches:
    """At most `most` patches of each class, and of those without a name, drawn at random."""
    random = np.random.default_rng([seed, 23])
    keep = np.sort(
        np.concatenate(
            [random.permutation(np.flatnonzero(data.label == label))[:most] for label in np.unique(data.label)]
        )
    )
    return AtomPatches(data.patches[keep], data.label[keep], data.place[keep], data.frame[keep])
