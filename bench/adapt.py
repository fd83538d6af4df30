# SPDX-License-Identifier: BSD-3-Clause
"""Does `adapt` on one microscope's frames raise F1 on its other frames, what does it cost at home, and does the
deviation of an ensemble order the errors better than one network's confidence?

The second microscope is simulated: a wider probe, coloured noise along the lines, light that comes late, a gain that is
not linear. F1 of place and class, the quarter of graphene's shortest distance as tolerance; home frames of fresh seeds.
Real frames ($PROBEWISE_DATA, or ../shared/data beside the repository): those that the model's card names as held out,
of one microscope at a time; two labelled ones are learnt, the third is tested, in turn; F1 of place at 6 px.
Run: python bench/adapt.py [--minutes 0.75] [--json bench/results/adapt.json]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import csv
import itertools
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter

from probewise.image import find_atoms, label_atoms
from probewise.inference import Card
from probewise.instrument import Detector, Distortions, SimulatedInstrument
from probewise.instrument.optics import Probe
from probewise.instrument.readers import read_picture
from probewise.training.adapting import REHEARSED, Adapted, prepared, rehearsal, train_on
from probewise.training.asked import atoms_by, home_f1
from probewise.training.atom_evaluation import risk_coverage
from probewise.training.atom_network import MULTIPLE_OF, AtomNet, from_onnx
from probewise.training.given import Given
from probewise.training.home import HomeFrame, home_frames, seen, specimen_of
from probewise.training.home_score import TOLERANCE_NM
from probewise.training.matching import FrameEdge, Score, pairs
from probewise.types import ELEMENTARY_CHARGE_C, Atoms, Context, FloatArray, RasterROI

ROOT = Path(__file__).resolve().parents[1]
SEED = 2_000_003  # everything was tuned on others
MATERIALS = ("mos2", "single atoms")
LEARNT, TESTED, AT_HOME, MEMBERS = 6, 12, 120, 3
PIXEL_NM, SIDE_PX, DOSE_E_PER_A2 = 0.02, 256, 3e4
PROBE = Probe(80.0, 22.0, (70.0, 220.0), 0.11, 0.006, 5.0)
REAL = {"pt_single_atoms_hpai": 15 / 512, "single_atoms_sjeon": 0.02}
REAL_TOLERANCE_PX = 6.0


def second_microscope(seed: int, material: str, count: int) -> list[HomeFrame]:
    """Frames of the other microscope, two of each specimen."""
    random = np.random.default_rng([seed, 88])
    side_nm = SIDE_PX * PIXEL_NM
    current = DOSE_E_PER_A2 * (10 * PIXEL_NM) ** 2 * ELEMENTARY_CHARGE_C / 4e-6 * 1e12
    out: list[HomeFrame] = []
    while len(out) < count:
        specimen = specimen_of(random, material)
        reach = (specimen.truth.fov_nm[0] - side_nm * math.sqrt(2)) / 2 - 0.8
        for _ in range(2):
            y, x = random.uniform(-reach, reach, 2)
            scope = SimulatedInstrument(
                specimen,
                seed=int(random.integers(2**31)),
                probe=PROBE,
                beam_current_pA=current,
                distortions=Distortions(line_jitter_nm=(0.012, 0.02)),
                detector=Detector(excess_variance=0.6, read_noise=20.0),
            )
            scan = RasterROI((SIDE_PX, SIDE_PX), 4000, discard_lines=2, flyback_ns=50_000)
            context = Context((side_nm, side_nm), (float(y), float(x)), random.uniform(0, 2 * math.pi))
            frame = seen(scope, specimen, material, scan, context)
            counts = 0.5 * frame.counts + 0.5 * lfilter([0.15], [1, -0.85], frame.counts.ravel()).reshape(scan.shape)
            hum = lfilter([1.0], [1.0, -0.9], random.normal(size=scan.shape), axis=1)
            counts = counts + 0.35 * counts.std() * hum / hum.std()
            counts = 1000 * ((counts - counts.min() + 1) / (counts.max() - counts.min() + 1)) ** 0.6
            out.append(HomeFrame(material, counts.astype(np.float32), PIXEL_NM, frame.yx, frame.label))
    return out[:count]


def given(frames: list[HomeFrame], labelled: int) -> list[Given]:
    """As a user brings them, the first of them with labels."""
    return [
        Given(
            str(number),
            frame.counts,
            frame.pixel_nm,
            frame.yx[frame.label >= 0] if number < labelled else None,
            frame.label[frame.label >= 0] if number < labelled else None,
        )
        for number, frame in enumerate(frames)
    ]


class Simulated:
    """Parent, rehearsal and home frames are the same in all rows."""

    def __init__(self, parent: AtomNet, card: Card, minutes: float) -> None:
        assert card.pixel_nm is not None
        self.parent, self.card, self.minutes = parent, card, minutes
        self.rehearsed = rehearsal(card, SEED, REHEARSED)
        self.home = list(itertools.islice(home_frames(SEED + 1, card.pixel_nm), AT_HOME))
        self.home_before = home_f1(parent, card, self.home)

    def train(self, frames: list[Given], seed: int = 0) -> Adapted:
        return train_on(self.parent, self.card, frames, self.rehearsed, minutes=self.minutes, seed=seed)

    def row(self, material: str, labelled: int, adapted: Adapted, tested: list[HomeFrame]) -> dict[str, Any]:
        before, after = (home_f1(network, self.card, tested) for network in (self.parent, adapted.network))
        at_home = home_f1(adapted.network, self.card, self.home)
        row = {
            "material": material,
            "frames_learnt": LEARNT,
            "of_them_labelled": labelled,
            "f1_before": round(before, 4),
            "f1_after": round(after, 4),
            "home_before": round(self.home_before, 4),
            "home_after": round(at_home, 4),
            "home_cost": round(self.home_before - at_home, 4),
            "toward_learnt_weights": adapted.toward,
            "steps": adapted.steps,
        }
        print(row, flush=True)
        return row


@torch.no_grad()
def presence_of(network: torch.nn.Module, frame: HomeFrame, card: Card) -> tuple[np.ndarray, np.ndarray]:
    image = prepared(Given("", frame.counts, frame.pixel_nm), card)
    padded = np.pad(image, [(0, -side % MULTIPLE_OF) for side in image.shape], mode="symmetric")
    site, kind = network.eval()(torch.from_numpy(padded)[None, None])
    rows, cols = image.shape
    return torch.sigmoid(site)[0, :, :rows, :cols].numpy(), torch.softmax(kind, 1)[0].numpy()


def ordering(networks: list[torch.nn.Module], card: Card, frames: list[HomeFrame]) -> dict[str, Any]:
    """Area under risk against coverage of the ensemble's atoms, ordered in each way; lower is better.

    An atom is right when place and class are. The atoms are those of the mean map, the same for every order.
    """
    single: list[list[FloatArray]] = [[] for _ in networks]
    mean, deviation, less, right = [], [], [], []
    for frame in frames:
        answers = [presence_of(network, frame, card) for network in networks]
        maps = np.stack([presence[0] for presence, _ in answers])
        classes = np.ascontiguousarray(np.mean([kind for _, kind in answers], axis=0))
        found = label_atoms(find_atoms(np.ascontiguousarray(maps.mean(axis=0))[None]), classes, 2.0)
        row, col = np.rint(found.yx).astype(int).T
        correct = np.zeros(len(found), dtype=bool)
        for label in range(len(card.classes)):
            own = np.flatnonzero(found.label == label)
            i, _ = pairs(found.yx[own], frame.yx[frame.label == label], TOLERANCE_NM / frame.pixel_nm)
            correct[own[i]] = True
        right.append(correct)
        for kept, one in zip(single, maps, strict=True):
            kept.append(one[row, col])
        mean.append(maps.mean(axis=0)[row, col])
        deviation.append(-maps.std(axis=0)[row, col])
        less.append(found.score - maps.std(axis=0)[row, col])
    correct = np.concatenate(right)
    areas = [risk_coverage(np.concatenate(one), correct)[2] for one in single]
    return {
        "networks": len(networks),
        "atoms": len(correct),
        "false": int((~correct).sum()),
        "one_network_confidence": round(float(np.mean(areas)), 5),
        "mean_probability": round(risk_coverage(np.concatenate(mean), correct)[2], 5),
        "deviation": round(risk_coverage(np.concatenate(deviation), correct)[2], 5),
        "mean_less_deviation": round(risk_coverage(np.concatenate(less), correct)[2], 5),
        "best_possible": round(risk_coverage(correct.astype(float), correct)[2], 5),
    }


def turned(network: AtomNet) -> list[torch.nn.Module]:
    """One network asked in four turns and their mirrors: an ensemble that costs no training."""

    class Turned(torch.nn.Module):
        def __init__(self, turns: int, mirror: bool) -> None:
            super().__init__()
            self.turns, self.mirror = turns, mirror

        def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given = torch.rot90(frame, self.turns, (2, 3))
            answers = network(given.flip(3) if self.mirror else given)
            back = (answer.flip(3) if self.mirror else answer for answer in answers)
            return tuple(torch.rot90(answer, -self.turns, (2, 3)) for answer in back)

    return [Turned(turns, mirror).eval() for turns in range(4) for mirror in (False, True)]


def real_frames(card: Card, group: str) -> list[Given]:
    """The held-out labelled frames of a microscope."""
    folder = Path(os.environ.get("PROBEWISE_DATA", ROOT.parent / "shared" / "data"))
    out = []
    for name in card.recipe.get("real_held_out", []):
        if name.startswith(group) and (folder / f"{name}.tif").exists():
            path = folder / f"{name}.tif"
            table = path.with_suffix(".csv")
            table = table if table.exists() else path.with_name(path.name[:3] + "_Results.csv")
            with table.open() as lines:
                yx = np.array([(float(row["Y"]), float(row["X"])) for row in csv.DictReader(lines)])
            label = np.full(len(yx), card.classes.index("heavy"))
            counts = np.ascontiguousarray(read_picture(path).data)
            out.append(Given(name, counts, REAL[group], yx, label))
    return out


def real_row(simulated: Simulated, group: str) -> dict[str, Any] | None:
    frames = real_frames(simulated.card, group)
    if len(frames) < 2:
        return None
    scores = {"before": Score(), "after": Score()}
    costs, towards = [], []
    for tested in frames:
        learnt = [frame for frame in frames if frame is not tested]
        adapted = simulated.train(learnt)
        towards.append(adapted.toward)
        costs.append(simulated.home_before - home_f1(adapted.network, simulated.card, simulated.home))
        for name, network in (("before", simulated.parent), ("after", adapted.network)):
            found: Atoms = atoms_by(network, simulated.card, tested.counts, tested.pixel_nm)
            assert tested.yx is not None
            scores[name].add(found.yx, tested.yx, REAL_TOLERANCE_PX, FrameEdge(tested.counts.shape, 0.0))
    row = {
        "microscope": group,
        "frames": [frame.name for frame in frames],
        "f1_before": scores["before"].table()["f1"],
        "f1_after": scores["after"].table()["f1"],
        "largest_home_cost": round(max(costs), 4),
        "toward_learnt_weights": towards,
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="atoms")
    parser.add_argument("--minutes", type=float, default=0.75, help="processor minutes of each training")
    parser.add_argument("--json", default=str(ROOT / "bench" / "results" / "adapt.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parent, card = from_onnx(arguments.model)
    simulated = Simulated(parent, card, arguments.minutes)
    found: dict[str, Any] = {
        "question": " ".join(str(__doc__).split("\n\n")[0].split()),
        "versions": {"numpy": np.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "model": {"name": card.name, "sha256": card.sha256},
        "minutes_each": arguments.minutes,
        "second_microscope": [],
        "ordering_of_errors": [],
        "real": [],
    }

    def keep() -> None:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")

    for material in MATERIALS:
        learnt = second_microscope(SEED, material, LEARNT)
        tested = second_microscope(SEED + 1, material, TESTED)
        for labelled in (0, 2):
            adapted = simulated.train(given(learnt, labelled))
            found["second_microscope"].append(simulated.row(material, labelled, adapted, tested))
            keep()
            if labelled == 0:
                networks: list[torch.nn.Module] = [adapted.network]
                networks += [simulated.train(given(learnt, 0), seed).network for seed in range(1, MEMBERS)]
                for kind, several in (("members", networks), ("turns of the parent", turned(parent))):
                    row = {"material": material, "ensemble": kind, **ordering(several, card, tested)}
                    found["ordering_of_errors"].append(row)
                    print(row, flush=True)
                keep()
    for group in REAL:
        row = real_row(simulated, group)
        if row is not None:
            found["real"].append(row)
            keep()


if __name__ == "__main__":
    main()
