# SPDX-License-Identifier: BSD-3-Clause
"""How well does the segmenter find pillars, walls, grain boundaries, particles, junctions, vacuum and amorphous areas?

Run: python models/evaluate_segments.py [--model segments] [--pictures FOLDER] [--json PATH]

Rendered sub-scans of 8 nm from seeds that training never draws (fields of 200 nm, default probe, distortions and
detector), four of five centred within a few nm of a feature.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from labels import CLASSES, UNKNOWN, class_map
from probewise.image import Segmenter
from probewise.instrument import SimulatedInstrument, truth
from probewise.types import BoolArray, Context, Float32Array, FloatArray, RasterROI
from segment_frames import output_positions, place_site

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "segments_quality.json"
SIDE_NM = 8.0
FIRST_SEED = 1 << 40  # training draws seeds below 2**31
PIXELS = 400
DWELL_NS = 4000
DOSE_E_PER_A2 = 4e4
SPECIMENS = {"nio-lsmo": 60, "bfo": 80, "graphene": 80, "mos2": 20, "particles": 60, "strained": 20}
FEATURES: tuple[tuple[str, ...], ...] = ((), (), ("hole",), ("contamination",))
SMALLEST_NM2 = 2.0  # smaller parts at a frame's edge are neither asked for nor counted as false
FOUND_SHARE = 0.5
EDGE_NM = 1.0
_FEATURES_OF_INTEREST = ("pillar", "wall", "grain boundary", "particle", "junction")

IntMap = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Case:
    """image (rows, cols) counts at pixel_nm; truth (rows, cols) of the segmenter's output grid."""

    name: str
    image: Float32Array
    pixel_nm: float
    truth: IntMap


def frame_of(
    name: str,
    seed: int,
    centre_nm: FloatArray,
    *,
    rotation_rad: float,
    pixels: int,
    dose: float,
    features: tuple[str, ...],
) -> Case:
    area_A2 = (SIDE_NM * 10 / pixels) ** 2
    scope = SimulatedInstrument(
        name, seed=seed, features=features, beam_current_pA=dose * area_A2 / (DWELL_NS * 1e-9) * 1.602176634e-19 * 1e12
    )
    shift = centre_nm - np.array(scope.fov_nm) / 2
    context = Context((SIDE_NM, SIDE_NM), (float(shift[0]), float(shift[1])), rotation_rad)
    armed = scope.arm(RasterROI((pixels, pixels), DWELL_NS), context)
    probed = scope.true_positions_nm(armed).reshape(pixels, pixels, 2)
    scope.start(armed)
    counts = np.empty((1, pixels * pixels), dtype=np.float32)
    image = scope.read_into(armed, counts, timeout_s=math.inf).image()
    return Case(name, image, SIDE_NM / pixels, class_map(scope.truth, output_positions(probed, (50, 50))))


def cases(*, share: float, pixels: int = PIXELS, dose: float = DOSE_E_PER_A2) -> Iterator[Case]:
    """Frames about features, `share` of the full number."""
    for order, (name, number) in enumerate(SPECIMENS.items()):
        for k in range(max(1, round(number * share))):
            features = FEATURES[k % 4]
            if name == "particles" and features == ("contamination",):
                features = ("hole",)
            seed = FIRST_SEED + 1000 * order + k
            random = np.random.default_rng(seed)
            sample = truth(name, seed=seed, features=features)
            centre, turn = place_site(random, sample), float(random.uniform(0, 2 * math.pi))
            yield frame_of(name, seed, centre, rotation_rad=turn, pixels=pixels, dose=dose, features=features)


def plain_cases(kind: str, *, share: float) -> Iterator[Case]:
    """Frames that hold one class alone: "crystal", "vacuum" or "amorphous"."""
    names = {"crystal": ("nio-lsmo", "bfo", "graphene", "mos2", "strained"), "vacuum": ("graphene", "bfo", "nio-lsmo")}
    feature = {"crystal": (), "vacuum": ("hole",), "amorphous": ("contamination",)}[kind]
    for order, name in enumerate(names.get(kind, ("graphene",))):
        for k in range(max(1, round(12 * share))):
            seed = FIRST_SEED + 100_000 + 1000 * order + k
            random = np.random.default_rng(seed)
            for _ in range(20):
                centre = random.uniform(10, 190, 2)
                if feature:  # the corners where features lie, see `specimens`
                    corner = np.array((0.16, 0.18) if kind == "vacuum" else (0.18, 0.82)) * 200
                    centre = corner + random.uniform(-7, 7, 2)
                case = frame_of(
                    name, seed, centre, rotation_rad=0.0, pixels=PIXELS, dose=DOSE_E_PER_A2, features=feature
                )
                if (case.truth == CLASSES.index(kind)).all():
                    yield case
                    break


def edges(mask: BoolArray) -> BoolArray:
    """Pixels of a region that touch the outside of it inside the frame."""
    inner = ndimage.binary_erosion(mask, border_value=1)
    return np.asarray(mask & ~inner)


def edge_distances(mask: BoolArray, other: BoolArray, step_nm: float) -> FloatArray:
    """nm from each edge pixel of `mask` to the nearest edge pixel of `other`; both have an edge."""
    return np.asarray(ndimage.distance_transform_edt(~edges(other))[edges(mask)] * step_nm)


def parts(mask: BoolArray, step_nm: float) -> list[BoolArray]:
    """Connected parts of at least SMALLEST_NM2."""
    number, count = ndimage.label(mask)
    found = [number == k + 1 for k in range(count)]
    return [part for part in found if part.sum() * step_nm**2 >= SMALLEST_NM2]


class Tally:
    """What is added up over frames."""

    def __init__(self) -> None:
        k = len(CLASSES)
        self.confusion = np.zeros((k, k), dtype=np.int64)
        self.distances: list[list[float]] = [[] for _ in CLASSES]
        self.found = {name: [0, 0] for name in _FEATURES_OF_INTEREST if name != "pillar"} | {"pillar edge": [0, 0]}
        self.false_parts = 0
        self.area_nm2 = 0.0

    def add(self, truth: IntMap, predicted: npt.NDArray[np.int64], step_nm: float) -> None:
        known = truth != UNKNOWN
        np.add.at(self.confusion, (truth[known], predicted[known]), 1)
        self.area_nm2 += float(known.sum()) * step_nm**2
        for k, name in enumerate(CLASSES):
            true, told = truth == k, predicted == k
            if known.all() and edges(true).any() and edges(told).any():
                self.distances[k] += [
                    float(edge_distances(true, told, step_nm).mean()),
                    float(edge_distances(told, true, step_nm).mean()),
                ]
            if name in self.found:
                for part in parts(true, step_nm):
                    self.found[name][0] += 1
                    self.found[name][1] += int((part & told).sum() >= FOUND_SHARE * part.sum())
            if name == "pillar" and edges(true).sum() * step_nm >= 2.0:
                self.found["pillar edge"][0] += 1
                near = bool(edges(told).any()) and edge_distances(true, told, step_nm).mean() <= EDGE_NM
                self.found["pillar edge"][1] += int(near)
            if name in _FEATURES_OF_INTEREST:
                self.false_parts += sum(int(not (part & (true | ~known)).any()) for part in parts(told, step_nm))

    def report(self) -> dict[str, Any]:
        hit = np.diag(self.confusion)
        either = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hit
        seen = self.confusion.sum(axis=1) > 0
        iou = hit / np.maximum(either, 1)
        error = {name: float(np.mean(d)) for name, d in zip(CLASSES, self.distances, strict=True) if d}
        return {
            "iou": {name: round(float(iou[k]), 4) for k, name in enumerate(CLASSES) if seen[k]},
            "mean_iou": round(float(iou[seen].mean()), 4),
            "boundary_error_nm": {name: round(value, 3) for name, value in error.items()},
            "mean_boundary_error_nm": round(float(np.mean(list(error.values()))), 3) if error else None,
            "found": {name: {"of": n, "found": m} for name, (n, m) in self.found.items() if n},
            "false_alarms_per_1000_nm2": round(1000 * self.false_parts / self.area_nm2, 3),
            "area_nm2": round(self.area_nm2),
            "confusion": self.confusion.tolist(),
        }


def judge(segmenter: Segmenter, frames: Iterator[Case], pictures: Path | None = None) -> dict[str, Any]:
    tally = Tally()
    for number, case in enumerate(frames):
        found = segmenter(case.image, pixel_nm=case.pixel_nm)
        predicted = found.probability.argmax(axis=0)
        tally.add(case.truth, predicted, SIDE_NM / predicted.shape[0])
        if pictures is not None:
            draw(pictures / f"{number:03d}-{case.name}.png", case, predicted)
    return tally.report()


def draw(path: Path, case: Case, predicted: npt.NDArray[np.int64]) -> None:
    """The frame, the truth and what was predicted, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2))
    axes = figure.subplots(1, 3)
    low, high = np.percentile(case.image, [0.5, 99.5])
    axes[0].imshow(case.image, cmap="gray", vmin=low, vmax=high)
    for axis, values, title in ((axes[1], case.truth, "truth"), (axes[2], predicted, "segmenter")):
        axis.imshow(values, vmin=-1, vmax=len(CLASSES), cmap="tab10", interpolation="nearest")
        axis.set_title(f"{title}: " + ", ".join(CLASSES[k] for k in np.unique(values) if k >= 0), fontsize=8)
    for axis in axes:
        axis.axis("off")
    figure.savefig(path, dpi=60, bbox_inches="tight")


def evaluate(
    segmenter: Segmenter, *, share: float = 1.0, sweeps: bool = True, pictures: Path | None = None
) -> dict[str, Any]:
    """All figures of a segmenter; `share` of all frames; `sweeps` over dose and pixel, and all plain frames."""
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    kinds = ("crystal", "vacuum", "amorphous") if sweeps else ("amorphous",)
    report: dict[str, Any] = {
        "share": share,
        "features": judge(segmenter, cases(share=share), pictures),
        "plain": {kind: judge(segmenter, plain_cases(kind, share=share)) for kind in kinds},
    }
    if sweeps:
        report["dose_e_per_A2"] = {
            f"{dose:g}": judge(segmenter, cases(share=share / 3, dose=dose)) for dose in (1e4, 2e4, 7.5e4)
        }
        report["pixel_nm"] = {
            f"{SIDE_NM / pixels:g}": judge(segmenter, cases(share=share / 3, pixels=pixels)) for pixels in (200, 640)
        }
    return report


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The figures for a card."""
    kept = ("iou", "mean_iou", "boundary_error_nm", "mean_boundary_error_nm", "found")
    return {
        **{key: report["features"][key] for key in kept},
        "false_alarms_per_1000_nm2": {kind: one["false_alarms_per_1000_nm2"] for kind, one in report["plain"].items()},
    }


def record(segmenter: Segmenter, report: dict[str, Any], path: Path) -> None:
    """Write the report with the model and the versions that it holds for."""
    names = ("probewise", "numpy", "scipy", "onnxruntime")
    head = {
        "question": (__doc__ or "").splitlines()[0],
        "model": segmenter.card.name,
        "sha256": segmenter.card.sha256,
        "versions": {name: metadata.version(name) for name in names},
    }
    path.write_text(json.dumps({**head, **report}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", default="segments", help="name of a shipped model, or its path")
    asked.add_argument("--share", type=float, default=1.0, help="of the full number of frames")
    asked.add_argument("--brief", action="store_true", help="no sweeps over dose and pixel, few plain frames")
    asked.add_argument("--pictures", type=Path, help="folder for overlays")
    asked.add_argument("--json", type=Path, default=RESULT)
    given = asked.parse_args()
    segmenter = Segmenter(given.model)
    report = evaluate(segmenter, share=given.share, sweeps=not given.brief, pictures=given.pictures)
    record(segmenter, report, given.json)
    print(json.dumps(summary(report), indent=1))


if __name__ == "__main__":
    main()
