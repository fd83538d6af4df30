# SPDX-License-Identifier: BSD-3-Clause
"""Write into an atom finder's card what its home frames are like: the reference of the out-of-distribution measure.

Run: python models/fit_home.py [--model atoms] [--frames 1400] [--rate 0.01], again after every training. Under two
minutes on an idle core. `python bench/familiarity.py` measures what comes of it.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from probewise.image import AtomFinder
from probewise.image.familiarity import fit_home
from probewise.inference.model import locate
from probewise.training.home_score import home_statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="atoms", help="a shipped model, or NAME.onnx with its card")
    parser.add_argument("--frames", type=int, default=1400)
    parser.add_argument("--rate", type=float, default=0.01, help="share of home frames beyond the limit")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    path = Path(locate(arguments.model))
    finder = AtomFinder(path, refine=False)
    frames = home_statistics(finder, arguments.frames, seed=arguments.seed)
    reference = {"seed": arguments.seed, **fit_home(frames, rate=arguments.rate)}
    card = dataclasses.replace(finder.card, ood=reference)
    path.with_suffix(".json").write_text(card.to_json(), encoding="utf-8")
    for name, group in reference["groups"].items():
        print(f"{name:<14} {group['frames']:4} frames  limit {group['limit']}")


if __name__ == "__main__":
    main()
