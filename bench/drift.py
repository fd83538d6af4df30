# SPDX-License-Identifier: BSD-3-Clause
"""How well is a drifting, jumping specimen followed by its reference patch, and how often is a wrong place believed?

Ramps: a simulated specimen drifts at 0.2 to 1 nm/min, its patch is visited every 20 s, and the place where a site would
be scanned is compared with where it is, right after a visit and, by the rate alone, right before the next. Jumps: 1,000
of up to 3 nm, a third of them by vectors of the lattice, each answered by visits from where the patch was. Wrong is
what is believed and more than one pixel off. Beside it: no correction, and plain phase correlation of the first visit,
which believes everything. Specimens by seed in turn; where one shows no patch that is told from its surroundings, its
jumps count as declared.

    python bench/drift.py [--jumps 1000] [--first-seed 0]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import dataclasses
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from probewise.experiment.anchor import Fix, expected_nm, follow
from probewise.experiment.recorder import machine
from probewise.image.drift import Patch, patch_places, reference_patch
from probewise.instrument import Distortions
from probewise.instrument.simulated import SimulatedInstrument
from probewise.scan import raster
from probewise.types import Context, RasterROI

FOV_NM, SURVEY_PX, SIDE_NM, PIXELS = 100.0, 512, 16.0, 256
PIXEL_NM = SIDE_NM / PIXELS
MOVE_NM = 1.0
SPECIMENS = ("nio-lsmo", "bfo", "graphene", "strained", "particles")
LATTICE_NM = {
    "nio-lsmo": ((0.3905, 0.0), (0.0, 0.3905)),
    "bfo": ((0.396, 0.0), (0.0, 0.396)),
    "graphene": ((0.246, 0.0), (0.123, 0.213)),
    "strained": ((0.3905, 0.0), (0.0, 0.3905)),
    "particles": ((0.4078, 0.0), (0.0, 0.2884)),
}
JUMPS_A_SPECIMEN = 20
RATES = (0.2, 0.5, 1.0)
EVERY_S, VISITS = 20.0, 10


class Sample:
    """A simulated specimen whose patch can be scanned at any time."""

    def __init__(self, name: str, seed: int, **moves: Any) -> None:
        self.instrument = SimulatedInstrument(
            name, seed=seed, fov_nm=FOV_NM, distortions=dataclasses.replace(Distortions(), **moves)
        )
        self.sequence = 0
        self.clock_ns = 0
        self.scans = 0
        self.raster = raster((PIXELS, PIXELS), 4000, limits=self.instrument.describe()[1])

    def scan(self, roi: RasterROI, context: Context) -> np.ndarray:
        self.sequence += 1
        self.scans += 1
        self.instrument.restore({"clock_ns": self.clock_ns, "sequence": self.sequence})
        armed = self.instrument.arm(roi, context)
        self.instrument.start(armed)
        counts = self.instrument.read_into(
            armed, np.empty((1, roi.shape[0] * roi.shape[1]), dtype=np.float32), timeout_s=math.inf
        ).counts[0]
        self.clock_ns = self.instrument.clock_ns
        return np.ascontiguousarray(counts)

    def patch_scan(self, centre_nm: np.ndarray, anchor_nm: tuple[float, float]) -> np.ndarray:
        shift = centre_nm - FOV_NM / 2 + np.array(anchor_nm)
        context = Context((SIDE_NM, SIDE_NM), (float(shift[0]), float(shift[1])))
        return self.scan(self.raster, context)

    def reference(self) -> tuple[Patch, np.ndarray, int] | None:
        """A patch that is unique, its centre, and when it was taken."""
        survey = self.scan(RasterROI((SURVEY_PX, SURVEY_PX), 1000), Context((FOV_NM, FOV_NM)))
        pixel = FOV_NM / SURVEY_PX
        for place in patch_places(survey, round(SIDE_NM / pixel), margin_px=math.ceil(8 / pixel)):
            centre = place * pixel
            started_ns = self.clock_ns
            first = self.patch_scan(centre, (0.0, 0.0))
            taken_ns = (started_ns + self.clock_ns) // 2
            second = self.patch_scan(centre, (-MOVE_NM, -MOVE_NM))
            moved_px = MOVE_NM / PIXEL_NM
            patch = reference_patch(first, second, moved_px=(moved_px, moved_px), reach_px=5.0 / PIXEL_NM)
            if patch is not None:
                return patch, centre, taken_ns
        return None


def jumps(name: str, seed: int, count: int) -> dict[str, Any]:
    """Every jump from the same place, so that one wrong belief does not lead to the next."""
    generator = np.random.default_rng(seed)
    offsets = generator.uniform(-1, 1, (count, 2))
    offsets *= (3 * np.sqrt(generator.uniform(0, 1, count)) / np.linalg.norm(offsets, axis=1))[:, None]
    for number in range(0, count, 3):
        steps = generator.integers(-3, 4, 2)
        steps[0] += not steps.any()
        offsets[number] = steps @ np.array(LATTICE_NM[name])
    moves = np.diff(np.vstack([np.zeros(2), offsets]), axis=0)
    times = [100.0 * (number + 1) for number in range(count)]
    table = tuple((at, float(y), float(x)) for at, (y, x) in zip(times, moves, strict=True))
    sample = Sample(name, seed, drift_nm_per_min=(0.0, 0.0), jumps=table)
    rows: dict[str, Any] = {"errors_px": [], "declared": 0, "wrong": 0, "plain_px": [], "off_px": [], "scans": 0}
    found = sample.reference()
    if found is None:
        return rows | {"declared": count, "no_patch": 1}
    patch, centre, _ = found
    reference: list[np.ndarray] = []
    sample.clock_ns = 50 * 10**9
    still = sample.patch_scan(centre, (0.0, 0.0))
    sample.scans = 0
    for at, offset in zip(times, offsets, strict=True):
        sample.clock_ns = round(at * 1e9) + 10**9
        reference.clear()

        def scan(anchor: tuple[float, float]) -> np.ndarray:
            reference.append(sample.patch_scan(centre, anchor))
            return reference[-1]

        verdict = follow(patch, PIXEL_NM, (0.0, 0.0), scan)
        rows["off_px"].append(float(np.hypot(*offset)) / PIXEL_NM)
        rows["plain_px"].append(float(np.hypot(*(plain(still, reference[0]) + offset / PIXEL_NM))))
        if verdict.anchor_nm is None:
            rows["declared"] += 1
            continue
        error = (np.array(verdict.anchor_nm) + offset) / PIXEL_NM
        rows["errors_px"].append([float(e) for e in error])
        rows["wrong"] += float(np.hypot(*error)) > 1.0
    rows["scans"] = sample.scans
    return rows | {"no_patch": 0}


def plain(reference: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Shift (y, x) by phase correlation, believed whatever it is."""
    from skimage.registration import phase_cross_correlation

    return np.asarray(phase_cross_correlation(moved, reference, upsample_factor=20)[0])


def ramp(name: str, seed: int, rate: float) -> dict[str, Any] | None:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    sample = Sample(name, seed, drift_nm_per_min=(rate * math.sin(angle), rate * math.cos(angle)))
    found = sample.reference()
    if found is None:
        return None
    patch, centre, taken_ns = found
    origin = np.array(sample.instrument.drift_nm(taken_ns))
    fixes = [Fix(taken_ns, (0.0, 0.0))]
    after, before, declared = [], [], 0
    for visit in range(1, VISITS + 1):
        sample.clock_ns = round(visit * EVERY_S * 1e9)
        expected = expected_nm(fixes, sample.clock_ns)
        if len(fixes) > 2:
            before.append(np.array(expected) + sample.instrument.drift_nm(sample.clock_ns) - origin)
        verdict = follow(patch, PIXEL_NM, expected, lambda anchor: sample.patch_scan(centre, anchor))
        if verdict.anchor_nm is None:
            declared += 1
            continue
        middle_ns = sample.clock_ns - sample.raster.duration_ns // 2
        fixes.append(Fix(middle_ns, verdict.anchor_nm))
        after.append(np.array(verdict.anchor_nm) + sample.instrument.drift_nm(middle_ns) - origin)
    return {"after_px": np.array(after) / PIXEL_NM, "before_px": np.array(before) / PIXEL_NM, "declared": declared}


def rms(errors: Any) -> float | None:
    """Of the distance in the plane."""
    table = np.asarray(errors, dtype=np.float64).reshape(-1, 2)
    return float(np.sqrt((table**2).sum(axis=1).mean())) if len(table) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jumps", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift.json")
    arguments = parser.parse_args()
    begun = time.monotonic()
    specimens: dict[str, Any] = {}
    for number in range(math.ceil(arguments.jumps / JUMPS_A_SPECIMEN)):
        name = SPECIMENS[number % len(SPECIMENS)]
        rows = jumps(name, arguments.first_seed + number, JUMPS_A_SPECIMEN)
        kept = specimens.setdefault(
            name, {"jumps": 0, "samples": 0, "samples_without_patch": 0, "declared": 0, "wrong": 0, "scans": 0,
                   "errors_px": [], "plain_px": [], "off_px": []}
        )  # fmt: skip
        kept["jumps"] += JUMPS_A_SPECIMEN
        kept["samples"] += 1
        kept["samples_without_patch"] += rows["no_patch"]
        for key in ("declared", "wrong", "scans", "errors_px", "plain_px", "off_px"):
            kept[key] += rows[key]
    everything = [error for kept in specimens.values() for error in kept["errors_px"]]
    plainly = [error for kept in specimens.values() for error in kept["plain_px"]]
    result: dict[str, Any] = {
        "question": __doc__.splitlines()[0],
        "pixel_nm": PIXEL_NM,
        "jumps": sum(kept["jumps"] for kept in specimens.values()),
        "corrected": len(everything),
        "declared": sum(kept["declared"] for kept in specimens.values()),
        "wrong": sum(kept["wrong"] for kept in specimens.values()),
        "residual_rms_px": rms(everything),
        "residual_rms_nm": None if not everything else rms(everything) * PIXEL_NM,
        "uncorrected_rms_px": math.sqrt(np.mean(np.square([o for k in specimens.values() for o in k["off_px"]]))),
        "plain_phase_correlation": {"believed": len(plainly), "wrong": int((np.array(plainly) > 1.0).sum())},
        "specimens": {},
    }
    for name, kept in specimens.items():
        errors, plain_px = kept.pop("errors_px"), kept.pop("plain_px")
        del kept["off_px"]
        result["specimens"][name] = kept | {
            "residual_rms_px": rms(errors),
            "plain_wrong": int((np.array(plain_px) > 1.0).sum()),
        }
    result["ramps"] = {}
    for rate in RATES:
        runs = [ramp(name, arguments.first_seed + 500 + k, rate) for k, name in enumerate(("nio-lsmo", "particles"))]
        told = [run for run in runs if run is not None]
        after = np.concatenate([run["after_px"] for run in told])
        before = np.concatenate([run["before_px"] for run in told])
        result["ramps"][f"{rate:g} nm/min"] = {
            "after_a_visit_rms_px": rms(after), "after_a_visit_rms_nm": rms(after) * PIXEL_NM,
            "before_the_next_rms_px": rms(before), "before_the_next_rms_nm": rms(before) * PIXEL_NM,
            "declared": sum(run["declared"] for run in told), "samples_without_patch": len(runs) - len(told),
            "uncorrected_nm_at_the_end": rate * VISITS * EVERY_S / 60,
        }  # fmt: skip
    result |= {"seconds": time.monotonic() - begun, "machine": platform.processor() or platform.machine(), **machine()}
    if str(arguments.out) != "-":
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return int(bool(result["wrong"]))


if __name__ == "__main__":
    raise SystemExit(main())
