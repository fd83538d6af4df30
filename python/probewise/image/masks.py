# SPDX-License-Identifier: BSD-3-Clause
"""Where a survey says that measuring is useless: vacuum, holes, thick and contaminated areas.

One low-dose HAADF frame is all there is, and the detector's offset is unknown, so that each criterion is conservative:
what is doubtful stays a site. Lengths are in nm, "signal" is the main mode's level above the vacuum's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.image.intensity import check_image, site_means
from probewise.types import BoolArray, Float32Array, FloatArray, SiteLattice

CLASS_NAMES = ("specimen", "vacuum", "hole", "thick", "contamination")

# Tiles carry the local mean and variance: at least 64 samples (18 % of a variance), and wider than a unit cell.
TILE_PX, TILE_NM = 8, 0.6
# Poisson noise has a variance proportional to the signal: 0.15 of the main mode's leaves no room for a specimen of
# a sixth of its thickness, and lets read noise and a stray background pass.
VACUUM_VARIANCE = 0.15
# Nothing but noise changes the level of vacuum: a fiftieth of the signal. Where a coarse survey beats with the lattice
# the dark fringes are as quiet as vacuum, but not as flat.
VACUUM_FLATNESS = 0.02
# Such fringes come in numbers and are alike; vacuum among them is larger than they are.
ALIKE, ALIKE_SIZE = 8, 4
# Neighbours in vacuum are independent; a resolved lattice or a smooth feature correlates them in both directions.
# Nearer ones are left out: they are correlated in a survey that was interpolated, or by an afterglow.
VACUUM_CORRELATION, STRUCTURE_LAGS_PX = 0.3, (3, 4, 5, 6)
# Half as wide again as the largest features that sites are meant for (pillars and particles of up to 20 nm).
THICK_SIGNAL, THICK_WIDTH_NM, THICK_ROUGHNESS = 2.0, 30.0, 0.1
# Slope of the edge times radius over height: 0.7 for a Gaussian blob and 0.5 for a cone; more than 1.1 for what
# has an edge (a disc, a ball), blurred by a quarter of its radius.
BLOB_SIGNAL, BLOB_SLOPE, BLOB_SCALES_NM = 0.3, 0.9, (0.5, 1.0, 2.0)
# A blob stands out of what the survey does everywhere (fringes, grains): deviations at the same smoothing.
BLOB_DEVIATIONS = 4.0
# What covers more of the survey than this is the specimen's own.
THICK_SHARE, BLOB_SHARE = 0.3, 0.15


@dataclass(frozen=True, eq=False)
class SurveyMasks:
    """What to leave out, and why.

    vacuum, holes, thick, contamination  (sites,) bool: at least half of the site's square is of that class
    class_map                            (rows, cols) uint8 of the survey, an index of CLASS_NAMES
    notices                              how much was masked by which criterion, and what could not be decided
    """

    vacuum: BoolArray
    holes: BoolArray
    thick: BoolArray
    contamination: BoolArray
    class_map: npt.NDArray[np.uint8]
    notices: tuple[str, ...]

    @property
    def excluded(self) -> BoolArray:
        """(sites,) bool: in any of the four."""
        return self.vacuum | self.holes | self.thick | self.contamination


def survey_masks(image: Float32Array, *, pixel_nm: tuple[float, float], sites: SiteLattice) -> SurveyMasks:
    """Classify a low-dose HAADF survey and the sites on it.

    image     (rows, cols) float32 counts, any gain and offset
    pixel_nm  (y, x) size of a pixel

    vacuum         darker than the main mode with at most 0.15 of its variance, flat to 0.02 of the signal, neighbours
                   uncorrelated, at least 3 x 3 tiles of 8 pixels and no fringe of a moire;
                   needs a field that is at least half specimen
    holes          vacuum that touches no edge of the field
    thick          at least twice the signal of the main mode over a disc of 30 nm, rough by at most 10 %; heavy
                   contamination is not told apart from it
    contamination  a blob at least 0.3 of the signal above its surroundings, and 4 deviations, whose edge is as soft as
                   its middle (slope x radius / height at most 0.9), radius 2 to 16 nm
    What would be thick over more than 30 % of the survey, or contaminated over more than 15 %, is taken as the
    specimen's own.
    raises         TypeError, ValueError for a wrong image or pixel size
    """
    check_image(image)
    if not all(np.isfinite(side) and side > 0 for side in pixel_nm):
        raise ValueError(f"pixel_nm is {pixel_nm}, expected two positive lengths (y, x)")
    notices: list[str] = []
    classes = np.zeros(image.shape, dtype=np.uint8)
    tiles = _Tiles(image, pixel_nm)
    if min(tiles.mean.shape) < 4:
        notices.append(
            f"survey of {image.shape[0]} x {image.shape[1]} pixels is too small for masks: nothing was masked"
        )
        return _of_sites(classes, sites, notices)

    found = _vacuum(tiles, notices)
    if found is None:
        return _of_sites(classes, sites, notices)
    vacuum, holes = found
    rest = ~(vacuum | holes)
    mode = float(np.median(tiles.mean[rest]))
    ground = _ground(tiles, mode) if rest.all() else float(np.median(tiles.mean[~rest]))
    classes[tiles.spread(vacuum)] = 1
    classes[tiles.spread(holes)] = 2
    if mode > ground:
        classes[tiles.spread(_thick(tiles, rest, ground, mode, notices))] = 3
        blobs = _contamination(image, classes, pixel_nm, ground, mode, notices)
        classes[blobs & (classes == 0)] = 4
    return _of_sites(classes, sites, notices)


class _Tiles:
    """Local mean, variance and neighbour correlation of an image, tile by tile."""

    def __init__(self, image: Float32Array, pixel_nm: tuple[float, float]) -> None:
        self.shape = image.shape
        self.edge_px = [max(TILE_PX, round(TILE_NM / side)) for side in pixel_nm]
        self.edge_nm = [n * side for n, side in zip(self.edge_px, pixel_nm, strict=True)]
        self.starts = [
            np.arange(0, max(length - edge + 1, 1), edge)
            for length, edge in zip(image.shape, self.edge_px, strict=True)
        ]
        values = image.astype(np.float64)
        self.mean = self._average(values)
        values = values - self.mean[np.ix_(*self._owners())]
        self.variance = self._average(values**2)
        self._covariance = [
            [self._average(values * np.roll(values, -lag, axis=axis)) for lag in STRUCTURE_LAGS_PX] for axis in (0, 1)
        ]

    def correlation(self, where: BoolArray) -> tuple[float, float]:
        """Largest correlation of neighbours within these tiles, down the columns and along the rows."""
        variance = max(float(np.median(self.variance[where])), 1e-30)
        along = [max(abs(float(np.median(c[where]))) for c in lags) / variance for lags in self._covariance]
        return along[0], along[1]

    def _average(self, values: FloatArray) -> FloatArray:
        sums = np.add.reduceat(np.add.reduceat(values, self.starts[0], axis=0), self.starts[1], axis=1)
        sizes = [np.diff(np.append(s, n)) for s, n in zip(self.starts, self.shape, strict=True)]
        return np.asarray(sums / np.outer(sizes[0], sizes[1]))

    def _owners(self) -> list[npt.NDArray[np.int64]]:
        return [
            np.searchsorted(s, np.arange(n), side="right") - 1 for s, n in zip(self.starts, self.shape, strict=True)
        ]

    def spread(self, tile_mask: BoolArray) -> BoolArray:
        """A mask of tiles as a mask of pixels."""
        return np.asarray(tile_mask[np.ix_(*self._owners())])


def _vacuum(tiles: _Tiles, notices: list[str]) -> tuple[BoolArray, BoolArray] | None:
    """Vacuum and holes, tile by tile; None when the main mode may not be the specimen."""
    from scipy import ndimage

    reference = float(np.median(tiles.variance))
    level = float(np.median(tiles.mean))
    quiet = (tiles.mean < level) & (tiles.variance <= VACUUM_VARIANCE * reference)
    quiet = ndimage.binary_opening(quiet, np.ones((3, 3)))
    vacuum, holes = np.zeros_like(quiet), np.zeros_like(quiet)
    labels, count = ndimage.label(quiet)
    sizes = ndimage.sum_labels(quiet, labels, range(1, count + 1))
    least = ALIKE_SIZE * float(np.percentile(sizes, 75)) if count >= ALIKE else 0.0
    if count >= ALIKE:
        notices.append(
            f"{count} small dark areas are alike: taken as the survey's beating with a lattice, not as vacuum"
        )
    for region in (1 + np.flatnonzero(sizes >= least)).tolist():
        here = labels == region
        inner = ndimage.binary_erosion(here, np.ones((3, 3)), border_value=1)  # the edge of a tile may be specimen
        floor, variance = float(np.median(tiles.mean[inner])), float(np.median(tiles.variance[inner]))
        spread = 1.4826 * float(np.median(np.abs(tiles.mean[inner] - floor)))
        noise = variance / np.prod(tiles.edge_px)
        if spread**2 > 2 * noise + (VACUUM_FLATNESS * (level - floor)) ** 2:  # twice: room for chance
            continue
        if min(tiles.correlation(inner)) > VACUUM_CORRELATION:
            continue
        here &= tiles.mean - floor <= VACUUM_VARIANCE * (level - floor)  # a dark fringe may hang on
        at_edge = here[0].any() or here[-1].any() or here[:, 0].any() or here[:, -1].any()
        (vacuum if at_edge else holes)[here] = True
    bright = float(np.mean(tiles.variance > reference / VACUUM_VARIANCE))
    if bright > 0.1 and not (vacuum | holes).any():
        if count >= ALIKE:
            return None
        notices.append(
            f"{1 - bright:.0%} of the survey is much darker than the rest: vacuum and a thin support cannot be told "
            "apart when they are the larger part; nothing was masked"
        )
        return None
    return vacuum, holes


def _ground(tiles: _Tiles, mode: float) -> float:
    """Level without signal where no vacuum shows: where the variance of Poisson noise would vanish, or 0.

    Needs brighter areas to draw the line through, and white noise: structure that is not resolved would raise it.
    """
    white = max(tiles.correlation(tiles.mean > -np.inf)) <= 0.1
    least = min(0.0, float(tiles.mean.min()))
    brightest = tiles.mean >= np.percentile(tiles.mean, 98)
    rise = float(np.median(tiles.mean[brightest])) - mode
    low, high = float(np.median(tiles.variance)), float(np.median(tiles.variance[brightest]))
    if not white or high <= low or high < 1.5 * low:
        return least
    return max(least, mode - low * rise / (high - low))


def _thick(tiles: _Tiles, rest: BoolArray, ground: float, mode: float, notices: list[str]) -> BoolArray:
    from scipy import ndimage

    half = [int(THICK_WIDTH_NM / 2 / edge) for edge in tiles.edge_nm]
    y, x = np.ogrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    disc = (y * tiles.edge_nm[0]) ** 2 + (x * tiles.edge_nm[1]) ** 2 <= (THICK_WIDTH_NM / 2) ** 2
    bright = rest & (tiles.mean - ground >= THICK_SIGNAL * (mode - ground))
    # A single noisy tile must not open a hole in a thick area; the opening then demands its width.
    bright = ndimage.median_filter(bright.astype(np.uint8), size=3, mode="nearest").astype(bool)
    padded = ndimage.binary_opening(np.pad(bright, [(n, n) for n in half], mode="edge"), disc)
    opened = padded[tuple(slice(n, n + length) for n, length in zip(half, bright.shape, strict=True))]
    kept = np.zeros_like(opened)
    trend = ndimage.uniform_filter(tiles.mean, size=5, mode="nearest")
    labels, count = ndimage.label(opened)
    for region in range(1, count + 1):
        here = ndimage.binary_erosion(labels == region, iterations=2, border_value=1)
        if not here.any():  # narrower than its own edge
            continue
        roughness = float(np.sqrt(np.mean((tiles.mean - trend)[here] ** 2)))
        if roughness <= THICK_ROUGHNESS * (float(np.mean(tiles.mean[here])) - ground):
            kept |= labels == region
    return _unless_own(kept, THICK_SHARE, "twice as bright as the rest", notices)


def _contamination(
    image: Float32Array,
    classes: npt.NDArray[np.uint8],
    pixel_nm: tuple[float, float],
    ground: float,
    mode: float,
    notices: list[str],
) -> BoolArray:
    from scipy import ndimage

    signal = mode - ground
    flat = _without_plane(image, classes == 0)
    flat[classes != 0] = np.median(flat[classes == 0])
    noise = max(float(np.median(np.abs(np.diff(flat, axis=axis)))) for axis in (0, 1)) / (0.6745 * np.sqrt(2))
    found = np.zeros(image.shape, dtype=bool)
    for scale in BLOB_SCALES_NM:
        sigma = [scale / side for side in pixel_nm]
        wide = [2 * int(8 * s) + 1 for s in sigma]
        if min(sigma) < 1 or any(w > n for w, n in zip(wide, image.shape, strict=True)):
            continue
        smooth = ndimage.gaussian_filter(flat, sigma, mode="nearest")
        above = smooth - float(np.median(smooth))
        texture = 1.4826 * float(np.median(np.abs(above)))
        least = max(BLOB_SIGNAL * signal, BLOB_DEVIATIONS * texture)
        slope = np.hypot(*np.gradient(smooth, *pixel_nm))
        # What white noise adds to a slope in 5 % of the places, after this smoothing.
        slope_noise = 1.645 * noise / np.sqrt(8 * np.pi * sigma[0] * sigma[1]) / scale
        labels, _ = ndimage.label(above > least / 2)
        for region, box in enumerate(ndimage.find_objects(labels), start=1):
            here, heights = labels[box] == region, above[box]
            height = float(np.percentile(heights[here], 99))
            core = here & (heights >= height / 2)
            ring = here & (heights >= 0.3 * height) & (heights <= 0.7 * height)
            radius = float(np.sqrt(core.sum() * pixel_nm[0] * pixel_nm[1] / np.pi))
            if height < least or not 4 * scale <= radius <= 8 * scale:
                continue
            # On the ring too: the edge of a small bright thing on a large one is a small part of both.
            steepest = max(float(np.percentile(slope[box][part], 95)) for part in (here, ring) if part.any())
            if (steepest - slope_noise) * radius <= BLOB_SLOPE * height:
                found[box] |= here
    return _unless_own(found, BLOB_SHARE, "soft bright blobs", notices)


def _unless_own(found: BoolArray, share: float, what: str, notices: list[str]) -> BoolArray:
    if found.mean() <= share:
        return found
    notices.append(f"{found.mean():.0%} of the survey is {what}: taken as the specimen's own, not masked")
    return np.zeros_like(found)


def _without_plane(image: Float32Array, valid: BoolArray) -> FloatArray:
    """The image less a plane fitted to its valid pixels (a slow change of thickness)."""
    y, x = (np.linspace(-1, 1, n) for n in image.shape)
    every = max(1, int(np.sqrt(image.size / 20_000)))  # three unknowns need no more pixels
    rows, cols = (every * index for index in np.nonzero(valid[::every, ::every]))
    design = np.stack([np.ones(rows.size), y[rows], x[cols]], axis=1)
    values = image[rows, cols].astype(np.float64)
    weight = np.ones(rows.size)
    plane: npt.NDArray[Any] = np.zeros(3)
    for _ in range(5):  # iteratively reweighted: blobs and pillars must not tilt the plane
        plane = np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)[0]
        off = np.abs(values - design @ plane)
        width = max(float(np.median(off)) * 2.0, 1e-12)
        weight = np.sqrt(np.minimum(1.0, width / np.maximum(off, 1e-12)))
    return np.asarray(image - (plane[1] * y[:, None] + plane[2] * x[None, :]), dtype=np.float64)


def _of_sites(classes: npt.NDArray[np.uint8], sites: SiteLattice, notices: list[str]) -> SurveyMasks:
    share = [classes == number for number in range(len(CLASS_NAMES))]
    vacuum, holes, thick, contamination = (
        site_means(inside, sites) >= 0.5 if inside.any() else np.zeros(sites.size, dtype=bool) for inside in share[1:]
    )
    for name, inside, mask in zip(CLASS_NAMES[1:], share[1:], (vacuum, holes, thick, contamination), strict=True):
        if inside.any():
            notices.append(f"{name}: {inside.mean():.1%} of the survey, {int(mask.sum())} of {sites.size} sites masked")
    return SurveyMasks(vacuum, holes, thick, contamination, classes, tuple(notices))
