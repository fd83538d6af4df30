# SPDX-License-Identifier: BSD-3-Clause
"""What a column is by its amplitude: host, vacancy or dopant."""

from __future__ import annotations

import math

import numpy as np

from probewise._core import image as _image
from probewise.image.refinement import RefinedAtoms
from probewise.types import FloatArray, IntArray

VACANCY = "vacancy"
DOPANT = "dopant"
COLUMN_ATOMS = {"C": 1, "TMD metal": 1, "TMD chalcogen": 2}  # of the monolayers whose columns are all alike
_LEAST_COLUMNS = 30


def host_columns(label: IntArray, classes: tuple[str, ...]) -> bool:
    """Whether the columns of a class are enough for `labels_by_amplitude` to say anything."""
    if VACANCY not in classes and DOPANT not in classes:
        return False
    count = np.bincount(label, minlength=len(classes))
    return any(count[k] >= _LEAST_COLUMNS for k, name in enumerate(classes) if name in COLUMN_ATOMS)


def labels_by_amplitude(
    yx: FloatArray,
    label: IntArray,
    share: FloatArray,
    fitted: RefinedAtoms,
    shape: tuple[int, ...],
    classes: tuple[str, ...],
) -> IntArray:
    """The labels after a test of each column's amplitude against those of its class around it (Bayes' rule).

    Columns of one class scatter about their local median by the error of the fit, times a factor that their own
    scatter gives; 3 in 100 scatter three times as much. A column of n atoms lacks 1 to n of them at a vacancy; a dopant
    has 2 to 8 times the amplitude of its host. A priori there are 7 vacancies in 100 columns for each n and 3 dopants
    (chosen on simulated frames for at most one false defect in 1,000 atoms), times share^(3/4): the network has seen
    the same counts. Other classes, classes with fewer than 30 columns and columns within three widths of the rim keep
    their label.

    yx, label  (n, 2), (n,) columns
    share      (n, k) probability of each class at each
    fitted     `refine_atoms` of the frame at these columns
    shape      (rows, cols) of the frame
    classes    k names
    returns    (n,) int64
    """
    found = label.copy()
    growth = 2 * fitted.noise.slope / (3 * math.pi * fitted.width_px**2)  # sum(g^3) / sum(g^2)^2 of a Gaussian column
    _image.judge_columns(
        yx,
        (shape[0], shape[1]),
        fitted.width_px,
        fitted.amplitude,
        fitted.amplitude_error,
        growth,
        share,
        [(k, COLUMN_ATOMS[name]) for k, name in enumerate(classes) if name in COLUMN_ATOMS],
        classes.index(VACANCY) if VACANCY in classes else -1,
        classes.index(DOPANT) if DOPANT in classes else -1,
        found,
    )
    return found
