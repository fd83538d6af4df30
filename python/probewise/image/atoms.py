# SPDX-License-Identifier: BSD-3-Clause
"""Atoms from the maps of a network."""

from __future__ import annotations

import numpy as np

from probewise._core import image as _image
from probewise.image.refinement import refine_atoms
from probewise.types import Atoms, Float32Array, FloatArray, IntArray


def find_atoms(
    probability: Float32Array,
    threshold: float = 0.5,
    refine_on: Float32Array | None = None,
    *,
    classes: tuple[str, ...] = (),
) -> Atoms:
    """One atom for each 4-connected component of probability > threshold, class by class.

    probability  (k, rows, cols) float32 in 0..1, C-contiguous: the k classes without background
    threshold    in [0, 1)
    refine_on    (rows, cols) float32 counts on which the positions are fitted (`refine_atoms`), or None
    classes      k names, or none
    returns      Atoms: centroid weighted by the probability, label, mean probability; by class, then in raster order
                 of the first pixel
    raises       TypeError, ValueError for a wrong array, values outside 0..1 or not finite, or a wrong threshold
    """
    if not 0.0 <= threshold < 1.0:
        raise ValueError(f"threshold is {threshold}, expected 0 <= threshold < 1")
    if classes and len(classes) != probability.shape[0]:
        raise ValueError(f"classes names {len(classes)}, expected {probability.shape[0]} as in probability")
    if refine_on is not None and refine_on.shape != probability.shape[1:]:
        raise ValueError(f"refine_on has shape {refine_on.shape}, expected {probability.shape[1:]} as in probability")
    yx, label, score = _image.find_atoms(probability, threshold)
    if refine_on is not None:
        yx = refine_atoms(refine_on, yx).yx
    return Atoms(yx, label, score, tuple(classes))


def label_atoms(atoms: Atoms, maps: Float32Array, stride: float, *, classes: tuple[str, ...] = ()) -> Atoms:
    """The same atoms, each with its likeliest class.

    atoms    of an image `stride` times finer than the maps (a presence map)
    maps     (k, rows, cols) float32 of the classes, C-contiguous; interpolated at the atoms, the first of equals wins
    classes  k names, or none
    raises   TypeError, ValueError for a wrong array, or a stride that is not positive
    """
    if classes and len(classes) != maps.shape[0]:
        raise ValueError(f"classes names {len(classes)}, expected {maps.shape[0]} as in maps")
    return Atoms(atoms.yx, class_shares(atoms.yx, maps, stride)[0], atoms.score, tuple(classes))


def class_shares(yx: FloatArray, maps: Float32Array, stride: float) -> tuple[IntArray, FloatArray]:
    """Likeliest class (n,) and the interpolated class maps (n, k) at points; arguments and errors of `label_atoms`."""
    if not (np.isfinite(stride) and stride > 0):
        raise ValueError(f"stride is {stride}, expected a positive number")
    label = np.empty(len(yx), dtype=np.int64)
    share = np.empty((len(yx), len(maps)))
    _image.label_atoms(yx, maps, stride, label, share)
    return label, share
