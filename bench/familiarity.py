# SPDX-License-Identifier: BSD-3-Clause
"""Which frames does the out-of-distribution measure of the atom finder call unfamiliar, and what does it cost?

Home frames of fresh seeds must pass (the card states the share that does not); frames of another material, a wrong
pixel size, an inverted detector, charging, noise or defocus should not. White noise is what vacuum looks like, and a
run comes across vacuum: there the right answer is to pass.
Run: python bench/familiarity.py [--frames 60] [--json bench/results/familiarity.json]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from probewise.image import AtomFinder
from probewise.inference import Card
from probewise.training.home import HomeFrame, home_frames

ROOT = Path(__file__).resolve().parents[1]
FIRST_SEED = 1_000_003
Shown = tuple[np.ndarray, float]  # counts and the pixel size that the finder is told
LATTICES = {  # nm: sides of the cell, places in it, brightness
    "dumbbells": ((0.384, 0.543), ((0, 0), (0, 0.25), (0.5, 0.5), (0.5, 0.75)), (1, 1, 1, 1)),
    "square": ((0.25, 0.25), ((0, 0),), (1,)),
    "two-coloured rows": ((0.32, 0.52), ((0, 0), (0, 0.375), (0.5, 0.5), (0.5, 0.875)), (1, 0.3, 1, 0.3)),
}


def half_pixel(random: np.random.Generator, frame: HomeFrame) -> Shown | None:
    return (frame.counts, frame.pixel_nm / 2) if frame.pixel_nm >= 0.02 else None


def double_pixel(random: np.random.Generator, frame: HomeFrame) -> Shown | None:
    return (frame.counts, frame.pixel_nm * 2) if frame.pixel_nm <= 0.025 else None


def inverted(random: np.random.Generator, frame: HomeFrame) -> Shown:
    return frame.counts.max() - frame.counts, frame.pixel_nm


def charging(random: np.random.Generator, frame: HomeFrame) -> Shown:
    """Each line's brightness walks, and one line in ten jumps."""
    lines = 0.3 * np.cumsum(random.normal(0, 1, len(frame.counts)))
    lines += np.where(random.random(len(lines)) < 0.1, random.normal(0, 8, len(lines)), 0)
    return (frame.counts + frame.counts.std() * lines[:, None]).astype(np.float32), frame.pixel_nm


def defocus(random: np.random.Generator, frame: HomeFrame) -> Shown:
    """Blurred by a Gaussian of 90 to 160 pm, at twenty times the dose."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(frame.counts.astype(np.float64), random.uniform(0.09, 0.16) / frame.pixel_nm)
    return random.poisson(20 * np.maximum(blurred, 0)).astype(np.float32), frame.pixel_nm


def white_noise(random: np.random.Generator, frame: HomeFrame) -> Shown:
    return random.poisson(math.exp(random.uniform(0, 6)), frame.counts.shape).astype(np.float32), frame.pixel_nm


def coloured_noise(random: np.random.Generator, frame: HomeFrame) -> Shown:
    """Amplitude falling as 1/f."""
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in frame.counts.shape), indexing="ij"))
    frequency[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(random.normal(size=frame.counts.shape)) / frequency).real
    return (100 + 10 * noise / noise.std()).astype(np.float32), frame.pixel_nm


def other_material(random: np.random.Generator, frame: HomeFrame) -> Shown:
    """Gaussian columns of a lattice that no specimen has."""
    from scipy.ndimage import gaussian_filter

    sides, places, heights = LATTICES[str(random.choice(list(LATTICES)))]
    rows, cols, pixel = *frame.counts.shape, frame.pixel_nm
    cells = np.stack(np.meshgrid(*[np.arange(-120, 120)] * 2, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    points = ((cells + np.array(places)) * sides).reshape(-1, 2)
    turn = random.uniform(0, 2 * math.pi)
    points = points @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    at = np.rint(points / pixel + np.array([rows, cols]) / 2).astype(int)
    inside = ((at >= 0) & (at < [rows, cols])).all(axis=1)
    image = np.zeros((rows, cols))
    np.add.at(image, tuple(at[inside].T), np.tile(heights, len(cells))[inside])
    image = gaussian_filter(image, random.uniform(0.035, 0.055) / pixel)
    dose = math.exp(random.uniform(2, 6))
    return random.poisson((image / image.max() + random.uniform(0.05, 0.4)) * dose).astype(np.float32), pixel


STRANGE: dict[str, Callable[[np.random.Generator, HomeFrame], Shown | None]] = {
    "pixel told at half its size": half_pixel,
    "pixel told at twice its size": double_pixel,
    "inverted": inverted,
    "charging": charging,
    "defocus": defocus,
    "another lattice": other_material,
    "noise, 1/f": coloured_noise,
    "noise, white (as vacuum)": white_noise,
}


def share_unfamiliar(finder: AtomFinder, shown: list[Shown]) -> dict[str, Any]:
    judged = [finder(image, pixel_nm=pixel).familiarity for image, pixel in shown]
    known = [one.unfamiliar for one in judged if one is not None]
    return {"frames": len(known), "unfamiliar": round(float(np.mean(known)), 4)}


def cost_ms(finder: AtomFinder, frame: HomeFrame) -> dict[str, float | int]:
    """Median of the judgement alone, beside the whole call."""
    counts = np.ascontiguousarray(frame.counts)
    scaled = finder._scaled(counts, (frame.pixel_nm,) * 2)
    maps = finder._maps(scaled, counts.shape)
    atoms = finder._found(maps)
    alone, whole = [], []
    for _ in range(200):
        begun = time.perf_counter_ns()
        finder._judge(scaled, maps, atoms)
        middle = time.perf_counter_ns()
        finder(counts, pixel_nm=frame.pixel_nm)
        alone.append(middle - begun)
        whole.append(time.perf_counter_ns() - middle)
    return {
        "atoms": len(atoms),
        "judgement": round(float(np.median(alone)) * 1e-6, 3),
        "whole_call": round(float(np.median(whole)) * 1e-6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="atoms")
    parser.add_argument(
        "--frames", type=int, default=60, help="of each strange kind that have atoms; home: seven times"
    )
    parser.add_argument("--json", default=str(ROOT / "bench" / "results" / "familiarity.json"))
    arguments = parser.parse_args()
    finder = AtomFinder(arguments.model, refine=False)
    card: Card = finder.card
    assert card.pixel_nm is not None
    coming = home_frames(FIRST_SEED, card.pixel_nm)
    home = list(itertools.islice(coming, 7 * arguments.frames))
    of_home = {
        name: share_unfamiliar(finder, [(f.counts, f.pixel_nm) for f in home if name in ("all", f.material)])
        for name in ("all", *sorted({f.material for f in home}))
    }
    with_atoms = [f for f in home if (f.label >= 0).sum() >= 20]
    random = np.random.default_rng(FIRST_SEED)
    strange = {}
    for name, change in STRANGE.items():
        made = (change(random, frame) for frame in with_atoms)
        strange[name] = share_unfamiliar(finder, list(itertools.islice(filter(None, made), arguments.frames)))
        print(name, strange[name], flush=True)
    print("home", of_home["all"])
    example = next(f for f in home_frames(7, card.pixel_nm, side_px=256) if f.material == "bfo" and f.pixel_nm == 0.02)
    found = {
        "question": " ".join(str(__doc__).split("\n\n")[0].split()),
        "versions": {"numpy": np.__version__, "python": platform.python_version()},
        "model": {"name": card.name, "sha256": card.sha256},
        "stated_rate": None if card.ood is None else card.ood["rate"],
        "home": of_home,
        "strange": strange,
        "milliseconds_256": cost_ms(finder, example),
    }
    Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["milliseconds_256"]))


if __name__ == "__main__":
    main()
