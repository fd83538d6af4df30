# SPDX-License-Identifier: BSD-3-Clause
"""Dose as fluence: electrons per area, area = max(pixel, probe), with flyback, discarded lines and retries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probewise.types import ELEMENTARY_CHARGE_C, Context, FloatArray, RasterROI, Scan

A2_PER_NM2 = 100.0


@dataclass(frozen=True)
class ScanDose:
    """What one scan costs.

    electrons           that arrive while it runs, masked samples included; None without a current
    fluence_e_per_A2    of its most exposed pixel; None without a current
    """

    duration_ns: int
    electrons: float | None
    fluence_e_per_A2: float | None


def electrons(duration_ns: float, current_pA: float) -> float:
    return current_pA * 1e-12 * duration_ns * 1e-9 / ELEMENTARY_CHARGE_C


def scan_dose(scan: Scan, context: Context, current_pA: float | None, probe_nm: float) -> ScanDose:
    """Electrons of a scan and the fluence of its most exposed pixel."""
    if current_pA is None:
        return ScanDose(scan.duration_ns, None, None)
    size = scan.size_yx if isinstance(scan, RasterROI) else (1.0, 1.0)
    rows, cols = scan.shape
    pixel_area_nm2 = context.fov_nm[0] * size[0] / rows * context.fov_nm[1] * size[1] / cols
    area_nm2 = max(pixel_area_nm2, np.pi / 4 * probe_nm**2)
    charge = electrons(_longest_on_a_pixel(scan), current_pA)
    return ScanDose(scan.duration_ns, electrons(scan.duration_ns, current_pA), charge / area_nm2 / A2_PER_NM2)


def _longest_on_a_pixel(scan: Scan) -> float:
    """ns of beam on the most exposed pixel; the flyback returns over its own line, discarded lines lie outside."""
    rows, cols = scan.shape
    if isinstance(scan, RasterROI):
        return scan.dwell_ns + scan.flyback_ns / cols
    row_col = np.clip((scan.yx * [rows, cols]).astype(np.int64), 0, [rows - 1, cols - 1])
    flat = row_col[:, 0] * cols + row_col[:, 1]
    return float(np.bincount(flat, weights=scan.dwell_ns, minlength=rows * cols).max())


def full_raster_ns(fov_nm: tuple[float, float], pixel_nm: float, dwell_ns: int) -> float:
    """Beam time of one raster of the whole field at a site's pixel size and dwell, without flyback."""
    return fov_nm[0] * fov_nm[1] / pixel_nm**2 * dwell_ns


@dataclass(frozen=True)
class Exposure:
    """How much of the field the sub-scans touched, and how often its most visited point."""

    fraction: float
    max_hits: int
    max_fluence: float


def exposure(
    centres_nm: FloatArray, side_nm: float, fluences: Sequence[float], fov_nm: tuple[float, float]
) -> Exposure:
    """Union, largest overlap and largest summed fluence of squares at `centres_nm` (frames, 2)."""
    if len(centres_nm) == 0:
        return Exposure(0.0, 0, 0.0)
    half = side_nm / 2
    edges = [np.unique(np.round(np.r_[centres_nm[:, axis] - half, centres_nm[:, axis] + half], 9)) for axis in (0, 1)]
    hits = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1), dtype=np.int64)
    fluence = np.zeros(hits.shape)
    for centre, value in zip(centres_nm, fluences, strict=True):
        rows, cols = (
            slice(*np.searchsorted(edge, np.round([middle - half, middle + half], 9)))
            for edge, middle in zip(edges, centre, strict=True)
        )
        hits[rows, cols] += 1
        fluence[rows, cols] += value
    areas = np.outer(np.diff(edges[0]), np.diff(edges[1]))
    fraction = float(areas[hits > 0].sum() / (fov_nm[0] * fov_nm[1]))
    return Exposure(fraction, int(hits.max()), float(fluence.max()))


def dose_map(
    centres_nm: FloatArray,
    side_nm: float,
    electrons_of: Sequence[float],
    survey_electrons: float,
    fov_nm: tuple[float, float],
    shape: tuple[int, int] = (256, 256),
) -> FloatArray:
    """(rows, cols) mean fluence in e/A^2 of each cell of the survey field."""
    cell = (fov_nm[0] / shape[0], fov_nm[1] / shape[1])
    field_nm2 = fov_nm[0] * fov_nm[1]
    fluence = np.full(shape, survey_electrons / field_nm2 / A2_PER_NM2)
    for centre, charge in zip(centres_nm, electrons_of, strict=True):
        shares = []
        for axis in (0, 1):
            starts = np.arange(shape[axis]) * cell[axis]
            low = np.maximum(starts, centre[axis] - side_nm / 2)
            high = np.minimum(starts + cell[axis], centre[axis] + side_nm / 2)
            shares.append(np.maximum(high - low, 0) / cell[axis])
        fluence += np.outer(*shares) * (charge / side_nm**2 / A2_PER_NM2)
    return fluence
