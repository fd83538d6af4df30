# SPDX-License-Identifier: BSD-3-Clause
"""How near to the Cramer-Rao bound are atom positions in rendered graphene?

Frames of pristine graphene without scan distortions at doses for an SNR of 5, 8, 12 and 20 (SNR^2 of an atom = sum
over pixels of its signal squared over the variance), starts 0.3 px rms from the truth. Bound: joint over positions,
amplitudes, width and background of all atoms, from the rendered profile. Ours (noise of the detector given, and
estimated) beside unweighted fits of one atom after the other with a half-side of a quarter of the spacing, on the
first of the frames. Atoms at least two spacings from the edge. Usage: python bench/positions.py [--json FILE]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
import sys
from pathlib import Path

import numpy as np

import image_bench
import peer_refinement

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import probewise as pw
from probewise.image import PixelNoise, refine_atoms
from probewise.instrument import Detector, Distortions, atoms
from probewise.instrument.optics import REACH_NM, TABLE_STEPS, Probe, profile_tables
from probewise.instrument.specimens import build
from reference.position_bound import derivatives, position_bound

SHAPE = (160, 160)
PIXEL_NM = 0.02
FOV_NM = 20.0
OPTIONS = {"defect_statistics": "uncorrelated", "defects": 0}
SPACING_PX = 0.142 / PIXEL_NM
SNR = (5, 8, 12, 20)
FRAMES = 8
DETECTOR = Detector(afterglow_share=0.0, saturation=None)  # afterglow ties pixels together: no bound for it
NOISE = PixelNoise(
    DETECTOR.read_noise**2 + 1 / 12 - DETECTOR.gain * (1 + DETECTOR.excess_variance) * DETECTOR.offset,
    DETECTOR.gain * (1 + DETECTOR.excess_variance),
)


def frame(dose: float, sequence: int, detector: Detector) -> np.ndarray:
    side = (SHAPE[0] * PIXEL_NM, SHAPE[1] * PIXEL_NM)
    return pw.render(
        "graphene",
        pw.RasterROI(SHAPE, 4000),
        fov_nm=FOV_NM,
        context=pw.Context(side),
        dose_e_per_A2=dose,
        distortions=Distortions.none(),
        detector=detector,
        sequence=sequence,
        **OPTIONS,
    ).image()


def atoms_px() -> np.ndarray:
    """Atoms in pixels of the frame, those just outside it too."""
    corner = FOV_NM / 2 - np.array(SHAPE) * PIXEL_NM / 2
    end = corner + np.array(SHAPE) * PIXEL_NM
    yx, _ = atoms("graphene", (*(corner - 0.5), *(end + 0.5)), fov_nm=FOV_NM, **OPTIONS)
    return (yx - corner) / PIXEL_NM - 0.5


def profile_px() -> tuple:  # type: ignore[type-arg]
    """Rendered profile of a carbon atom by radius in pixels, peak 1, and its slope."""
    made = build("graphene", fov_nm=FOV_NM, **OPTIONS)
    table = np.asarray(profile_tables(Probe(), made.species, 0.0)[0, 0], dtype=np.float64)
    radius = np.sqrt(np.arange(TABLE_STEPS + 1) / TABLE_STEPS) * REACH_NM / PIXEL_NM
    height = table[: TABLE_STEPS + 1] / table[0]
    fine = np.linspace(0, radius[-1], 2000)
    values = np.interp(fine, radius, height)
    slope = np.gradient(values, fine)
    return (
        lambda r: np.interp(r, fine, values, right=0.0),
        lambda r: np.interp(r, fine, slope, right=0.0),
        radius[-1],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "positions.json")
    arguments = parser.parse_args()
    everything = atoms_px()
    inside = everything[((everything > -0.4) & (everything < np.array(SHAPE) - 0.6)).all(axis=1)]
    inner = ((inside > 2 * SPACING_PX) & (inside < np.array(SHAPE) - 1 - 2 * SPACING_PX)).all(axis=1)
    profile, slope, reach = profile_px()

    def bound(dose: float) -> tuple[np.ndarray, float]:
        clean = frame(dose, 0, Detector.ideal()).astype(np.float64)
        _, shape = derivatives(SHAPE, everything, np.ones(len(everything)), profile, slope, reach)
        peak = float((clean * shape).sum() / (shape * shape).sum())
        misfit = np.abs(clean - peak * shape).max() / clean.max()
        assert misfit < 0.01, f"the frame is not the sum of its atoms: {misfit}"
        variance = NOISE.constant + NOISE.slope * (DETECTOR.gain * clean + DETECTOR.offset)
        deviation, snr = position_bound(
            SHAPE, inside, np.full(len(inside), DETECTOR.gain * peak), profile, slope, reach, variance
        )
        return deviation[inner], float(np.median(snr[inner]))

    rows = []
    rng = np.random.default_rng(1)
    for wanted in SNR:
        dose = 7.5e4 * (wanted / 10.4) ** 2
        for _ in range(3):
            dose *= (wanted / bound(dose)[1]) ** 2
        least, snr = bound(dose)
        limit = float(np.sqrt(np.mean(least**2)))
        errors: dict[str, list[np.ndarray]] = {"noise given": [], "noise estimated": [], "unweighted, alone": []}
        kept = 0
        for number in range(FRAMES):
            image = frame(dose, number + 1, DETECTOR)
            start = np.clip(inside + rng.normal(0, 0.3, inside.shape), -0.4, SHAPE[0] - 0.6)
            given, estimated = refine_atoms(image, start, noise=NOISE), refine_atoms(image, start)
            kept += int((~estimated.fitted[inner]).sum())
            for name, found in (("noise given", given.yx), ("noise estimated", estimated.yx)):
                errors[name].append((found - inside)[inner])
            if number == 0:  # seconds a frame
                alone = peer_refinement.refine(image, start[inner], half=max(1, round(SPACING_PX / 4)))
                errors["unweighted, alone"].append(alone - inside[inner])
        row = {"snr": snr, "dose_e_per_A2": dose, "bound_pm": 1e3 * PIXEL_NM * limit, "kept_start": kept}
        for name, found in errors.items():
            row[f"{name}: rms / bound"] = float(np.sqrt(np.mean(np.concatenate(found) ** 2))) / limit
        rows.append(row)
    image_bench.write(arguments.json, __doc__, rows, atoms=int(inner.sum()), frames=FRAMES, pixel_nm=PIXEL_NM)


if __name__ == "__main__":
    main()
