# SPDX-License-Identifier: BSD-3-Clause
"""What an encoder is shown of a frame: windows spread over it, or patches about its atoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from probewise._core import all_finite
from probewise._core import image as _image
from probewise.descriptors.spectra import evenly_spread, spectrum_patches
from probewise.inference import Card
from probewise.types import Atoms, Float32Array, FloatArray, Frame, IntArray


@dataclass(frozen=True, eq=False)
class Cut:
    """Patches of one frame.

    patches    (n, side, side) float32, scaled as the card says
    centre_yx  (n, 2) float64, fractions of the frame
    label      (n,) int64, class of the atom that each is about; 0 for windows
    area_nm2   (cells * cells,) of each part of the frame, where centres can lie
    """

    patches: Float32Array
    centre_yx: FloatArray
    label: IntArray
    area_nm2: FloatArray


def grid_shape(frame: Frame, card: Card) -> tuple[int, int]:
    """(rows, cols) of a frame on the pixel size of a model.

    raises  ValueError for pixels outside the card's range
    """
    wanted, pixel_nm = card.pixel_nm, frame.pixel_nm
    if wanted is None:
        return frame.shape
    if not all(wanted.low * (1 - 1e-6) <= pixel <= wanted.high * (1 + 1e-6) for pixel in pixel_nm):
        raise ValueError(
            f"frame has pixels of {pixel_nm} nm, expected {wanted.low:g} to {wanted.high:g} nm for {card.name}"
        )
    rows, cols = (
        max(1, round(count * pixel / wanted.native)) for count, pixel in zip(frame.shape, pixel_nm, strict=True)
    )
    return rows, cols


def on_grid(frame: Frame, shape: tuple[int, int]) -> Float32Array:
    """The frame's first channel as (rows, cols) float32 of that shape.

    raises  ValueError for a non-finite pixel
    """
    image = np.ascontiguousarray(frame.image(0))
    if not all_finite(image):
        raise ValueError("frame holds a non-finite pixel, expected finite counts in every pixel")
    if shape == image.shape:
        return image
    out = np.empty(shape, dtype=np.float32)
    _image.resample(image, out)
    return out


def scaled(image: Float32Array, normalisation: str) -> Float32Array:
    """The image in the intensities that a card's `normalisation` names."""
    if normalisation == "none":
        return image
    if normalisation == "robust":
        out = np.empty_like(image)
        _image.network_input(image, out)
        return out
    low, high = image.min(), image.max()
    return np.asarray((image - low) / (high - low if high > low else np.float32(1)))


def window_px(card: Card) -> int:
    """Side of the part of a frame that a patch is made of, in the network's pixels."""
    side = card.input.patch_px or 0
    return 2 * (side + 1) if card.normalisation == "spectrum" else side


def cut_windows(frame: Frame, card: Card, step_px: int | None, cells: int) -> Cut:
    """Windows from edge to edge at about `step_px` of the network's pixels, half a window where that is None.

    raises  ValueError for a frame that `on_grid` or `grid_shape` refuses, or that is smaller than a window
    """
    image = on_grid(frame, grid_shape(frame, card))
    window = window_px(card)
    corners = evenly_spread(image.shape, window, max(1, window // 2) if step_px is None else step_px)
    if card.normalisation == "spectrum":
        patches = spectrum_patches(image, corners, window)
    else:
        patches = np.empty((len(corners), window, window), dtype=np.float32)
        kept = np.empty(len(corners), dtype=np.int64)
        middles = corners.astype(np.float64) + window // 2
        _image.extract_patches(scaled(image, card.normalisation), middles, False, False, patches, kept)
    shape = np.array(image.shape, dtype=np.float64)
    area = np.full(cells**2, float(np.prod(frame.pixel_nm)) * float(np.prod(frame.shape)) / cells**2)
    return Cut(patches, (corners + window / 2) / shape, np.zeros(len(corners), dtype=np.int64), area)


def cut_about_atoms(frame: Frame, card: Card, look: Callable[[Frame], Atoms], cells: int) -> Cut:
    """Patches about atoms, in the middle of a pixel of the network each; those that leave the frame are left out.

    look    finds the atoms of a frame, in its pixels; where its network was shown just what the encoder is, the
            patches are cut out of that
    raises  ValueError for a frame that `on_grid` or `grid_shape` refuses
    """
    grid, shape = grid_shape(frame, card), frame.shape
    atoms = look(frame)
    shown = atoms.shown
    if shown is not None and shown.image.shape == grid and shown.normalisation == card.normalisation:
        image = shown.image
    else:
        image = scaled(on_grid(frame, grid), card.normalisation)
    side = card.input.patch_px or 0
    patches = np.empty((len(atoms), side, side), dtype=np.float32)
    kept = np.empty(len(atoms), dtype=np.int64)
    scale = (grid[0] / shape[0], grid[1] / shape[1])
    centres = _image.rescaled(atoms.yx, scale, grid)
    count = _image.extract_patches(image, centres, True, False, patches, kept)
    kept = kept[:count]
    return Cut(
        patches[:count],
        (atoms.yx[kept] + 0.5) / np.array(shape, dtype=np.float64),
        atoms.label[kept],
        _reached_nm2(shape, frame.pixel_nm, side, grid, cells),
    )


@lru_cache(maxsize=8)  # the frames of a run are alike
def _reached_nm2(
    shape: tuple[int, int], pixel_nm: tuple[float, float], side: int, grid: tuple[int, int], cells: int
) -> FloatArray:
    """(cells * cells,) area of each cell of a frame in which the middle of a patch can lie that is `side` pixels of the
    grid wide; read-only.
    """
    reach = []
    for length, pixel, count in zip(shape, pixel_nm, grid, strict=True):
        margin = side / 2 / count
        ends = ((max(k / cells, margin), min((k + 1) / cells, 1 - margin)) for k in range(cells))
        reach.append([max(high - low, 0.0) * length * pixel for low, high in ends])
    area: FloatArray = np.outer(reach[0], reach[1]).ravel()
    area.flags.writeable = False
    return area
