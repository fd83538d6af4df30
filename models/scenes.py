# SPDX-License-Identifier: BSD-3-Clause
"""Scenes for training: what the simulated microscope expects to see, and where the atoms lie on the executed pixels.

Specimen, probe, scan distortions, pixel and field are drawn at random; noise is not in a scene (see frames.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from probewise.instrument import Detector, Distortions, SimulatedInstrument
from probewise.instrument.optics import (
    FOCUS_MAX_NM,
    FOCUS_STEP_NM,
    REACH_NM,
    TABLE_STEPS,
    Probe,
    profile_tables,
    wavelength_A,
)
from probewise.instrument.specimens import Specimen, build
from probewise.training.atom_truth import CLASSES as CLASSES
from probewise.training.atom_truth import IGNORED as IGNORED
from probewise.training.atom_truth import columns_with_labels, on_pixel_grid
from probewise.training.atom_truth import single_atoms as single_atoms
from probewise.types import Context, Float32Array, FloatArray, IntArray, RasterROI

NATIVE_NM = 0.02
SIDE = 256  # native pixels of a training frame
EXCESS_VARIANCE = 0.2
DISC_PX = 2.2  # radius of the target disc; neighbours in graphene lie 7.1 px apart
FIELD_NM = {"graphene": 24.0, "mos2": 20.0, "particles": 24.0}  # survey field that a specimen is built over
_OTHER_FIELD_NM = 40.0
_DEFECTS = {"graphene": (8_000, 30_000), "mos2": (20_000, 90_000)}  # of a 200 nm field: 0.5 to 10 % of the sites
_MARGIN_NM = 0.6  # more than the largest scale jitter takes from a frame

MATERIALS = {
    "graphene": 0.15,
    "mos2": 0.22,
    "nio-lsmo": 0.04,
    "bfo": 0.03,
    "strained": 0.04,
    "particles": 0.09,
    "single atoms": 0.25,
    "empty": 0.18,
}


@dataclass(frozen=True, eq=False)
class Scene:
    """One scan without noise.

    fraction  (rows, cols) float32, expected share of the electrons that reach the detector
    yx        (n, 2) px on that grid; label (n,) index into CLASSES or IGNORED
    species, weight  (n,) which profile of `table` (species, steps) an atom adds, times what; at a vacancy, of the
              missing atom
    unit_snr  (n,) SNR of the atom at one electron per pixel without read noise
    """

    material: str
    fraction: Float32Array
    pixel_nm: float
    yx: FloatArray
    label: IntArray
    species: IntArray
    weight: FloatArray
    table: Float32Array
    unit_snr: FloatArray


def random_probe(random: np.random.Generator, material: str) -> Probe:
    """A probe that resolves the material; often about the simulated microscope's own."""
    if random.random() < 0.4:
        own = Probe()
        return replace(
            own,
            convergence_mrad=own.convergence_mrad * random.uniform(0.97, 1.03),
            source_fwhm_nm=own.source_fwhm_nm * random.uniform(0.8, 1.2),
            defocus_nm=float(random.normal(0, 1.0)),
        )
    widest = 0.12 if material == "graphene" else 0.16
    while True:
        voltage = float(random.choice([60.0, 80.0, 120.0, 200.0, 300.0]))
        convergence = random.uniform(18, 36)
        source = random.uniform(0.03, 0.12)
        inner = random.uniform(max(45.0, 1.4 * convergence), 95.0)
        airy = 0.515 * wavelength_A(voltage) / convergence * 100
        if math.hypot(airy, source) > widest:
            continue
        depth = wavelength_A(voltage) * 0.1 / (convergence * 1e-3) ** 2
        defocus = float(np.clip(random.normal(0, 0.35) * depth, -8, 8))
        return Probe(voltage, convergence, (inner, random.uniform(2.0, 4.0) * inner), source, 0.006, defocus)


def random_distortions(random: np.random.Generator, tilt_deg: tuple[float, float]) -> Distortions:
    strength = random.choice([0.3, 1.0, 1.0, 2.0])
    pair = lambda scale: tuple(float(v) for v in np.abs(random.normal(0, scale * strength, 2)))  # noqa: E731
    return Distortions(
        line_jitter_nm=pair(0.004),
        settle_share=abs(float(random.normal(0, 0.005))) * strength,
        slow_share=abs(float(random.normal(0, 0.002))) * strength,
        mains_nm=pair(0.004),
        mains_hz=float(random.choice([50.0, 60.0])),
        scale_error=tuple(float(v) for v in random.uniform(-0.025, 0.025, 2)),
        shear_deg=float(random.normal(0, 0.7)),
        drift_nm_per_min=tuple(float(v) for v in random.normal(0, 0.5 * strength, 2)),
        tilt_deg=tilt_deg,
        flicker_rms=abs(float(random.normal(0, 0.01))) * strength,
        contamination_per_min=float(random.uniform(0, 4)),
    )


def _open(random: np.random.Generator, material: str) -> tuple[Specimen, str, tuple[float, float] | None]:
    """Specimen, its name, and where a hole or a stain lies (nm) when it has one."""
    seed = int(random.integers(2**31))
    if material in ("single atoms", "empty"):
        return single_atoms(seed, film=random.random() < 0.85, heavy=material == "single atoms"), "single atoms", None
    options: dict[str, object] = {}
    features: tuple[str, ...] = ()
    if material in ("graphene", "mos2"):
        options["defect_statistics"] = str(random.choice(["uncorrelated", "clustered", "boundary"]))
        options["defects"] = int(random.choice(_DEFECTS[material]))
    if material == "bfo":
        options["mistilt_pm"] = float(random.uniform(0, 12))
    if random.random() < 0.4:
        features = (str(random.choice(["hole", "contamination"])),)
    field = FIELD_NM.get(material, _OTHER_FIELD_NM)
    made = build(material, seed=seed, fov_nm=field, features=features, **options)  # type: ignore[arg-type]
    place = {"hole": (0.16, 0.18), "contamination": (0.18, 0.82)}[features[0]] if features else None
    return made, material, None if place is None else (place[0] * field, place[1] * field)


def scenes(random: np.random.Generator, material: str, count: int) -> Iterator[Scene]:
    """Scenes of one specimen under one probe."""
    specimen, name, feature = _open(random, material)
    probe = random_probe(random, material)
    tilt = tuple(float(v) for v in random.uniform(-2.5, 2.5, 2))
    table = scene_tables(probe, specimen, tilt)
    for sequence in range(count):
        pixel = float(np.exp(random.uniform(math.log(0.01), math.log(0.05)))) if random.random() < 0.7 else 0.02
        side = SIDE * NATIVE_NM * 1.1 + _MARGIN_NM
        shape = (round(side / pixel), round(side / pixel))
        reach = (specimen.truth.fov_nm[0] - side * math.sqrt(2)) / 2 - 0.5
        shift = random.uniform(-reach, reach, 2)
        if feature is not None and random.random() < 0.6:
            shift = np.clip(np.array(feature) - specimen.truth.fov_nm[0] / 2 + random.uniform(-4, 4, 2), -reach, reach)
        context = Context(
            (shape[0] * pixel, shape[1] * pixel), (float(shift[0]), float(shift[1])), random.uniform(0, 2 * math.pi)
        )
        scope = SimulatedInstrument(
            specimen,
            seed=int(random.integers(2**31)),
            probe=probe,
            distortions=random_distortions(random, tilt),  # type: ignore[arg-type]
            detector=Detector.ideal(),
        )
        scan = RasterROI(
            shape,
            int(random.choice([1000, 2000, 4000, 8000, 16000])),
            discard_lines=int(random.integers(0, 4)),
            flyback_ns=50_000,
        )
        scope.restore({"clock_ns": int(random.uniform(0, 5e9)), "sequence": sequence})
        yield make_scene(scope, scan, context, specimen, name, table)


def scene_tables(probe: Probe, specimen: Specimen, tilt_deg: tuple[float, ...]) -> Float32Array:
    """The profile tables that the simulated microscope itself uses: (species, defocus levels, steps)."""
    sides = specimen.truth.fov_nm
    deepest = sum(abs(math.tan(math.radians(t))) * side / 2 for t, side in zip(tilt_deg, sides, strict=True))
    return profile_tables(probe, specimen.species, min(FOCUS_MAX_NM, deepest + abs(probe.defocus_nm)))


def make_scene(
    scope: SimulatedInstrument, scan: RasterROI, context: Context, specimen: Specimen, name: str, table: Float32Array
) -> Scene:
    """Scan without noise (`scope` with an ideal detector) and put the specimen's atoms on the executed pixel grid."""
    armed = scope.arm(scan, context)
    probed = scope.true_positions_nm(armed).reshape(*scan.shape, 2)
    scope.start(armed)
    counts = np.empty((1, scan.shape[0] * scan.shape[1]), dtype=np.float32)
    scope.read_into(armed, counts, timeout_s=math.inf)
    electrons = scope.beam_current_pA * 1e-12 / 1.602176634e-19 * scan.dwell_ns * 1e-9
    fraction = counts.reshape(scan.shape) / np.float32(electrons)
    yx, label, species, weight = columns_with_labels(specimen, name, probed)
    pixels = on_pixel_grid(yx, probed)
    inside = ((pixels > -0.5) & (pixels < np.array(scan.shape) - 0.5)).all(axis=1)
    pixels, label, species, weight = pixels[inside], label[inside], species[inside], weight[inside]
    pixel_nm = context.fov_nm[0] / scan.shape[0]
    level = min(round(abs(scope.probe.defocus_nm) / FOCUS_STEP_NM), table.shape[1] - 1)
    blank = np.zeros(len(pixels))
    scene = Scene(name, fraction, pixel_nm, pixels, label, species, weight, table[:, level], blank)
    return replace(scene, unit_snr=atom_snr(scene))


def atom_snr(scene: Scene, *, electrons: float = 1.0, read_noise: float = 0.0) -> FloatArray:
    """SNR of each atom, sqrt(sum s_i^2 / v_i): v_i with all neighbours, pulse heights and read noise.

    electrons   per pixel; read_noise in electrons
    """
    yx, species, weight, table, pixel_nm = scene.yx, scene.species, scene.weight, scene.table, scene.pixel_nm
    half = math.ceil(0.22 / pixel_nm)
    offset = np.arange(-half, half + 1)
    out = np.empty(len(yx))
    padded = np.pad(scene.fraction, half, constant_values=np.inf)
    for start in range(0, len(yx), 256):
        part = slice(start, start + 256)
        centre = np.rint(yx[part]).astype(np.int64)
        dy = (centre[:, 0, None] + offset - yx[part, 0, None])[:, :, None]
        dx = (centre[:, 1, None] + offset - yx[part, 1, None])[:, None, :]
        place = np.minimum((dy * dy + dx * dx) * (pixel_nm / REACH_NM) ** 2 * TABLE_STEPS, TABLE_STEPS)
        signal = table[species[part, None, None], place.astype(np.int64)] * weight[part, None, None]
        rows = np.clip(centre[:, 0, None] + offset + half, 0, padded.shape[0] - 1)
        cols = np.clip(centre[:, 1, None] + offset + half, 0, padded.shape[1] - 1)
        expected = padded[rows[:, :, None], cols[:, None, :]]
        expected = np.maximum(expected, np.maximum(signal, 1e-9))  # at a vacancy: of the atom that is missing
        variance = (1 + EXCESS_VARIANCE) * electrons * expected + read_noise**2
        out[part] = np.sqrt(((electrons * signal) ** 2 / variance).sum(axis=(1, 2)))
    return out
