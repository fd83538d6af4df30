# SPDX-License-Identifier: BSD-3-Clause
"""An autoencoder of the windows of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probewise.descriptors.spectra import spectrum_patches
from probewise.errors import ConfigurationError
from probewise.image import extract_patches, network_input
from probewise.inference import PixelRange
from probewise.instrument import read_picture
from probewise.training.autoencoder import Invariances
from probewise.training.exporting import export_autoencoder
from probewise.training.fit import train
from probewise.types import Float32Array

_MOST = 20_000  # windows that are learnt from
_TESTED = 2000
_COARSER, _FINER = 1.25, 3.0  # how far the pixels of a frame may be from those learnt; they are resampled


@dataclass(frozen=True)
class Trained:
    """Where the models are and what was found."""

    encoder: Path
    decoder: Path
    windows: int
    minutes: float
    noise: float


def windows_of(image: Float32Array, window_px: int, *, spectrum: bool = False, seed: int) -> Float32Array:
    """At most 20,000 windows (n, side, side) at random places of a picture scaled by `network_input`, or their spectra
    (`spectrum_patches`).

    raises  ConfigurationError for a picture that leaves a window fewer than 10 places along an axis
    """
    free = np.array(image.shape) - window_px
    if (free < 9).any():
        raise ConfigurationError(
            f"--window-px: got {window_px} for a picture of {image.shape[0]} x {image.shape[1]} pixels, "
            f"expected at most {min(image.shape) - 9}"
        )
    random = np.random.default_rng([seed, 5])
    count = min(_MOST, int(np.prod(free)))
    corners = np.stack([random.integers(0, room + 1, count) for room in free], axis=1)
    if spectrum:
        return spectrum_patches(image, corners.astype(np.int64), window_px)
    scaled, _ = network_input(image)
    return extract_patches(scaled, corners.astype(np.float64) + window_px // 2, window_px)[0]


def train_on_picture(
    path: Path,
    folder: Path,
    name: str,
    invariances: Invariances,
    *,
    spectrum: bool,
    steps: int,
    seed: int,
    command: str,
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """Read a picture, learn its windows or their spectra, write NAME-encoder and NAME-decoder into `folder`.

    raises  ConfigurationError for a picture that cannot be read or used
    """
    picture = read_picture(path)
    learnt = None
    if picture.pixel_nm is not None:
        high, wide = picture.pixel_nm
        if not np.isclose(high, wide, rtol=0.01):
            raise ConfigurationError(f"{path}: pixels of {high:g} nm x {wide:g} nm, expected square ones")
        learnt = PixelRange(high, high / _FINER, high * _COARSER)
    window = 2 * (invariances.side_px + 1) if spectrum else invariances.side_px
    patches = windows_of(picture.data, window, spectrum=spectrum, seed=seed)
    fitted = train(patches, invariances, steps=steps, seed=seed, progress=progress)
    encoder, decoder = export_autoencoder(
        fitted,
        folder,
        name,
        patches[:_TESTED],
        pixel_nm=learnt,
        symmetry=2 if spectrum else None,
        normalisation="spectrum" if spectrum else "robust",
        recipe={
            "command": command,
            "seed": seed,
            "steps": steps,
            "data": f"{len(patches)} {'spectra of ' if spectrum else ''}windows of {path.name}",
        },
        metrics={},
    )
    return Trained(encoder, decoder, len(patches), fitted.minutes, fitted.noise)
