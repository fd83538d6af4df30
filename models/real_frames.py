# SPDX-License-Identifier: BSD-3-Clause
"""Hand-labelled frames: which are held out, and the F1 at 6 px of a network and of a blob detector tuned beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from frames import RealImage
from judge import FrameEdge, Score, blobs
from probewise.image import AtomFinder
from probewise.inference import Model
from probewise.types import Float32Array, FloatArray

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT_EVERY = 4  # of the real images, counted in order of their names
TOLERANCE_PX = 6.0
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
BLOBS = tuple((sigma, threshold) for sigma in (1.5, 2.0, 2.5, 3.0, 4.0, 5.0) for threshold in (3, 4, 5, 6, 7, 8))
Key = TypeVar("Key", bound=Hashable)


def data_folder() -> Path:
    return Path(os.environ.get("PROBEWISE_DATA", ROOT.parent / "shared" / "data"))


def split(images: list[RealImage], fold: int) -> tuple[list[RealImage], list[RealImage]]:
    """Images for training and held-out ones: every fourth, from `fold` on."""
    held = [image for number, image in enumerate(images) if number % HELD_OUT_EVERY == fold]
    return [image for image in images if image not in held], held


def scores(image: RealImage, keys: Sequence[Key], positions: Callable[[Key], FloatArray]) -> dict[Key, Score]:
    """Hits, false alarms and misses in an image at each setting."""
    out = {}
    for key in keys:
        out[key] = Score()
        out[key].add(positions(key), image.yx, TOLERANCE_PX, FrameEdge(image.counts.shape, 0.0))
    return out


class Remembering:
    """A model that runs once for frames that come again, one after the other."""

    def __init__(self, model: Model) -> None:
        self.card, self._model = model.card, model
        self._x: Float32Array | None = None
        self._outputs: tuple[Float32Array, ...] = ()

    def run(self, x: Float32Array) -> tuple[Float32Array, ...]:
        if self._x is None or not np.array_equal(self._x, x):
            self._x, self._outputs = x.copy(), self._model.run(x)
        return self._outputs


def of_network(finder: AtomFinder, image: RealImage) -> dict[float, Score]:
    """At each threshold, with the tests that the finder makes behind the network."""
    models = [cast(Model, Remembering(model)) for model in finder.models]

    def positions(threshold: float) -> FloatArray:
        one = AtomFinder(models, threshold=threshold, refine=False, test_amplitudes=finder.test_amplitudes)
        return one(image.counts, pixel_nm=image.pixel_nm).yx

    return scores(image, THRESHOLDS, positions)


def of_blobs(image: RealImage) -> dict[tuple[float, int], Score]:
    """At each width and threshold of a Laplacian of Gaussian."""
    found = {sigma: blobs(image.counts, sigma) for sigma in {sigma for sigma, _ in BLOBS}}
    return scores(image, BLOBS, lambda blob: found[blob[0]][0][found[blob[0]][1] > blob[1]])


def label_contrast(image: RealImage) -> float:
    """Mean height of the Laplacian of Gaussian of width 3 px at the labels, in its deviations over the image: 0 where
    the labels have nothing to do with the image.
    """
    from scipy.ndimage import gaussian_laplace

    response = -gaussian_laplace(image.counts.astype(np.float64), 3.0)
    at = np.clip(np.rint(image.yx).astype(np.int64), 0, np.array(response.shape) - 1)
    return float((response[at[:, 0], at[:, 1]].mean() - response.mean()) / response.std())


def added(several: Sequence[Score]) -> Score:
    return Score(sum(s.hit for s in several), sum(s.false for s in several), sum(s.missed for s in several))


def best(tables: Sequence[Mapping[Key, Score]]) -> Key:
    """The setting of the highest F1 over all images."""
    return max(tables[0], key=lambda key: added([table[key] for table in tables]).f1 or 0.0)


def real(finder: AtomFinder, trained: list[RealImage], held: list[RealImage]) -> dict[str, Any]:
    """F1 on the held-out images: of the finder, as it is and with the threshold that is best on the images trained on,
    and of the blob detector tuned on those."""
    network = {image.name: of_network(finder, image) for image in (*trained, *held)}
    blobs = {image.name: of_blobs(image) for image in (*trained, *held)}
    threshold = best([network[image.name] for image in trained])
    blob = best([blobs[image.name] for image in trained])

    def f1(names: list[str], half: bool = False) -> float | None:
        return added([network[name][0.5 if half else threshold] for name in names]).table()["f1"]

    names = [image.name for image in held]
    return {
        "f1": f1(names),
        "threshold": threshold,
        "f1_at_half": f1(names, half=True),
        "log_f1": added([blobs[name][blob] for name in names]).table()["f1"],
        "log_sigma_px": blob[0],
        "log_threshold": blob[1],
        "images": [
            {
                "image": name,
                **network[name][threshold].table(),
                "f1_at_half": f1([name], half=True),
                "log_f1": blobs[name][blob].table()["f1"],
            }
            for name in names
        ],
    }
