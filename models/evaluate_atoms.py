# SPDX-License-Identifier: BSD-3-Clause
"""How well does an atom finder find atoms, defects and nothing at all, in simulated frames it has never seen and in
hand-labelled real ones?

Simulated: the whole chain of the simulated microscope (default probe, scan distortions and detector, 60 kV), specimen
seeds above those that training draws from. SNR = sqrt(sum s_i^2 / v_i), v with neighbours, pulse heights and read
noise; the dose is set so that the median atom of the class named has the SNR named. A hit lies within a quarter of the
material's nearest-neighbour distance (single atoms: 0.05 nm) and has the right class. Atoms within 0.3 nm of the rim
are not counted.
Real: F1 at 6 px on images held out of training, beside a Laplacian of Gaussian tuned on the images trained on.
Run: python models/evaluate_atoms.py [--model atoms] [--beside unet.onnx] [--json bench/results/atoms_quality.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frames import RealImage, real_images
from judge import Score, pairs
from probewise.image import AtomFinder
from probewise.inference import Model, load_model
from probewise.instrument.specimens import Specimen, build
from probewise.types import Atoms, Float32Array
from real_frames import ROOT, data_folder, real, split
from scenes import CLASSES, IGNORED, Scene, atom_snr, single_atoms
from shots import FIRST_SEED, MARGIN_NM, READ_NOISE, SIDE_NM, Shot, only

SNRS = (3.0, 5.0, 8.0, 12.0, 20.0)
PIXELS_NM = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05)
VACANCY = CLASSES.index("vacancy")
DOPANT = CLASSES.index("dopant")
ONE_SULPHUR = 2  # species of mos2 where one of two S is missing


@dataclass(frozen=True)
class Case:
    """A class in a material: frames in which its median atom has the wanted SNR."""

    material: str
    reference: str
    tolerance_nm: float
    frames: int
    options: tuple[tuple[str, Any], ...] = ()


_DEFECTS = (("defect_statistics", "uncorrelated"), ("defects", 20_000))
CASES = (
    Case("graphene", "C", 0.142 / 4, 4, _DEFECTS),
    Case("graphene", "dopant", 0.142 / 4, 6, _DEFECTS),
    Case("mos2", "TMD metal", 0.1824 / 4, 3, _DEFECTS),
    Case("mos2", "TMD chalcogen", 0.1824 / 4, 4, _DEFECTS),
    Case("mos2", "dopant", 0.1824 / 4, 6, _DEFECTS),
    Case("nio-lsmo", "perovskite A", 0.209 / 4, 3),
    Case("nio-lsmo", "perovskite B", 0.209 / 4, 3),
    Case("bfo", "perovskite A", 0.28 / 4, 2),
    Case("bfo", "perovskite B", 0.28 / 4, 2),
    Case("strained", "perovskite A", 0.275 / 4, 2),
    Case("strained", "perovskite B", 0.275 / 4, 2),
    Case("particles", "heavy", 0.25 / 4, 4),
    Case("single atoms", "heavy", 0.05, 8),
)


def specimen_of(case: Case, number: int) -> Specimen:
    if case.material == "single atoms":
        return single_atoms(FIRST_SEED + number, clusters=False)
    side = 25.0 if case.options else 40.0
    return build(case.material, seed=FIRST_SEED + number, fov_nm=side, **dict(case.options))


def without_ignored(found: Atoms, scene: Scene, tolerance_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and labels of the found atoms that are not near a place that counts neither way."""
    vague = scene.yx[scene.label == IGNORED]
    if len(vague) == 0 or len(found.yx) == 0:
        return found.yx, found.label
    from scipy.spatial import cKDTree

    clear = cKDTree(vague).query(found.yx)[0] > 2 * tolerance_px
    return found.yx[clear], found.label[clear]


def by_class(
    finder: Found,
    cases: tuple[Case, ...] = CASES,
    snrs: tuple[float, ...] = SNRS,
    beside: Found | None = None,
) -> list[dict[str, Any]]:
    """F1 of each class in each material at each SNR, and of sites whatever their class; `beside` on the same frames."""
    rows: list[dict[str, Any]] = []
    finders = {"": finder} | ({"beside_": beside} if beside else {})
    for case in cases:
        wanted = CLASSES.index(case.reference)
        vacancies = wanted in (CLASSES.index("C"), CLASSES.index("TMD chalcogen"))
        scores = {(snr, name): (Score(), Score(), Score()) for snr in snrs for name in finders}
        for number in range(case.frames * 3):
            shot = Shot(specimen_of(case, number // 2), case.material, number, 0.02)
            if (shot.scene.label == wanted).sum() < 2:
                continue
            for snr in snrs:
                counts = shot.counts(shot.electrons_for(wanted, snr))
                for name, each in finders.items():
                    of_class, of_vacancy, of_site = scores[snr, name]
                    found = each(counts, shot.scene.pixel_nm)
                    tolerance = case.tolerance_nm / shot.scene.pixel_nm
                    yx, label = without_ignored(found, shot.scene, tolerance)
                    of_class.add(yx[label == wanted], shot.scene.yx[shot.scene.label == wanted], tolerance, shot.edge)
                    if vacancies:
                        true = shot.scene.yx[shot.scene.label == VACANCY]
                        of_vacancy.add(yx[label == VACANCY], true, tolerance, shot.edge)
                    of_site.add(yx, shot.scene.yx[shot.scene.label >= 0], tolerance, shot.edge)
            first = scores[snrs[0], ""][0]
            if number + 1 >= case.frames and first.hit + first.missed >= 30:
                break
        for snr in snrs:
            row: dict[str, Any] = {"material": case.material, "class": case.reference, "snr": snr}
            row |= scores[snr, ""][0].table()
            of_vacancies: dict[str, Any] = {"material": case.material, "class": "vacancy", "snr": snr}
            of_vacancies |= scores[snr, ""][1].table()
            for name in finders:
                row[f"{name}f1_sites"] = scores[snr, name][2].table()["f1"]
                if name:
                    row[f"{name}f1"] = scores[snr, name][0].table()["f1"]
                    of_vacancies[f"{name}f1"] = scores[snr, name][1].table()["f1"]
            rows += [row, of_vacancies] if vacancies else [row]
    return rows


def defects(finder: Found, snr: float = 8.0, frames: int = 10) -> list[dict[str, Any]]:
    """Vacancies and dopants where the host's atoms have the SNR: recall, false ones, vacancies painted over."""
    rows = []
    for material, host, tolerance_nm in (
        ("graphene", "C", 0.142 / 4),
        ("mos2", "TMD chalcogen", 0.1824 / 4),
        ("mos2", "TMD metal", 0.1824 / 4),
    ):
        vacancy, dopant, painted, atoms = Score(), Score(), 0, 0
        confusion = np.zeros((len(CLASSES), len(CLASSES) + 1), dtype=int)
        single, double = [0, 0], [0, 0]
        missing_snr: list[float] = []
        for number in range(1000, 1000 + frames):
            options = {"defect_statistics": ("clustered", "uncorrelated", "boundary")[number % 3], "defects": 20_000}
            made = build(material, seed=FIRST_SEED + number, fov_nm=25.0, **options)
            shot = Shot(made, material, number, 0.02)
            scene, tolerance, edge = shot.scene, tolerance_nm / shot.scene.pixel_nm, shot.edge
            electrons = shot.electrons_for(CLASSES.index(host), snr)
            found = finder(shot.counts(electrons), scene.pixel_nm)
            yx, label = without_ignored(found, scene, tolerance)
            for score, kind in ((vacancy, VACANCY), (dopant, DOPANT)):
                score.add(yx[label == kind], scene.yx[scene.label == kind], tolerance, edge)
            true = scene.label >= 0
            i, j = pairs(yx, scene.yx[true], tolerance)
            counted = edge.inside(scene.yx[true])
            got = np.full(int(true.sum()), len(CLASSES))
            got[j] = label[i]
            np.add.at(confusion, (scene.label[true][counted], got[counted]), 1)
            atoms += int((counted & (scene.label[true] != VACANCY)).sum())
            lost = counted & (scene.label[true] == VACANCY)
            painted += int((lost & (got != VACANCY) & (got < len(CLASSES))).sum())
            for partly, tally in ((True, single), (False, double)):
                chosen = lost & ((scene.species[true] == ONE_SULPHUR) == partly)
                tally[0] += int((chosen & (got == VACANCY)).sum())
                tally[1] += int(chosen.sum())
            one_missing = (scene.label == VACANCY) & (scene.species == ONE_SULPHUR)
            if material == "mos2" and one_missing.any():
                lacking = atom_snr(only(scene, np.flatnonzero(one_missing)), electrons=electrons, read_noise=READ_NOISE)
                missing_snr.append(float(np.median(lacking)))
        total = vacancy.hit + vacancy.missed
        rows.append(
            {
                "material": material,
                "host": host,
                "snr_host": snr,
                "atoms": atoms,
                "vacancies": total,
                "vacancy_recall": round(vacancy.hit / max(total, 1), 4),
                "false_vacancies_per_1000": round(1000 * vacancy.false / atoms, 3),
                **({} if material != "mos2" else _sulphur(single, double, missing_snr)),
                "vacancies_painted_over": round(painted / max(total, 1), 4),
                "dopants": dopant.hit + dopant.missed,
                "dopant_recall": round(dopant.hit / max(dopant.hit + dopant.missed, 1), 4),
                "false_dopants_per_1000": round(1000 * dopant.false / atoms, 3),
                "confusion": {
                    CLASSES[k]: {name: int(n) for name, n in zip((*CLASSES, "missed"), row, strict=True) if n}
                    for k, row in enumerate(confusion)
                    if row.any()
                },
            }
        )
    return rows


def _sulphur(single: list[int], double: list[int], missing_snr: list[float]) -> dict[str, float | None]:
    """Recall where one and where both S are missing, and the SNR of the one that is missing: what is there to see."""
    return {
        "recall_one_s": _share(*single),
        "recall_two_s": _share(*double),
        "snr_of_one_missing_s": round(float(np.median(missing_snr)), 2),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def nothing(finder: Found, frames: int = 12) -> list[dict[str, Any]]:
    """False atoms per 100 nm^2 where there is no atom: vacuum, amorphous film, stained film."""
    rows = []
    for kind in ("vacuum", "amorphous", "contaminated"):
        for electrons in (250.0, 1500.0, 10_000.0):  # 60 pA for 0.7 us, 4 us and 27 us
            false, area = 0, 0.0
            for number in range(2000, 2000 + frames):
                if kind == "vacuum":
                    made = build("graphene", seed=FIRST_SEED + number, fov_nm=100.0, features=("hole",))
                    shot = Shot(made, "graphene", number, 0.02, (16.0, 18.0))
                elif kind == "amorphous":
                    made = single_atoms(FIRST_SEED + number, heavy=False)
                    shot = Shot(made, "single atoms", number, 0.02)
                else:
                    made = build("particles", seed=FIRST_SEED + number, fov_nm=100.0, features=("contamination",))
                    shot = Shot(made, "particles", number, 0.02, (18.0, 82.0))
                if len(shot.scene.yx):
                    continue
                found = finder(shot.counts(electrons), 0.02)
                false += int(shot.edge.inside(found.yx).sum())
                area += (SIDE_NM - 2 * MARGIN_NM) ** 2
            rows.append(
                {
                    "frames": kind,
                    "electrons_per_pixel": electrons,
                    "area_nm2": round(area),
                    "false_per_100_nm2": round(100 * false / area, 3),
                }
            )
    return rows


def by_pixel(finder: Found, snr: float = 10.0) -> list[dict[str, Any]]:
    """F1 (site and class) against the pixel of the frame, the SNR of the atoms kept."""
    rows = []
    for case in (CASES[0], CASES[3], CASES[5], CASES[11]):
        wanted = CLASSES.index(case.reference)
        row: dict[str, Any] = {"material": case.material, "class": case.reference, "snr": snr}
        for pixel_nm in PIXELS_NM:
            score = Score()
            for number in range(3000, 3000 + 2 * case.frames):
                shot = Shot(specimen_of(case, number // 2), case.material, number, pixel_nm)
                if (shot.scene.label == wanted).sum() < 10:
                    continue
                found = finder(shot.counts(shot.electrons_for(wanted, snr)), pixel_nm)
                tolerance = case.tolerance_nm / pixel_nm
                yx, label = without_ignored(found, shot.scene, tolerance)
                score.add(yx[label == wanted], shot.scene.yx[shot.scene.label == wanted], tolerance, shot.edge)
            row[f"{10 * pixel_nm:g}"] = score.table()["f1"]
        rows.append(row)
    return rows


class Found:
    """The atoms of a model without refinement: (image, pixel_nm) -> Atoms."""

    def __init__(self, model: str | Path | Model) -> None:
        self.model = model if isinstance(model, Model) else load_model(model)
        self.finder = AtomFinder(self.model, refine=False)

    def __call__(self, image: Float32Array, pixel_nm: float) -> Atoms:
        return self.finder(image, pixel_nm=pixel_nm)


def evaluate(
    finder: Found, trained: list[RealImage], held: list[RealImage], *, small: bool = False, beside: Found | None = None
) -> dict[str, Any]:
    """All questions; a few frames of them when `small`. `beside` answers those about rendered frames at 0.02 nm too."""
    if small:
        return {"by_class": by_class(finder, (dataclasses.replace(CASES[0], frames=1),), (20.0,))}
    return {
        "by_class": by_class(finder, beside=beside),
        "defects": defects(finder),
        "nothing": nothing(finder),
        **({"beside_defects": defects(beside), "beside_nothing": nothing(beside)} if beside else {}),
        "by_pixel": by_pixel(finder),
        "real": real(finder.finder, trained, held) if held else None,
    }


def summary(answers: dict[str, Any]) -> dict[str, Any]:
    """What a card says: the worst and the mean F1 over classes at each SNR, and the rest in short."""
    out: dict[str, Any] = {}
    for snr in sorted({row["snr"] for row in answers["by_class"]}):
        known = [row["f1"] for row in answers["by_class"] if row["snr"] == snr and row["f1"] is not None]
        out[f"f1_snr_{snr:g}"] = {"mean": round(float(np.mean(known)), 4), "worst": min(known)}
    for row in answers.get("defects", []):
        name = f"defects_{row['material']}_{row['host'].split()[-1]}_snr_{row['snr_host']:g}"
        out[name] = {
            key: value for key, value in row.items() if key not in ("material", "host", "snr_host", "confusion")
        }
    if "nothing" in answers:
        out["false_per_100_nm2"] = {
            kind: max(row["false_per_100_nm2"] for row in answers["nothing"] if row["frames"] == kind)
            for kind in ("vacuum", "amorphous", "contaminated")
        }
    if answers.get("real"):
        out["real"] = {key: value for key, value in answers["real"].items() if key != "images"}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="atoms")
    parser.add_argument("--beside", help="another model on the same frames: the reference")
    parser.add_argument("--fold", type=int, default=0, help="which fourth of the real images was held out")
    parser.add_argument("--json", default=str(ROOT / "bench" / "results" / "atoms_quality.json"))
    arguments = parser.parse_args()
    trained, held = split(real_images(data_folder()), arguments.fold)
    finder = Found(arguments.model)
    beside = Found(arguments.beside) if arguments.beside else None
    answers = evaluate(finder, trained, held, beside=beside)
    head: dict[str, Any] = {"question": " ".join(str(__doc__).split("\n\n")[0].split()), "model": arguments.model}
    head["recipe"] = dict(finder.model.card.recipe)
    if beside:
        head["beside"] = dict(beside.model.card.recipe)
    versions = {"numpy": np.__version__, "python": platform.python_version()}
    Path(arguments.json).write_text(json.dumps({**head, "versions": versions, **answers}, indent=1) + "\n")
    print(json.dumps(summary(answers), indent=1))


if __name__ == "__main__":
    main()
