# SPDX-License-Identifier: BSD-3-Clause
"""From a frame to its atoms by a network, or by several that are asked together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probewise._core import image as _image
from probewise.errors import ConfigurationError, ModelError
from probewise.image.atoms import class_shares, find_atoms
from probewise.image.column_test import VACANCY, host_columns, labels_by_amplitude
from probewise.image.contrast import stand_out
from probewise.image.familiarity import Statistics, atom_statistics, home_of
from probewise.image.network import Pixel, activated, counts_of, native_shape, normalised, resample
from probewise.image.refinement import AMPLITUDE_PX, POSITION_PX, refine_atoms
from probewise.inference import Card, Model, load_model
from probewise.types import Atoms, BoolArray, Familiarity, Float32Array, FloatArray, Frame, NetworkInput


@dataclass(frozen=True, eq=False)
class AtomMaps:
    """What the networks say of one frame, on their own pixel grid.

    probability  (k, rows, cols) float32, mean over the networks: the classes, or presence alone (k = 1)
    deviation    (k, rows, cols) float32, standard deviation over the networks; 0 for one
    classes      (classes, rows, cols) float32 mean class maps where presence has maps of its own, else None
    scale        (y, x) pixels of the frame per pixel of `probability`
    class_stride pixels of `probability` per pixel of `classes`
    """

    probability: Float32Array
    deviation: Float32Array
    classes: Float32Array | None
    scale: tuple[float, float]
    class_stride: float


class AtomFinder:
    """Atoms of a frame by one network, or by the mean map of several (an ensemble).

    model       name of a shipped model, path, or loaded Model of kind "atoms"; or a sequence of them that agree in
                classes, pixel size, normalisation and outputs
    threshold   of the probability, in [0, 1)
    threads, deadline_s  of the models that are loaded here
    refine      fit the positions on the frame itself (`refine_atoms`)
    test_amplitudes  ask the counts what the network does badly: `labels_by_amplitude`; and atoms of a sparse frame
                that do not `stand_out` of it are dropped
    raises      ModelError when a model is refused, ConfigurationError when one finds no atoms or they do not agree
    """

    def __init__(
        self,
        model: str | Path | Model | Sequence[str | Path | Model],
        *,
        threshold: float = 0.5,
        threads: int | None = None,
        deadline_s: float = 10.0,
        refine: bool = True,
        test_amplitudes: bool = True,
    ) -> None:
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold is {threshold}, expected 0 <= threshold < 1")
        several = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        if not several:
            raise ValueError("model is an empty sequence, expected at least one model")
        self.models = tuple(
            load_model(one, threads=threads, deadline_s=deadline_s) if isinstance(one, str | Path) else one
            for one in several
        )
        self.card: Card = self.models[0].card
        self.threshold = threshold
        self.refine = refine
        self.test_amplitudes = test_amplitudes
        self._is_vacancy: BoolArray = np.array([name == VACANCY for name in self.card.classes], dtype=bool)
        if self.card.kind != "atoms":
            raise ConfigurationError(f"model {self.card.name} is of kind {self.card.kind}, expected atoms")
        for other in self.models[1:]:
            for name in ("kind", "classes", "background", "pixel_nm", "normalisation"):
                ours, theirs = getattr(self.card, name), getattr(other.card, name)
                if ours != theirs:
                    raise ConfigurationError(
                        f"model {other.card.name} has {name} {theirs}, expected {ours} as {self.card.name}"
                    )
            strides = [[output.stride for output in m.card.outputs] for m in (self.models[0], other)]
            if strides[0] != strides[1]:
                raise ConfigurationError(
                    f"model {other.card.name} has output strides {strides[1]}, expected {strides[0]} "
                    f"as {self.card.name}"
                )
        try:
            self._home = home_of(self.card.classes, self.card.ood)
        except ValueError as problem:
            raise ModelError(f"{self.card.name}: {problem}") from problem

    def __call__(self, image: Float32Array | Frame, *, pixel_nm: Pixel | None = None) -> Atoms:
        """The atoms of a frame; yx in its own pixels; `relabelled` where the counts spoke against the network.

        The score of an ensemble is the mean probability less the deviation at the atom, at least 0.
        image     (rows, cols) float32 counts, finite; or a Frame, its first channel and pixel size
        pixel_nm  (y, x) or one number for both; None: that of the Frame, or else the model's native size
        raises    TypeError, ValueError for a wrong image, ConfigurationError for a pixel size outside the card's
                  range, ModelError when a model fails or is late
        """
        counts, pixel = counts_of(image, pixel_nm)
        scaled = self._scaled(counts, pixel)
        maps = self._maps(scaled, counts.shape)
        atoms, share = self._found(maps)
        familiarity = self._judge(scaled, maps, atoms)
        yx, label, score = _image.rescaled(atoms.yx, maps.scale, counts.shape), atoms.label, atoms.score
        names, native = self.card.classes, self.card.pixel_nm
        size = pixel if pixel is not None or native is None else (native.native, native.native)
        dropped = 0
        if self.test_amplitudes and size is not None:
            kept = stand_out(counts, yx, size)
            if not kept.all():
                kept |= self._is_vacancy[label]
                yx, label, score = yx[kept], label[kept], score[kept]
                share = None if share is None else share[kept]
                dropped = len(kept) - len(yx)
        tested = self.test_amplitudes and share is not None and host_columns(label, names)
        relabelled = None
        if (self.refine and len(yx)) or tested:
            fitted = refine_atoms(counts, yx, least_width_px=POSITION_PX if self.refine else AMPLITUDE_PX)
            if tested and share is not None:
                before, label = label, labels_by_amplitude(yx, label, share, fitted, counts.shape, names)
                relabelled = label != before
            if self.refine:
                nothing = self._is_vacancy[label]  # there is nothing to be fitted to
                yx = np.where(nothing[:, None], yx, _image.rescaled(fitted.yx, (1.0, 1.0), counts.shape))
        shown = NetworkInput(scaled, self.card.normalisation)
        return Atoms(yx, label, score, names, familiarity, relabelled, dropped, shown)

    def maps(self, image: Float32Array | Frame, *, pixel_nm: Pixel | None = None) -> AtomMaps:
        """Mean and deviation of the probability maps; arguments and errors as of the call."""
        counts, pixel = counts_of(image, pixel_nm)
        return self._maps(self._scaled(counts, pixel), counts.shape)

    def statistics(self, image: Float32Array | Frame, *, pixel_nm: Pixel | None = None) -> Statistics | None:
        """What `fit_home` takes of a frame, None for one that is too small; arguments and errors as of the call."""
        counts, pixel = counts_of(image, pixel_nm)
        scaled = self._scaled(counts, pixel)
        maps = self._maps(scaled, counts.shape)
        return self._statistics(scaled, maps, self._found(maps)[0])

    def _found(self, maps: AtomMaps) -> tuple[Atoms, FloatArray | None]:
        """The atoms on the grid of the maps as the networks label them, and their class shares where there are any."""
        names = self.card.classes
        atoms = find_atoms(maps.probability, self.threshold, classes=names if maps.classes is None else ())
        score = atoms.score
        if len(self.models) > 1 and len(atoms):
            # A centroid lies within its map; rounding to the nearest pixel stays there.
            row, col = np.rint(atoms.yx).astype(np.int64).T
            score = np.maximum(score - maps.deviation[atoms.label, row, col], 0.0)
        label, share = (
            (atoms.label, None) if maps.classes is None else class_shares(atoms.yx, maps.classes, maps.class_stride)
        )
        return Atoms(atoms.yx, label, score, names), share

    def _judge(self, scaled: Float32Array, maps: AtomMaps, atoms: Atoms) -> Familiarity | None:
        found = None if self._home is None else self._statistics(scaled, maps, atoms)
        return None if self._home is None or found is None else self._home.judge(found)

    def _statistics(self, scaled: Float32Array, maps: AtomMaps, atoms: Atoms) -> Statistics | None:
        """Of the maps' own grid, on which the atoms are."""
        classes, stride = (maps.probability, 1.0) if maps.classes is None else (maps.classes, maps.class_stride)
        presence = maps.probability[0] if len(maps.probability) == 1 else maps.probability.max(axis=0)
        given = scaled if scaled.shape == presence.shape else resample(scaled, presence.shape)
        return atom_statistics(
            given, 1 / maps.scale[0], presence, classes, self.card.classes, atoms.yx, atoms.label, atoms.score, stride
        )

    def _scaled(self, counts: Float32Array, pixel: tuple[float, float] | None) -> Float32Array:
        """The frame on the native grid, normalised."""
        grid = native_shape(counts.shape, pixel, self.card)
        return normalised(counts if grid == counts.shape else resample(counts, grid), self.card.normalisation)

    def _maps(self, scaled: Float32Array, shape: tuple[int, ...]) -> AtomMaps:
        """shape  of the frame that `scaled` was made from"""
        results = [self._run(model, scaled) for model in self.models]
        stride = self.card.outputs[0].stride
        mean, deviation, classes = results[0][0], np.zeros(results[0][0].shape, dtype=np.float32), None
        if len(self.card.outputs) == 2:
            classes = results[0][1] if len(results) == 1 else np.mean([result[1] for result in results], axis=0)
        if len(results) > 1:
            first = np.stack([result[0] for result in results])
            mean, deviation = first.mean(axis=0), first.std(axis=0)
        return AtomMaps(
            np.ascontiguousarray(mean),
            deviation,
            None if classes is None else np.ascontiguousarray(classes),
            (stride * shape[0] / scaled.shape[0], stride * shape[1] / scaled.shape[1]),
            self.card.outputs[-1].stride / stride,
        )

    def _run(self, model: Model, scaled: Float32Array) -> list[Float32Array]:
        """Probabilities of each output over the frame, padding removed and background left out."""
        card, rows_cols = model.card, scaled.shape
        missing = [-n % card.input.multiple_of for n in rows_cols]
        if any(missing):
            # A mirror: an atom cut by the edge goes on as it would, and no edge of zeros looks like one.
            scaled = np.pad(scaled, [(0, n) for n in missing], mode="symmetric")
        outputs = model.run(scaled[None, None])
        probabilities = []
        for found, output in zip(outputs, card.outputs, strict=True):
            values = activated(found[0], output.activation)
            if card.background == "last":
                values = values[:-1]
            rows, cols = (-(-n // output.stride) for n in rows_cols)
            probabilities.append(values[:, :rows, :cols])
        return probabilities
