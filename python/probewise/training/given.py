# SPDX-License-Identifier: BSD-3-Clause
"""What a user brings: frames, some with labels."""

from __future__ import annotations

from dataclasses import dataclass

from probewise.types import Float32Array, FloatArray, IntArray

UNKNOWN = -100  # class of an atom whose label names only its place


@dataclass(frozen=True, eq=False)
class Given:
    """One frame of a user's. yx (n, 2) px and label (n,) index into the card's classes or UNKNOWN; None: no labels."""

    name: str
    counts: Float32Array
    pixel_nm: float
    yx: FloatArray | None = None
    label: IntArray | None = None
