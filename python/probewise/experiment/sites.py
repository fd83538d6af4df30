# SPDX-License-Identifier: BSD-3-Clause
"""Where a run may measure: the lattice or list of sites, the scan of each, and what is excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError
from probewise.experiment import checks
from probewise.experiment.config import Configuration
from probewise.types import (
    BoolArray,
    Context,
    FloatArray,
    IntArray,
    Lattice,
    Limits,
    RasterROI,
    Scan,
    ScanPath,
    SiteLattice,
)


@dataclass(frozen=True, eq=False)
class SiteList:
    """Sites at given centres; the attributes of `SiteLattice`.

    centres_nm  (sites, 2) float64 (y, x) from the field's top left corner
    grid        (rows, cols) where they form a lattice after all (windows of a replay), else None
    """

    centres_nm: FloatArray
    side_nm: float
    fov_nm: tuple[float, float]
    grid: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.grid or (len(self.centres_nm), 1)

    @property
    def size(self) -> int:
        return len(self.centres_nm)

    @cached_property
    def pitch_nm(self) -> tuple[float, float]:
        """(y, x) of the grid; without one the median distance to the nearest other site, and of one site its side."""
        points = self.centres_nm
        if len(points) < 2:
            return (self.side_nm, self.side_nm)
        if self.grid is not None:
            rows, cols = self.grid
            along = points.reshape(rows, cols, 2)
            down = float(along[1, 0, 0] - along[0, 0, 0]) if rows > 1 else self.side_nm
            across = float(along[0, 1, 1] - along[0, 0, 1]) if cols > 1 else self.side_nm
            return (down, across)
        from scipy.spatial import KDTree

        typical = float(np.median(KDTree(points).query(points, k=2)[0][:, 1]))
        return (typical, typical)


Sites = SiteLattice | SiteList


def sites_of(configuration: Configuration, fov_nm: tuple[float, float]) -> Sites:
    """The sites over a field of `fov_nm` (y, x); ConfigurationError where they do not fit it."""
    table = configuration.sites
    for problem in checks.geometry(configuration, fov_nm):
        raise ConfigurationError(problem)
    if table.list is not None:
        return SiteList(np.array(table.list, dtype=np.float64), table.side_nm, fov_nm)
    return SiteLattice(table.shape, table.side_nm, fov_nm)


def sites_table(sites: Sites) -> dict[str, Any]:
    """What the journal keeps of the sites; `stored_sites` reads it."""
    listed = isinstance(sites, SiteList)
    return {
        "fov_nm": sites.fov_nm,
        "side_nm": sites.side_nm,
        "lattice": None if listed else sites.shape,
        "centres_nm": sites.centres_nm if listed else None,
        "grid": sites.grid if isinstance(sites, SiteList) else None,
    }


def stored_sites(table: dict[str, Any]) -> Sites:
    fov = (float(table["fov_nm"][0]), float(table["fov_nm"][1]))
    if table["lattice"] is not None:
        return SiteLattice((table["lattice"][0], table["lattice"][1]), table["side_nm"], fov)
    grid = None if table["grid"] is None else (table["grid"][0], table["grid"][1])
    return SiteList(table["centres_nm"], table["side_nm"], fov, grid)


def is_lattice(sites: Sites) -> bool:
    return isinstance(sites, SiteLattice) or sites.grid is not None


def always_excluded(sites: Sites, configuration: Configuration) -> BoolArray:
    """(sites,) bool: the border ring of a lattice and `sites.exclude`."""
    excluded = np.zeros(sites.shape, dtype=bool)
    border = configuration.border
    if border and is_lattice(sites):
        excluded[:] = True
        excluded[border:-border, border:-border] = False
    flat = excluded.reshape(-1)
    flat[list(configuration.sites.exclude)] = True
    if flat.all():
        raise ConfigurationError("sites.exclude and sites.border leave no site free, expected at least one")
    return flat


def sacrificial_corner(sites: Sites, configuration: Configuration) -> tuple[float, float] | None:
    """Corner of the field, fractions (y, x), that is farthest from every candidate; None where each lies in one."""
    candidates = sites.centres_nm[~always_excluded(sites, configuration)]
    corners = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
    offset = np.abs(corners[:, None, :] * np.array(sites.fov_nm) - candidates) - sites.side_nm / 2
    clear = offset.max(axis=2).min(axis=1)
    best = int(clear.argmax())
    # Rounding: a candidate that ends in the corner itself is not clear of it.
    return (float(corners[best, 0]), float(corners[best, 1])) if clear[best] > 1e-9 * max(sites.fov_nm) else None


def averages(image: npt.NDArray[np.float32], sites: Sites) -> FloatArray:
    """(sites,) mean of an image of the whole field over each site's square, pixels at its edge counted by area."""
    rows, cols = image.shape
    half = sites.side_nm / 2
    y, x = (
        _coverage(length, sites.centres_nm[:, axis] - half, sites.centres_nm[:, axis] + half, sites.fov_nm[axis])
        for axis, length in enumerate((rows, cols))
    )
    return np.asarray(((y @ image) * x).sum(axis=1))


def _coverage(length: int, low_nm: FloatArray, high_nm: FloatArray, side_nm: float) -> FloatArray:
    """(sites, length) share of each pixel that lies between low and high, normalised to sum 1."""
    edges = np.arange(length + 1) * (side_nm / length)
    share = np.minimum(edges[1:], high_nm[:, None]) - np.maximum(edges[:-1], low_nm[:, None])
    share = np.maximum(share, 0.0)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


class SiteScans:
    """Turns a site into what is armed for it: its own field, shifted there, and a scan of that field."""

    def __init__(self, sites: Sites, configuration: Configuration, limits: Limits, pixel_nm: float) -> None:
        self.sites = sites
        table = configuration.scan
        if configuration.measure.kind == "point":
            self.shape = (1, 1)
            self.side_nm = pixel_nm
        else:
            side_px = checks.pixels(sites.side_nm, pixel_nm)
            window_px = configuration.descriptor.window_px if configuration.by_windows else None
            for problem in checks.windows(configuration, side_px, window_px):
                raise ConfigurationError(problem)
            if table.path == "hilbert":
                for problem in checks.power_of_two(sites.side_nm, side_px):
                    raise ConfigurationError(problem)
            self.shape = (side_px, side_px)
            self.side_nm = sites.side_nm
        self.pixel_nm = self.side_nm / self.shape[0]
        check_points(self.shape, limits, SITE)
        self.scan = make(table.path, self.shape, table.dwell_ns, limits, configuration.discard_lines)
        check_limits(self.scan, table.channels, self.side_nm, limits, SITE)
        if configuration.by_windows and isinstance(self.scan, ScanPath):
            _check_coverage(self.scan, configuration, self.pixel_nm)

    def __call__(self, site: int) -> tuple[Scan, Context]:
        centre = self.sites.centres_nm[site]
        middle = np.array(self.sites.fov_nm) / 2
        shift = centre - middle
        return self.scan, Context((self.side_nm, self.side_nm), (float(shift[0]), float(shift[1])))


def _check_coverage(path: ScanPath, configuration: Configuration, pixel_nm: float) -> None:
    """Refuse a path that fills no window of the descriptor, or too little of what a network looks at."""
    from probewise.descriptors.gaps import coverage, whole
    from probewise.descriptors.spectra import spread_corners, window_and_step

    table = configuration.descriptor
    try:
        if table.workflow == "linear":
            window, step = window_and_step(table.window_px, table.step_px, pixel_nm, path.shape)
            coverage(path, spread_corners(path.shape, window, step), window)
        else:
            whole(path)
    except ValueError as error:
        raise ConfigurationError(f"scan.path is {configuration.scan.path!r}: {error}") from error


def make(path: str, shape: tuple[int, int], dwell_ns: int, limits: Limits, discard_lines: int) -> Scan:
    """The scan of one frame; a point is a raster of one pixel."""
    if path == "raster" or shape == (1, 1):
        lines = 0 if shape == (1, 1) else discard_lines
        return RasterROI(shape, dwell_ns, discard_lines=lines, flyback_ns=limits.flyback_ns)
    from probewise.scan import make_scan

    try:
        return make_scan(path, shape, dwell_ns, limits=limits, discard_lines=discard_lines)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"scan.path is {path!r} with sites of {shape} pixels: {error}") from error


class Settings(NamedTuple):
    """The settings that a scan comes from: what is refused is said of them."""

    dwell: str
    pixels: str
    side: str


SITE = Settings("scan.dwell_ns", "sites.pixel_nm", "sites.side_nm")
SURVEY = Settings("survey.dwell_ns", "survey.shape", "instrument.fov_nm")


def check_points(shape: tuple[int, int], limits: Limits, settings: Settings) -> None:
    """Refuse a scan that the instrument cannot hold, before it is laid out."""
    if shape[0] * shape[1] > limits.max_points:
        raise ConfigurationError(
            f"{settings.pixels} gives a scan of {shape[0]} x {shape[1]} pixels, expected at most {limits.max_points} "
            f"in all on this instrument"
        )


def check_limits(scan: Scan, channels: Sequence[str], fov_nm: float, limits: Limits, settings: Settings) -> None:
    """Refuse before the beam moves what the instrument cannot do."""
    for channel in channels:
        if channel not in limits.channels:
            raise ConfigurationError(f"scan.channels holds {channel!r}, expected some of {list(limits.channels)}")
    dwell = scan.dwell_ns if isinstance(scan, RasterROI) else int(scan.dwell_ns.min())
    if not limits.dwell_min_ns <= dwell <= limits.dwell_max_ns:
        raise ConfigurationError(
            f"{settings.dwell} is {dwell}, expected {limits.dwell_min_ns} .. {limits.dwell_max_ns} on this instrument"
        )
    if dwell % limits.dwell_step_ns:
        below = dwell // limits.dwell_step_ns * limits.dwell_step_ns
        raise ConfigurationError(
            f"{settings.dwell} is {dwell}, expected a multiple of {limits.dwell_step_ns} on this instrument, "
            f"such as {below} or {below + limits.dwell_step_ns}"
        )
    if fov_nm > limits.max_fov_nm:
        raise ConfigurationError(
            f"{settings.side} gives a field of {fov_nm:g} nm, expected at most {limits.max_fov_nm:g} on this instrument"
        )


@dataclass(frozen=True)
class Candidates:
    """The surrogate's candidates: `refine` x `refine` a site, coordinates in pitches.

    of_site  (sites, refine**2) candidates that lie in a site
    """

    space: Lattice | FloatArray
    of_site: IntArray
    shape: tuple[int, int]
    sites: Sites
    refine: int

    @classmethod
    def over(cls, sites: Sites, refine: int) -> Candidates:
        unit = min(sites.pitch_nm)
        if not is_lattice(sites):
            assert refine == 1, "checked with the configuration"
            index = np.arange(sites.size, dtype=np.int64)[:, None]
            return cls(sites.centres_nm / unit, index, sites.shape, sites, 1)
        rows, cols = sites.shape
        shape = (rows * refine, cols * refine)
        spacing = (sites.pitch_nm[0] / unit / refine, sites.pitch_nm[1] / unit / refine)
        flat = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(rows, refine, cols, refine)
        of_site = np.ascontiguousarray(flat.transpose(0, 2, 1, 3).reshape(rows * cols, refine**2))
        return cls(Lattice(shape, spacing), of_site, shape, sites, refine)

    def nearest(self, site: int, centre_yx: FloatArray) -> IntArray:
        """(n,) candidate nearest to each window centre (n, 2), fractions of a frame taken at `site`."""
        if self.refine == 1:
            return np.full(len(centre_yx), self.of_site[site, 0], dtype=np.int64)
        positions_nm = self.sites.centres_nm[site] + (centre_yx - 0.5) * self.sites.side_nm
        cell = np.array(self.sites.pitch_nm) / self.refine
        row_col = np.floor(positions_nm / cell).astype(np.int64)
        np.clip(row_col, 0, np.array(self.shape) - 1, out=row_col)
        return np.asarray(row_col[:, 0] * self.shape[1] + row_col[:, 1])

    def to_sites(self, values: FloatArray) -> FloatArray:
        """(sites,) mean over the candidates of each site."""
        if self.refine == 1:
            return values
        return np.asarray(values[self.of_site].mean(axis=1))
