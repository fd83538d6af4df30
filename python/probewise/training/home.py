# SPDX-License-Identifier: BSD-3-Clause
"""Home frames of an atom finder: the simulated microscope as a run uses it, with what is there to be found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.inference import PixelRange
from probewise.instrument import SimulatedInstrument
from probewise.instrument.specimens import FEATURES, Specimen, build
from probewise.training.atom_truth import columns_with_labels, on_pixel_grid, single_atoms
from probewise.types import ELEMENTARY_CHARGE_C, Context, Float32Array, FloatArray, IntArray, RasterROI

MATERIALS = ("graphene", "mos2", "nio-lsmo", "bfo", "strained", "particles", "single atoms")
SIDES_PX = (160, 256, 400)
_FIELD_NM = 100.0  # as in a run, the focus changes over it
_DOSE_E_PER_A2 = (1e4, 3e5)  # atoms are seen, in graphene barely, to nearly free of noise
_DWELL_NS = 4000
_FRAMES_EACH = 8  # of one specimen
_MARGIN_NM = 0.6  # the scan is up to some percent larger than commanded


@dataclass(frozen=True, eq=False)
class HomeFrame:
    """counts (rows, cols); yx (n, 2) px and label (n,) index into `atom_truth.CLASSES` or IGNORED of what is there."""

    material: str
    counts: Float32Array
    pixel_nm: float
    yx: FloatArray
    label: IntArray


def home_frames(seed: int, pixel_nm: PixelRange, *, side_px: int | None = None) -> Iterator[HomeFrame]:
    """Frames without end; half of them with the native pixel, the others anywhere in a card's range.

    side_px  None: one of SIDES_PX
    """
    random = np.random.default_rng([seed, 31])
    low, high = math.log(pixel_nm.low), math.log(pixel_nm.high)
    while True:
        name = str(random.choice(MATERIALS))
        specimen = specimen_of(random, name)
        for sequence in range(_FRAMES_EACH):
            pixel = pixel_nm.native if random.random() < 0.5 else math.exp(random.uniform(low, high))
            largest = (specimen.truth.fov_nm[0] / math.sqrt(2) - _MARGIN_NM) / pixel
            side = min(int(random.choice(SIDES_PX)) if side_px is None else side_px, int(largest))
            yield _frame(random, specimen, name, pixel, side, sequence)


def specimen_of(random: np.random.Generator, name: str) -> Specimen:
    """One of MATERIALS."""
    seed = int(random.integers(2**31))
    if name == "single atoms":
        return single_atoms(seed, film=random.random() < 0.85)
    options: dict[str, Any] = {}
    if name in ("graphene", "mos2"):
        options["defect_statistics"] = str(random.choice(["uncorrelated", "clustered", "boundary"]))
        options["defects"] = int(random.choice([3_000, 10_000, 30_000]))
    features = (str(random.choice(FEATURES)),) if random.random() < 0.25 else ()
    return build(name, seed=seed, fov_nm=_FIELD_NM, features=features, **options)


def _frame(
    random: np.random.Generator, specimen: Specimen, name: str, pixel: float, side: int, sequence: int
) -> HomeFrame:
    reach = max(0.0, (specimen.truth.fov_nm[0] - (side * pixel + _MARGIN_NM) * math.sqrt(2)) / 2)
    shift = random.uniform(-reach, reach, 2)
    context = Context((side * pixel, side * pixel), (float(shift[0]), float(shift[1])), random.uniform(0, 2 * math.pi))
    dose = math.exp(random.uniform(*np.log(_DOSE_E_PER_A2)))
    current = dose * (10 * pixel) ** 2 * ELEMENTARY_CHARGE_C / (_DWELL_NS * 1e-9) * 1e12
    scope = SimulatedInstrument(specimen, seed=int(random.integers(2**31)), beam_current_pA=current)
    scope.restore({"clock_ns": int(random.uniform(0, 5e9)), "sequence": sequence})
    scan = RasterROI((side, side), _DWELL_NS, discard_lines=2, flyback_ns=50_000)
    return seen(scope, specimen, name, scan, context)


def seen(scope: SimulatedInstrument, specimen: Specimen, name: str, scan: RasterROI, context: Context) -> HomeFrame:
    """One frame of a specimen, with what was there at the pixels that were really visited."""
    armed = scope.arm(scan, context)
    probed = scope.true_positions_nm(armed).reshape(*scan.shape, 2)
    scope.start(armed)
    counts = np.empty((1, scan.shape[0] * scan.shape[1]), dtype=np.float32)
    scope.read_into(armed, counts, timeout_s=math.inf)
    yx, label, *_ = columns_with_labels(specimen, name, probed)
    pixels = on_pixel_grid(yx, probed)
    inside = ((pixels > -0.5) & (pixels < np.array(scan.shape) - 0.5)).all(axis=1)
    pixel_nm = context.fov_nm[0] / scan.shape[0]
    return HomeFrame(name, counts.reshape(scan.shape), pixel_nm, pixels[inside], label[inside])
