# SPDX-License-Identifier: BSD-3-Clause
"""Pixels that no sample of a vector path fell into: what may be filled, and which windows are left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probewise.descriptors.spectra import tapered_means
from probewise.types import BoolArray, Float32Array, FloatArray, Frame, IntArray, RasterROI, ScanPath

# Share of a window, tapered, that samples and the pixels next to them must cover. A window of the whole frame under a
# spiral, which leaves the corners out, has 0.94.
LEAST_COVERED = 0.75


@dataclass(frozen=True, eq=False)
class Coverage:
    """What a path covers of its image.

    sampled  (rows, cols) bool, a sample fell into the pixel
    near     (rows, cols) bool, sampled, or one of the eight pixels around is
    corners  (n, 2) int64 of the windows that are kept
    shares   (n,) float64, share of each that is near, tapered as its spectrum is
    windows  how many there were
    """

    sampled: BoolArray
    near: BoolArray
    corners: IntArray
    shares: FloatArray
    windows: int

    def notice(self) -> str | None:
        """The sentence for the journal; None when every pixel holds a sample."""
        if self.sampled.all():
            return None
        filled, far = float((self.near & ~self.sampled).mean()), float((~self.near).mean())
        left_out = f"; {self.windows - len(self.corners)} of {self.windows} windows left out" if self.windows else ""
        return (
            f"pixels without a sample: {filled:.1%} of the frame filled from neighbours, {far:.1%} left without "
            f"contrast{left_out}"
        )


def coverage(path: ScanPath, corners: IntArray, window: int) -> Coverage:
    """What `path` covers, and which of the windows at `corners` it covers well enough.

    raises  ValueError when it covers none of them well enough
    """
    sampled, near = covered(path)
    shares = tapered_means(near.astype(np.float32), corners, window)
    kept = shares >= LEAST_COVERED
    if not kept.any():
        raise ValueError(
            f"samples and the pixels next to them cover {shares.max():.0%} of the best window of {window} px, "
            f"expected at least {LEAST_COVERED:.0%}"
        )
    return Coverage(sampled, near, np.ascontiguousarray(corners[kept]), shares[kept], len(corners))


def filled(image: Float32Array, cover: Coverage) -> tuple[Float32Array, float]:
    """The image without gaps, and the mean over all pixels that are near a sample.

    A gap next to samples takes their mean, those at its sides counted twice as much as those at its corners; the rest
    takes the mean, which has no contrast.
    """
    known = np.where(cover.sampled, image, np.float32(0))
    gaps = cover.near & ~cover.sampled
    known[gaps] = _sums(known)[gaps] / _sums(cover.sampled.astype(np.float32))[gaps]
    mean = float(known.mean(where=cover.near, dtype=np.float64))
    known[~cover.near] = mean
    return known, mean


def without_gaps(frame: Frame) -> tuple[Frame, tuple[str, ...]]:
    """The frame's first channel as a raster without gaps, and what was filled; a raster frame as it is.

    raises  ValueError where `whole` refuses its path
    """
    if isinstance(frame.scan, RasterROI):
        return frame, ()
    cover = whole(frame.scan)
    image, _ = filled(frame.image(0), cover)
    notice = cover.notice()
    raster = RasterROI(frame.shape, int(frame.scan.dwell_ns[0]))
    plain = replace(frame, counts=image[None], channels=frame.channels[:1], scan=raster, valid=image.size)
    return plain, () if notice is None else (notice,)


def whole(path: ScanPath) -> Coverage:
    """What `path` covers of a frame that is looked at as a whole.

    raises  ValueError when samples and the pixels next to them cover less than `LEAST_COVERED` of it
    """
    sampled, near = covered(path)
    if near.mean() < LEAST_COVERED:
        raise ValueError(
            f"samples and the pixels next to them cover {near.mean():.0%} of the frame, expected at least "
            f"{LEAST_COVERED:.0%}"
        )
    return Coverage(sampled, near, np.zeros((0, 2), dtype=np.int64), np.zeros(0), 0)


def covered(path: ScanPath) -> tuple[BoolArray, BoolArray]:
    """(rows, cols) bool: pixels that a sample fell into, and those with one of the eight around them."""
    sampled = np.zeros(path.shape, dtype=bool)
    sampled.reshape(-1)[path.pixel[path.pixel >= 0]] = True
    return sampled, np.asarray(_sums(sampled.astype(np.float32)) > 0)


def _sums(values: Float32Array) -> Float32Array:
    """Sum over each pixel's 3 x 3 surroundings, weights 1 2 1 in each direction."""
    padded = np.pad(values, 1)
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.asarray(down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:])
