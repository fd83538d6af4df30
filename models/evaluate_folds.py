# SPDX-License-Identifier: BSD-3-Clause
"""How well does the atom finder find single atoms in hand-labelled images that it was not trained on, beside a U-Net
and a Laplacian of Gaussian?

Four folds, split by image over both labelled sets. In each, weights that have seen rendered frames alone are trained
further for some processor minutes on the images of the other three folds among the rendered frames, the same for both
networks; thresholds, and width and threshold of the Laplacian, are those that are best on the images trained on.
"untested" is without the tests that the finder makes behind the network. F1 at 6 px of all images together; 95 %
intervals by drawing images anew. `label_contrast` tells how bright an image is where its labels are; near 0 the labels
belong to something that is not to be seen.
Run: python models/evaluate_folds.py --fast build/atoms-rendered.pt --unet build/unet-rendered.pt [--minutes 4]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export import export
from frame_cache import FrameCache, open_cache
from frames import RealImage, real_images
from judge import Score
from probewise.image import AtomFinder
from real_frames import (
    HELD_OUT_EVERY,
    ROOT,
    TOLERANCE_PX,
    added,
    best,
    data_folder,
    label_contrast,
    of_blobs,
    of_network,
    split,
)
from scenes import CLASSES
from train_atoms import NETWORKS, RATES, adapted, card

DRAWS = 4000


UNTESTED = "_untested"


def fold_scores(
    name: str, weights: Path, cache: FrameCache, images: list[RealImage], fold: int, minutes: float
) -> tuple[dict[str, dict[str, Score]], dict[str, float], int]:
    """Scores of the images held out in a fold and the thresholds, both ways; and the steps of training."""
    trained, held = split(images, fold)
    network = NETWORKS[name](len(CLASSES))
    network.load_state_dict(torch.load(weights, weights_only=True))
    with tempfile.TemporaryDirectory() as folder:
        mean, steps = adapted(
            network,
            cache,
            trained,
            minutes=minutes,
            rate=RATES[name],
            seed=fold,
            checkpoint=Path(folder) / "fold.pt",
        )
        path = Path(folder) / "fold.onnx"
        export(mean.to(memory_format=torch.contiguous_format), path)
        path.with_suffix(".json").write_text(card(path, {}, {}).to_json())
        finders = {name: AtomFinder(path, refine=False)}
        finders[name + UNTESTED] = AtomFinder(finders[name].models, refine=False, test_amplitudes=False)
        tables = {way: {image.name: of_network(one, image) for image in images} for way, one in finders.items()}
    thresholds = {way: best([table[image.name] for image in trained]) for way, table in tables.items()}
    scores = {way: {image.name: table[image.name][thresholds[way]] for image in held} for way, table in tables.items()}
    return scores, thresholds, steps


def interval(ours: list[Score], other: list[Score] | None = None) -> tuple[float, float]:
    """2.5 and 97.5 % of F1 over images drawn with replacement; of the difference to `other` on the same images."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(DRAWS):
        drawn = random.integers(len(ours), size=len(ours))
        value = added([ours[i] for i in drawn]).f1 or 0.0
        if other is not None:
            value -= added([other[i] for i in drawn]).f1 or 0.0
        values.append(value)
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", type=Path, required=True, help="weights that saw no real image")
    parser.add_argument("--unet", type=Path, help="weights of the reference that saw no real image")
    parser.add_argument("--minutes", type=float, default=4.0, help="processor minutes in each fold")
    parser.add_argument("--frames", type=Path, default=ROOT / "build" / "frames")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "atoms_folds.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache, images = open_cache(arguments.frames), real_images(data_folder())
    if not images:
        raise SystemExit(f"no labelled images in {data_folder()}")
    blobs = {image.name: of_blobs(image) for image in images}
    networks = {name: path for name, path in (("fast", arguments.fast), ("unet", arguments.unet)) if path}
    folds: list[dict[str, Any]] = []
    all_scores: dict[str, dict[str, Score]] = {name: {} for n in networks for name in (n, n + UNTESTED)} | {"log": {}}
    for fold in range(HELD_OUT_EVERY):
        trained, held = split(images, fold)
        blob = best([blobs[image.name] for image in trained])
        row: dict[str, Any] = {"fold": fold, "log_sigma_px": blob[0], "log_threshold": blob[1]}
        of_fold = {"log": {image.name: blobs[image.name][blob] for image in held}}
        for name, path in networks.items():
            scores_of, thresholds, steps = fold_scores(name, path, cache, images, fold, arguments.minutes)
            of_fold |= scores_of
            row |= {f"{way}_threshold": threshold for way, threshold in thresholds.items()} | {f"{name}_steps": steps}
        for name, scores in of_fold.items():
            all_scores[name].update(scores)
            row[f"{name}_f1"] = added(list(scores.values())).table()["f1"]
        folds.append(row)
        print(row, flush=True)
    names = [image.name for image in images]
    lists = {name: [scores[image] for image in names] for name, scores in all_scores.items()}
    answer: dict[str, Any] = {
        "question": " ".join(str(__doc__).split("\n\n")[0].split()),
        "tolerance_px": TOLERANCE_PX,
        "processor_minutes": arguments.minutes,
        "versions": {"numpy": np.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "f1": {name: {**added(scores).table(), "interval": interval(scores)} for name, scores in lists.items()},
        "fast_minus": {name: interval(lists["fast"], scores) for name, scores in lists.items() if name != "fast"},
        "sets": {
            group: {
                name: added([s for image, s in zip(names, scores, strict=True) if image.startswith(group)]).table()
                for name, scores in lists.items()
            }
            for group in sorted({name.split("/")[0] for name in names})
        },
        "folds": folds,
        "images": [
            {
                "image": image.name,
                "labels": len(image.yx),
                "label_contrast": round(label_contrast(image), 2),
                **{name: scores[image.name].table()["f1"] for name, scores in all_scores.items()},
            }
            for image in images
        ],
    }
    arguments.json.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps({key: answer[key] for key in ("f1", "fast_minus", "sets")}, indent=1))


if __name__ == "__main__":
    main()
