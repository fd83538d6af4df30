# SPDX-License-Identifier: BSD-3-Clause
"""What a frame shows, area by area: pillars, walls, grain boundaries, particles, junctions, vacuum, amorphous."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from probewise.errors import ModelError
from probewise.image.network import network_input, resample
from probewise.inference import load_model
from probewise.types import Float32Array, Frame, Segments


class Segmenter:
    """A model of kind "segments" ready for frames.

    model       name of a shipped model, or the path of an .onnx file with its card
    threads, deadline_s  as for `load_model`
    raises      ModelError when it is refused or is of another kind
    """

    def __init__(self, model: str | Path = "segments", *, threads: int | None = None, deadline_s: float = 10.0) -> None:
        self.model = load_model(model, threads=threads, deadline_s=deadline_s)
        card = self.model.card
        found = (card.kind, card.outputs[0].activation, card.normalisation)
        if found != ("segments", "softmax", "robust") or card.pixel_nm is None:
            raise ModelError(
                f"{card.name}: kind, activation and normalisation are {found}, pixel_nm {card.pixel_nm}, "
                "expected ('segments', 'softmax', 'robust') and a range of pixels"
            )
        self._pixels = card.pixel_nm
        self._classes = card.classes + (("background",) if card.background == "last" else ())

    def __call__(
        self, image: Float32Array | Frame, *, pixel_nm: float | tuple[float, float] | None = None
    ) -> Segments:
        """Probabilities of the classes over the whole frame.

        image     (rows, cols) float32, C-contiguous, finite; or a Frame, whose first channel and pixel are taken
        pixel_nm  of an array: one value, or (y, x)
        raises    ValueError for a pixel outside the card's range or one that is missing, ModelError as `Model.run`
        """
        if isinstance(image, Frame):
            if pixel_nm is not None:
                raise ValueError(f"pixel_nm is {pixel_nm}, expected none with a Frame, which holds its own")
            image, pixel_nm = image.image(), image.pixel_nm
        if pixel_nm is None:
            raise ValueError("pixel_nm is missing, expected the size of a pixel of the array in nm")
        pixel_yx = (pixel_nm, pixel_nm) if isinstance(pixel_nm, int | float) else pixel_nm
        low, native, high = self._pixels.low, self._pixels.native, self._pixels.high
        if not all(low <= side <= high for side in pixel_yx):
            raise ValueError(f"pixel_nm is {pixel_nm}, expected {low:g} to {high:g} as in {self.model.card.name}.json")
        if image.ndim != 2:
            raise ValueError(f"image has shape {image.shape}, expected (rows, cols)")
        field_nm = [count * side for count, side in zip(image.shape, pixel_yx, strict=True)]
        multiple = self.model.card.input.multiple_of
        rows, cols = (max(1, math.ceil(side / native / multiple - 1e-6)) * multiple for side in field_nm)
        frame, _ = network_input(resample(image, (rows, cols)))
        (maps,) = self.model.run(np.ascontiguousarray(frame)[None, None])
        step = (field_nm[0] / maps.shape[2], field_nm[1] / maps.shape[3])
        return Segments(maps[0], self._classes, step)
