# SPDX-License-Identifier: BSD-3-Clause
"""Render the simulated training frames once, so that every training reads the same ones and costs one process.

Run: python models/frame_cache.py [--frames 8000] [--seed 0] [--processes 2] [--out build/frames]
Three arrays that are mapped, not read: images.npy (n, 256, 256) float16 as the network sees them; atoms.npy (m, 3)
float32 row, column and label of all atoms; and first.npy (n + 1,) where those of each frame begin. about.json tells
the seed, the shares of the materials, the gain of each frame and the processor minutes it took.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frames import Drawn, draw
from probewise.types import FloatArray, IntArray
from scenes import MATERIALS, SIDE, Scene, scenes

ROOT = Path(__file__).resolve().parents[1]
SCENES = 6  # of one specimen under one probe
FRAMES_OF_A_SCENE = 3  # background, dose, detector and cut differ
FILMS = 4
PART = 198  # frames of one job; films cost it as much as twenty of them


def drawn_frames(seed: int, count: int) -> list[tuple[Drawn, str]]:
    """Frames with their material, in random order of specimens."""
    random = np.random.default_rng(seed)
    films: list[Scene] = [next(scenes(random, "empty", 1)) for _ in range(FILMS)]
    names, shares = list(MATERIALS), np.array(list(MATERIALS.values()))
    out: list[tuple[Drawn, str]] = []
    while len(out) < count:
        material = str(random.choice(names, p=shares / shares.sum()))
        for scene in scenes(random, material, SCENES):
            if len(scene.yx) == 0:
                films[random.integers(FILMS)] = scene
            for _ in range(FRAMES_OF_A_SCENE):
                out.append((draw(random, scene, films[random.integers(FILMS)]), material))
    return out[:count]


def _part(job: tuple[str, int, int, int]) -> tuple[list[FloatArray], list[IntArray], list[float], list[str], float]:
    """Draw one run of frames into images.npy; the rest comes back."""
    path, start, stop, seed = job
    images = np.load(path, mmap_mode="r+")
    begun = time.process_time()
    yx, label, gain, material = [], [], [], []
    for number, (drawn, name) in enumerate(drawn_frames(seed, stop - start), start):
        images[number] = drawn.image
        yx.append(drawn.yx)
        label.append(drawn.label)
        gain.append(drawn.gain)
        material.append(name)
    images.flush()
    return yx, label, gain, material, time.process_time() - begun


def render(folder: Path, *, frames: int, seed: int, processes: int) -> None:
    """Write a cache; `folder` is there and whole only when about.json is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").unlink(missing_ok=True)
    path = folder / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.float16, (frames, SIDE, SIDE)).flush()
    jobs = [(str(path), start, min(start + PART, frames), seed * 100_000 + start) for start in range(0, frames, PART)]
    yx: list[FloatArray] = []
    label: list[IntArray] = []
    gain: list[float] = []
    material: list[str] = []
    seconds = 0.0
    begun = said = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done in pool.imap(_part, jobs):
            for held, new in zip((yx, label, gain, material), done[:4], strict=True):
                held.extend(new)  # type: ignore[arg-type]
            seconds += done[4]
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"{(said - begun) / 60:6.1f} min  {len(gain)} of {frames} frames", flush=True)
    first = np.concatenate([[0], np.cumsum([len(one) for one in label])])
    np.save(folder / "first.npy", first.astype(np.int64))
    np.save(folder / "atoms.npy", np.column_stack([np.concatenate(yx), np.concatenate(label)]).astype(np.float32))
    about = {
        "frames": frames,
        "seed": seed,
        "shares": MATERIALS,
        "processor_minutes": round(seconds / 60, 1),
        "gain": gain,
        "material": material,
    }
    (folder / "about.json").write_text(json.dumps(about))


@dataclass(frozen=True, eq=False)
class FrameCache:
    """The frames of a folder, one at a time."""

    images: np.ndarray
    atoms: np.ndarray
    first: IntArray
    about: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Drawn:
        atoms = self.atoms[self.first[number] : self.first[number + 1]]
        return Drawn(
            self.images[number].astype(np.float32),
            atoms[:, :2].astype(np.float64),
            atoms[:, 2].astype(np.int64),
            self.about["gain"][number],
        )


def open_cache(folder: Path) -> FrameCache:
    """raises FileNotFoundError where nothing was rendered, ValueError where the parts do not belong together"""
    if not (folder / "about.json").exists():
        raise FileNotFoundError(f"no frames in {folder}, expected those of `python models/frame_cache.py`")
    about = json.loads((folder / "about.json").read_text())
    images, atoms, first = (
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("images", "atoms", "first")
    )
    if not len(images) == len(first) - 1 == len(about["gain"]) or len(atoms) != first[-1]:
        raise ValueError(f"{folder} has {len(images)} images, {len(first) - 1} lists and {len(about['gain'])} gains")
    return FrameCache(images, atoms, np.asarray(first), about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "frames")
    arguments = parser.parse_args()
    render(arguments.out, frames=arguments.frames, seed=arguments.seed, processes=arguments.processes)
    print(f"{arguments.frames} frames, {open_cache(arguments.out).about['processor_minutes']} processor minutes")


if __name__ == "__main__":
    main()
