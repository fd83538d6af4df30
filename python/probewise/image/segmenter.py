# SPDX-License-Identifier: BSD-3-Clause
"""What a frame shows, area by area: pillars, walls, grain boundaries, particles, junctions, vacuum, amorphous."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probewise.errors import ConfigurationError
from probewise.image.network import Pixel, activated, counts_of, native_shape, normalised, resample
from probewise.inference import Card, Model, load_model
from probewise.types import Float32Array, Frame, Segments


class Segmenter:
    """Areas of a frame by one network.

    model       name of a shipped model, path, or loaded Model of kind "segments"
    threads, deadline_s  of the model that is loaded here
    raises      ModelError when the model is refused, ConfigurationError when it is of another kind
    """

    def __init__(
        self, model: str | Path | Model = "segments", *, threads: int | None = None, deadline_s: float = 10.0
    ) -> None:
        loaded = load_model(model, threads=threads, deadline_s=deadline_s) if isinstance(model, str | Path) else model
        self.model: Model = loaded
        self.card: Card = loaded.card
        if self.card.kind != "segments":
            raise ConfigurationError(f"model {self.card.name} is of kind {self.card.kind}, expected segments")
        self.classes = self.card.classes + (("background",) if self.card.background == "last" else ())

    def __call__(self, image: Float32Array | Frame, *, pixel_nm: Pixel | None = None) -> Segments:
        """Probabilities of the classes over the whole frame.

        image     (rows, cols) float32 counts, finite; or a Frame, its first channel and pixel size
        pixel_nm  (y, x) or one number for both; None: that of the Frame, or else the model's native size
        raises    TypeError, ValueError for a wrong image, ConfigurationError for a pixel size outside the card's
                  range, ModelError when the model fails or is late
        """
        counts, pixel = counts_of(image, pixel_nm)
        if pixel is None:
            pixel = (self.card.pixel_nm.native,) * 2 if self.card.pixel_nm else (1.0, 1.0)
        multiple = self.card.input.multiple_of
        native = native_shape(counts.shape, pixel, self.card)
        # Stretched by less than one multiple, so that the maps cover the frame edge to edge with nothing invented.
        grid = (-(-native[0] // multiple) * multiple, -(-native[1] // multiple) * multiple)
        given = normalised(counts if grid == counts.shape else resample(counts, grid), self.card.normalisation)
        (found,) = self.model.run(np.ascontiguousarray(given)[None, None])
        maps = activated(found[0], self.card.outputs[0].activation)
        step = (counts.shape[0] * pixel[0] / maps.shape[1], counts.shape[1] * pixel[1] / maps.shape[2])
        return Segments(maps, self.classes, step)
