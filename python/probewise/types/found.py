# SPDX-License-Identifier: BSD-3-Clause
"""What is found in a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from probewise.types.arrays import BoolArray, Float32Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Description:
    """What a frame is turned into before any basis is fitted.

    features   (windows, f) float32
    centre_yx  (windows, 2) float64 centres of the windows, fractions of the frame
    extra      values of their own by name, each (windows,) float64 (peak position, sharpness, ...); beside them what
               was measured, where that is a spectrum: "spectrum" and "energy_eV" as in Spectrum
    notices    what was done to the frame on the way (pixels filled, windows left out)
    """

    features: Float32Array
    centre_yx: FloatArray
    extra: dict[str, FloatArray] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Familiarity:
    """How a frame compares with those that a network was made for.

    distance  1 at the limit, more is farther off
    rate      share of home frames beyond the limit
    reason    the statistic that is farthest off
    """

    distance: float
    rate: float
    reason: str

    @property
    def unfamiliar(self) -> bool:
        return self.distance > 1


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A frame as a network was shown it.

    image          (rows, cols) float32 on the network's pixel grid, over the same area as the frame, edge to edge
    normalisation  of the intensities, by the name in the network's card
    """

    image: Float32Array
    normalisation: str


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atom columns found in one image.

    yx       (n, 2) float64 (row, col) in pixels of that image, pixel centres at integers
    label    (n,) int64 index into `classes`
    score    (n,) float64, mean probability of the atom's pixels, 0 to 1
    classes  names of the labels; empty where the maps had no names
    familiarity  of the frame; None where the network has no reference statistics, the frame is too small, or of a kind
                 with too few of them
    relabelled   (n,) bool, where the amplitudes in the frame changed the network's label; None: they were not asked
    dropped      how many more the network had found that do not stand out of a bare film's grain
    shown        what the network looked at; None where the maps were given
    """

    yx: FloatArray
    label: IntArray
    score: FloatArray
    classes: tuple[str, ...] = ()
    familiarity: Familiarity | None = None
    relabelled: BoolArray | None = None
    dropped: int = 0
    shown: NetworkInput | None = None

    def __len__(self) -> int:
        return len(self.yx)


@dataclass(frozen=True, eq=False)
class Segments:
    """What a frame shows, area by area, on a coarser grid over the same area, edge to edge.

    probability  (k, rows, cols) float32, adds up to 1 over the k classes
    classes      their names
    pixel_nm     (y, x) size of a pixel of `probability`
    """

    probability: Float32Array
    classes: tuple[str, ...]
    pixel_nm: tuple[float, float]

    @property
    def label(self) -> IntArray:
        """(rows, cols) int64: the likeliest class."""
        return np.asarray(self.probability.argmax(axis=0))


@dataclass(frozen=True, eq=False)
class Latents:
    """What an encoder says of n patches: means of the latent variables, and the spread of each.

    angle    (n,) rad; zeros where the encoder has no rotation
    shift    (n, 2) fractions of half a patch (y, x); zeros where it has no translation
    z        (n, k) content
    log_std  (n, 3 + k) natural logarithm of the standard deviations, in the order angle, shift, content
    """

    angle: Float32Array
    shift: Float32Array
    z: Float32Array
    log_std: Float32Array

    def __len__(self) -> int:
        return len(self.z)
