# SPDX-License-Identifier: BSD-3-Clause
"""What a scan sees of a picture: where its samples fall, and what is added to them on request."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probewise.instrument.sampling import area_means, bilinear
from probewise.types import Armed, BoolArray, Context, Float32Array, FloatArray, IntArray, RasterROI, Scan

# Of the beam that the brightest part of the picture sends to the detector, when a dose is asked for: a HAADF picture
# has no absolute scale of its own, and a tenth is what some tens of nanometres of a heavy oxide scatter.
BRIGHT_FRACTION = 0.1
SAME_GRID_PX = 1e-6


@dataclass(frozen=True, slots=True)
class PictureNoise:
    """What is added to the picture on request; all zero by default.

    dose_e_per_A2     fluence of every frame, whatever its pixel and dwell; counts become detected electrons, the
                      picture's 0.1 % darkest value none and its 99.9 % brightest a tenth of the beam; None: no noise
    read_noise        standard deviation, counts
    drift_nm_per_min  of the sample, in a direction drawn from the seed
    jitter_px         standard deviation of the shift of each line (each sample of a vector path), scan pixels
    """

    dose_e_per_A2: float | None = None
    read_noise: float = 0.0
    drift_nm_per_min: float = 0.0
    jitter_px: float = 0.0


class PictureView:
    """A picture as the sample that fills the survey field.

    data      (rows, cols) float32
    fov_nm    (y, x) of the whole picture
    pixel_nm  (y, x) of its pixels
    """

    def __init__(self, data: Float32Array, fov_nm: tuple[float, float], noise: PictureNoise, seed: int) -> None:
        self.fov_nm = fov_nm
        self.pixel_nm = (fov_nm[0] / data.shape[0], fov_nm[1] / data.shape[1])
        self._data = data
        self._noise = noise
        self._seed = seed
        angle = 2 * math.pi * self._random(0).random()
        drift_nm_per_ns = noise.drift_nm_per_min / 60e9
        self._drift_nm_per_ns = (drift_nm_per_ns * math.sin(angle), drift_nm_per_ns * math.cos(angle))
        dark, bright = np.percentile(data, (0.1, 99.9))
        self._dark, self._range = float(dark), float(bright - dark) or 1.0

    def check_inside(self, yx: FloatArray, context: Context) -> None:
        """ValueError when a position (n, 2), in fractions of the context, is not on the picture."""
        with np.errstate(over="ignore", invalid="ignore"):  # huge fractions become infinite and are refused below
            px = self._positions_px(yx, context)
        # Also refuses NaN. A raster may reach 1e-9 of its field beyond it, which is 1e-5 of 8192 pixels.
        if not ((px >= -1e-5) & (px <= np.array(self._data.shape) + 1e-5)).all():
            with np.errstate(over="ignore"):
                low, high = (px.min(axis=0) * self.pixel_nm), (px.max(axis=0) * self.pixel_nm)
            raise ValueError(
                f"scan reaches from ({low[0]:.4g}, {low[1]:.4g}) to ({high[0]:.4g}, {high[1]:.4g}) nm (y, x), "
                f"expected within the picture, 0 to ({self.fov_nm[0]:.4g}, {self.fov_nm[1]:.4g}) nm"
            )

    def fill(self, armed: Armed, clock_ns: int, out: Float32Array) -> tuple[str, ...]:
        """Counts of the armed scan begun at `clock_ns` into `out` (samples,); returns what was done to them."""
        noise, random, notices = self._noise, self._random(armed.sequence), []
        moved = noise.drift_nm_per_min > 0 or noise.jitter_px > 0
        scan, context = armed.scan, armed.context
        step_px = self._step_px(scan, context)
        values = None
        if isinstance(scan, RasterROI) and not moved and not context.rotation_rad:
            values, said = self._on_grid(scan, context, step_px)
            notices += said
        if values is None:
            yx, time_ns = _samples_of(scan)
            px = self._positions_px(yx, context)
            if moved:
                px = px + self._displacement_px(scan, clock_ns + time_ns, step_px, random)
            outside: BoolArray = np.asarray(((px < 0) | (px > np.array(self._data.shape))).any(axis=-1))
            notices += _resampled(step_px, outside)
            values = bilinear(self._data, px[..., 0], px[..., 1])
        values = values.reshape(-1)
        if noise.dose_e_per_A2 is not None:
            area = 100 * step_px[0] * self.pixel_nm[0] * step_px[1] * self.pixel_nm[1]
            bright = noise.dose_e_per_A2 * area * BRIGHT_FRACTION
            notices.append(f"Poisson noise of {noise.dose_e_per_A2:g} e/A^2: counts are detected electrons")
            values = random.poisson(np.clip((values - self._dark) / self._range, 0, None) * bright).astype(np.float64)
        if noise.read_noise > 0:
            values = values + noise.read_noise * random.standard_normal(values.size)
        out[:] = values
        return tuple(notices)

    def _step_px(self, scan: Scan, context: Context) -> tuple[float, float]:
        size = scan.size_yx if isinstance(scan, RasterROI) else (1.0, 1.0)
        steps = [context.fov_nm[a] * size[a] / scan.shape[a] / self.pixel_nm[a] for a in (0, 1)]
        return steps[0], steps[1]

    def _on_grid(
        self, scan: RasterROI, context: Context, step_px: tuple[float, float]
    ) -> tuple[FloatArray | None, list[str]]:
        """A raster along the picture's axes: its very pixels where the grids coincide, means where it is coarser."""
        first = np.array(scan.centre_yx) - np.array(scan.size_yx) / 2
        corner = self._positions_px(first, context)
        rows, cols = scan.shape
        start = np.rint(corner).astype(np.int64)
        off = [abs(corner[a] - start[a]) + abs(step_px[a] - 1) * scan.shape[a] for a in (0, 1)]
        if max(off) < SAME_GRID_PX * max(self._data.shape):
            y, x = (int(min(max(start[a], 0), self._data.shape[a] - scan.shape[a])) for a in (0, 1))
            return self._data[y : y + rows, x : x + cols].astype(np.float64), []
        if max(step_px) <= 1 + SAME_GRID_PX:
            return None, []
        edges = [np.clip(corner[a] + np.arange(scan.shape[a] + 1) * step_px[a], 0, self._data.shape[a]) for a in (0, 1)]
        said = f"each pixel is the mean of {step_px[0]:.3g} x {step_px[1]:.3g} pixels of the picture"
        return area_means(self._data, edges[0], edges[1]), [said]

    def _displacement_px(
        self, scan: Scan, time_ns: IntArray, step_px: tuple[float, float], random: np.random.Generator
    ) -> FloatArray:
        shift = time_ns[..., None] * np.array(self._drift_nm_per_ns) / np.array(self.pixel_nm)
        jitter = self._noise.jitter_px
        if jitter > 0 and isinstance(scan, RasterROI):
            shift[..., 1] += jitter * step_px[1] * random.standard_normal((scan.shape[0], 1))
        elif jitter > 0:
            shift += jitter * np.array(step_px) * random.standard_normal(shift.shape)
        return np.asarray(shift)

    def _random(self, sequence: int) -> np.random.Generator:
        # Counter-based: noise depends on the seed and the frame's number alone, so that a resumed run repeats it.
        return np.random.Generator(np.random.Philox(key=np.array([self._seed, sequence], dtype=np.uint64)))

    def _positions_px(self, yx: FloatArray, context: Context) -> FloatArray:
        """Fractions (..., 2) of the context as positions in the picture's pixels."""
        offset = (yx - 0.5) * np.array(context.fov_nm)
        if context.rotation_rad:
            sine, cosine = math.sin(context.rotation_rad), math.cos(context.rotation_rad)
            y, x = offset[..., 0], offset[..., 1]
            offset = np.stack([y * cosine - x * sine, x * cosine + y * sine], axis=-1)
        centre = np.array(self.fov_nm) / 2 + np.array(context.shift_nm)
        return np.asarray((centre + offset) / np.array(self.pixel_nm))


def _samples_of(scan: Scan) -> tuple[FloatArray, IntArray]:
    """Fractions (..., 2) of the samples that are kept, and when after the start each is taken."""
    if not isinstance(scan, RasterROI):
        return scan.yx, np.cumsum(scan.dwell_ns) - scan.dwell_ns
    rows, cols = scan.shape
    y = scan.centre_yx[0] + ((np.arange(rows) + 0.5) / rows - 0.5) * scan.size_yx[0]
    x = scan.centre_yx[1] + ((np.arange(cols) + 0.5) / cols - 0.5) * scan.size_yx[1]
    line_ns = cols * scan.dwell_ns + scan.flyback_ns
    time_ns = (scan.discard_lines + np.arange(rows))[:, None] * line_ns + np.arange(cols) * scan.dwell_ns
    return np.stack(np.broadcast_arrays(y[:, None], x[None, :]), axis=-1), time_ns


def _resampled(step_px: tuple[float, float], outside: BoolArray) -> list[str]:
    notices = [f"interpolated between the pixels of the picture, steps of {step_px[0]:.3g} x {step_px[1]:.3g} of them"]
    if outside.any():
        notices.append(f"{outside.mean():.1%} of the samples lie beyond the picture's edge, whose value is repeated")
    return notices
