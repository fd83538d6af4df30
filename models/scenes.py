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
from probewise.instrument.build import Model, columns
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
from probewise.types import Context, Float32Array, FloatArray, IntArray, RasterROI

CLASSES = ("C", "dopant", "perovskite A", "perovskite B", "TMD metal", "TMD chalcogen", "heavy", "vacancy")
IGNORED = -1  # something is there, but neither a hit nor a miss
NATIVE_NM = 0.02
SIDE = 256  # native pixels of a training frame
EXCESS_VARIANCE = 0.2
FIELD_NM = {"graphene": 24.0, "mos2": 20.0, "particles": 24.0}  # survey field that a specimen is built over
_OTHER_FIELD_NM = 40.0
_DEFECTS = {"graphene": (8_000, 30_000), "mos2": (40_000, 90_000)}  # of a 200 nm field: 0.5 to 10 % of the sites
_MARGIN_NM = 0.6  # more than the largest scale jitter takes from a frame
_CARBON_PER_NM3 = 100.0

# Species index of each specimen -> class; None is background (oxygen columns, the film).
_SPECIES: dict[str, tuple[int | None, ...]] = {
    "graphene": (0, 1),
    "mos2": (4, 5, 7, 1),
    "nio-lsmo": (2, 3, None, 3),
    "bfo": (2, 3, None),
    "strained": (2, 3, None),
    "particles": (None, 6),
    "single atoms": (None, 6, 6, 6, 6),
}
_HOST = {"graphene": 0, "mos2": 1}  # species that a vacancy lacks
MATERIALS = {
    "graphene": 0.14,
    "mos2": 0.22,
    "nio-lsmo": 0.05,
    "bfo": 0.03,
    "strained": 0.05,
    "particles": 0.08,
    "single atoms": 0.23,
    "empty": 0.20,
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


def single_atoms(seed: int, *, film: bool = True, heavy: bool = True, clusters: bool = True) -> Specimen:
    """Heavy single atoms on an amorphous carbon film, in half of the specimens pairs and small clusters too."""
    side = _OTHER_FIELD_NM
    model = Model("single atoms", seed, (side, side), ("film",), "count", 1.0)
    random = model.random
    clump = random.uniform(0.08, 0.16)
    atoms = _CARBON_PER_NM3 * math.exp(random.uniform(math.log(0.5), math.log(10.0))) * clump**2
    carbon = model.add_species((6, atoms))
    species = [model.add_species((z, 1)) for z in (74, 78, 79, 83)]
    if film:
        spread = min(0.6, random.uniform(0.3, 1.0) / math.sqrt(atoms))  # at most Poisson's
        grain = columns((0, 0, carbon, 1, spread, 0.3 * clump, 0))
        turn = random.uniform(0, math.pi / 2)
        a = clump * np.array([math.cos(turn), math.sin(turn)])
        model.core.add_lattice((0.0, 0.0), tuple(a), (-a[1], a[0]), grain)
    if heavy:
        middles = random.uniform(0, side, (round(random.uniform(0.05, 0.8) * side**2), 2))
        yx = [middles]
        if random.random() < 0.5 and clusters:
            seeds = middles[random.random(len(middles)) < random.uniform(0.1, 0.5)]
            spread = random.uniform(0.15, 0.5)
            yx += [seeds + random.normal(0, spread, seeds.shape) for _ in range(random.integers(1, 6))]
        points = np.concatenate(yx)
        points = points[((points > 0) & (points < side)).all(axis=1)]
        basis = np.zeros((len(points), 7))
        basis[:, :2], basis[:, 3] = points, 1.0
        basis[:, 2] = random.choice(species) if random.random() < 0.7 else random.choice(species, len(points))
        for start in range(0, len(basis), 255):  # one huge cell: the core takes 255 columns a cell
            model.core.add_lattice((0.0, 0.0), (1e4, 0.0), (0.0, 1e4), basis[start : start + 255])
    return Specimen(model.core, tuple(model.species), model.truth())


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
    empty = material == "empty"
    if empty and random.random() < 0.4:
        material = "particles"  # a stain or a hole in the film between them
    elif material in ("single atoms", "empty"):
        return single_atoms(seed, film=random.random() < 0.85, heavy=not empty), "single atoms", None
    options: dict[str, object] = {}
    features: tuple[str, ...] = ()
    if material in ("graphene", "mos2"):
        options["defect_statistics"] = str(random.choice(["uncorrelated", "clustered", "boundary"]))
        options["defects"] = int(random.choice(_DEFECTS[material]))
    if material == "bfo":
        options["mistilt_pm"] = float(random.uniform(0, 12))
    if empty or random.random() < 0.4:
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
        if feature is not None and (material == "empty" or random.random() < 0.6):
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


def columns_with_labels(
    specimen: Specimen, name: str, probed: FloatArray
) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Positions (nm), labels, species and weight of the columns and vacancies about the probed area."""
    low, high = probed.min(axis=(0, 1)) - 0.3, probed.max(axis=(0, 1)) + 0.3
    yx, species, weight = specimen.core.atoms([*low, *high])
    classes = _SPECIES[name]
    label = np.array([-2 if c is None else c for c in classes], dtype=np.int64)[species]
    seen = label > -2
    yx, species, weight, label = yx[seen], species[seen].astype(np.int64), weight[seen].astype(np.float64), label[seen]
    if len(yx) > 1:
        label[_nearest(yx, yx, 2)[:, 1] < 0.11] = IGNORED  # two lattices overlap
    missing = [
        place
        for thing in specimen.truth.objects
        if thing.kind in ("vacancy", "S2 vacancy")
        for place in thing.samples_nm
        if (place > low).all() and (place < high).all()
    ]
    if missing:
        empty = np.array(missing)
        surrounded = _nearest(yx, empty, 2)[:, 1] < 0.25 if len(yx) > 1 else np.zeros(len(empty), dtype=bool)
        yx = np.concatenate([yx, empty])
        label = np.concatenate([label, np.where(surrounded, CLASSES.index("vacancy"), IGNORED)])
        species = np.concatenate([species, np.full(len(empty), _HOST[name])])
        weight = np.concatenate([weight, np.ones(len(empty))])
    return yx, label, species, weight


def _nearest(points: FloatArray, at: FloatArray, count: int) -> FloatArray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(at, k=count)[0])


def on_pixel_grid(yx_nm: FloatArray, probed_nm: FloatArray) -> FloatArray:
    """Pixel coordinates (n, 2) at which an executed scan saw points of the specimen.

    probed_nm  (rows, cols, 2), where the probe really was at each pixel
    """
    rows, cols, _ = probed_nm.shape
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1)
    step = max(1, min(rows, cols) // 32)
    known = probed_nm[::step, ::step].reshape(-1, 2)
    design = np.column_stack([known, np.ones(len(known))])
    affine = np.linalg.lstsq(design, grid[::step, ::step].reshape(-1, 2), rcond=None)[0]
    pixels = yx_nm @ affine[:2] + affine[2]
    for _ in range(4):
        at = np.clip(pixels, 0, [rows - 1.001, cols - 1.001])
        whole = at.astype(np.int64)
        part = at - whole
        value = np.zeros_like(yx_nm)
        for i in (0, 1):
            for j in (0, 1):
                share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
                value += share[:, None] * probed_nm[whole[:, 0] + i, whole[:, 1] + j]
        pixels = at + (yx_nm - value) @ affine[:2]
    return pixels


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
