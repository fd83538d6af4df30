# SPDX-License-Identifier: BSD-3-Clause
"""Patches to latent variables by an exported encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probewise._core import all_finite
from probewise.descriptors.arrays import check_float32
from probewise.inference import Model, load_model
from probewise.types import Float32Array, FloatArray, Latents

_BATCH = 4096  # patches in one call: a bound on its memory and its time
_DRAWN = 16  # decoders evaluate every pixel by itself


def draw_content(decoder: Model, content: FloatArray) -> Float32Array:
    """Patches (n, side, side) that a decoder draws of content (n, k), angle and shift 0."""
    latents = np.zeros((len(content), 3 + content.shape[1]), dtype=np.float32)
    latents[:, 3:] = content
    return np.concatenate([decoder.run(latents[first : first + _DRAWN])[0] for first in range(0, len(latents), _DRAWN)])


class LatentEncoder:
    """Runs the encoder of an autoencoder.

    model       name of a shipped one, path of NAME.onnx, or a loaded `Model`
    threads, deadline_s  of `load_model`, for a name or a path
    raises      ValueError when the model is no encoder, ModelError when it is refused
    """

    def __init__(self, model: str | Path | Model, *, threads: int | None = None, deadline_s: float = 10.0) -> None:
        self.model = model if isinstance(model, Model) else load_model(model, threads=threads, deadline_s=deadline_s)
        if self.model.card.kind != "encoder" or self.model.card.latent is None:
            raise ValueError(f"model is of kind {self.model.card.kind!r}, expected an encoder")
        self.layout = self.model.card.latent
        self.side_px = self.model.card.input.patch_px or 0

    def __call__(self, patches: Float32Array) -> Latents:
        """Latent variables of patches.

        patches  (n, side_px, side_px) float32, C-contiguous, finite, of a frame on the card's pixel size and scaled
                 as the card says; none is allowed
        returns  Latents: angle in -pi..pi, zeros where the encoder has no rotation or no translation
        raises   TypeError, ValueError for wrong patches; ModelError when the call fails
        """
        if np.shape(patches) == (0, self.side_px, self.side_px):
            mean = spread = np.empty((0, 3 + self.layout.content), dtype=np.float32)
        else:
            check_float32("patches", patches, f"(n, {self.side_px}, {self.side_px})")
            if patches.shape[1:] != (self.side_px, self.side_px):
                raise ValueError(f"patches has shape {patches.shape}, expected (n, {self.side_px}, {self.side_px})")
            if not all_finite(patches):
                bad = patches.size - int(np.count_nonzero(np.isfinite(patches)))
                raise ValueError(f"patches holds {bad} values that are not finite, expected none")
            parts = [self.model.run(patches[first : first + _BATCH]) for first in range(0, len(patches), _BATCH)]
            mean, spread = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return Latents(angle=mean[:, 0], shift=mean[:, 1:3], z=mean[:, 3:], log_std=spread)


def angle_terms(angle: Float32Array | FloatArray, symmetry: int) -> FloatArray:
    """cos(m angle), sin(m angle) for m = `symmetry`, (n, 2) float64: the angle as columns without a jump.

    symmetry  rotations that the pattern does not change under; the angle means nothing beyond it
    """
    if symmetry < 1:
        raise ValueError(f"symmetry is {symmetry}, expected at least 1")
    phase = symmetry * np.asarray(angle, dtype=np.float64)
    out = np.empty((len(phase), 2))
    np.cos(phase, out=out[:, 0])
    np.sin(phase, out=out[:, 1])
    return out
