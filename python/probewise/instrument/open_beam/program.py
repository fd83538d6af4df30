# SPDX-License-Identifier: BSD-3-Clause
"""From a scan of a field to the commands of the Open Beam Interface: calibration, checks, quantisation.

Positions stay floating-point numbers up to the DAC code and are rounded there, once, so that a pixel is scanned within
half a code of where it was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from probewise._core import open_beam as _core
from probewise.errors import ConfigurationError
from probewise.types import BoolArray, Context, FloatArray, IntArray, RasterROI, Scan, ScanPath

MIN_CODES_PER_PIXEL = 4  # fewer, and rounding to the DAC moves a pixel by more than an eighth of itself
CHUNK_NS = 2_000_000  # beam time that is sent at once
HEAD = len(_core.synchronize(True, True, 0))  # bytes before the pixels; they are written when the scan starts
SLACK_NM = 1e-6  # by which rounding may carry the edge of a field over the edge of the range

Affine = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Calibration:
    """What the protocol cannot say: fov_nm (y, x), the sample under the DACs' full range; which axes run backwards."""

    fov_nm: tuple[float, float]
    flip_y: bool = False
    flip_x: bool = False

    def placement(self, context: Context) -> Affine:
        """(origin, along_y, along_x) of the DAC codes of y and of x, for fractions (y, x) of the context's frame."""
        (height, width), (down, right) = self.fov_nm, context.fov_nm
        cosine, sine = math.cos(context.rotation_rad), math.sin(context.rotation_rad)
        middle_y, middle_x = height / 2 + context.shift_nm[0], width / 2 + context.shift_nm[1]
        y = (middle_y - (cosine * down - sine * right) / 2, cosine * down, -sine * right)
        x = (middle_x - (sine * down + cosine * right) / 2, sine * down, cosine * right)
        return _codes(y, height, self.flip_y), _codes(x, width, self.flip_x)

    def check(self, scan: Scan, reached: FloatArray, context: Context) -> None:
        """Refuse a scan that leaves the range, or whose pixels are too fine for it.

        reached  (n, 2) fractions of the context's frame: what the scan extends to
        raises   ConfigurationError with the figures in nm and codes
        """
        plain = Calibration(self.fov_nm).placement(context)
        with np.errstate(invalid="ignore"):  # NaN is refused below
            for name, axis, side in zip("yx", plain, self.fov_nm, strict=True):
                at_nm = (axis[0] + reached @ np.array(axis[1:])) * (side / _core.TOP_CODE)
                low, high = float(at_nm.min()), float(at_nm.max())
                if not (low >= -SLACK_NM and high <= side + SLACK_NM):
                    raise ConfigurationError(
                        f"scan with context fov_nm {context.fov_nm} and shift_nm {context.shift_nm} covers {name} "
                        f"{low:g} to {high:g} nm, expected within the DACs' range of {side:g} nm (fov_nm)"
                    )
        size = scan.size_yx if isinstance(scan, RasterROI) else (1.0, 1.0)
        for name, pixels, share, fov, side in zip(
            ("rows", "cols"), scan.shape, size, context.fov_nm, self._sides_met(context), strict=True
        ):
            codes = fov * share / pixels / side * _core.TOP_CODE
            if pixels > 1 and not codes >= MIN_CODES_PER_PIXEL:
                raise ConfigurationError(
                    f"{pixels} {name} over {fov * share:g} nm are {codes:.4g} codes a pixel of the DACs' {side:g} nm, "
                    f"expected at least {MIN_CODES_PER_PIXEL}: choose larger pixels or a higher magnification"
                )

    def _sides_met(self, context: Context) -> tuple[float, float]:
        """The range that the frame's y and x run along; the coarser one when they are turned."""
        return self.fov_nm if context.rotation_rad == 0 else (max(self.fov_nm),) * 2


def _codes(axis: tuple[float, float, float], side: float, flip: bool) -> tuple[float, float, float]:
    origin, along_y, along_x = (value * _core.TOP_CODE / side for value in axis)
    return (_core.TOP_CODE - origin, -along_y, -along_x) if flip else (origin, along_y, along_x)


@dataclass(frozen=True, eq=False)
class Program:
    """An encoded scan. Views the encoder's buffers, valid until the next one is encoded.

    raster         positions come from a region, not with each pixel
    data           HEAD bytes for the Synchronize, then all pixels
    samples_end, bytes_end, ns_end   (chunks,) int64, where each chunk ends
    samples        pixels that answer
    keep           (samples,) which of them are wanted, None for all
    executed       the scan with the positions that the DACs take
    """

    raster: bool
    data: npt.NDArray[np.uint8]
    samples_end: IntArray
    bytes_end: IntArray
    ns_end: IntArray
    samples: int
    keep: BoolArray | None
    executed: Scan

    def synchronize(self, cookie: int) -> None:
        self.data[:HEAD] = np.frombuffer(_core.synchronize(self.raster, True, cookie), dtype=np.uint8)


@dataclass(eq=False)
class Encoder:
    """Encodes one scan after the other into buffers that grow and are kept."""

    calibration: Calibration
    _bytes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    _chunks: IntArray = field(default_factory=lambda: np.empty((0, 3), dtype=np.int64))

    def encode(self, scan: Scan, context: Context) -> Program:
        """The commands of `scan`; a raster as region and runs where their steps of 1/256 code hold every pixel.

        A path's executed positions are those of its codes; a raster stays the one asked for, true to half a code.
        raises  ValueError naming what the protocol cannot hold
        """
        placement = self.calibration.placement(context)
        if isinstance(scan, RasterROI):
            axes = _raster_axes(scan, placement)
            if axes is not None:
                return self._raster(scan, axes)
            path = scan.path
            return self._vectors(path, placement, scan, None if path.active.all() else path.active)
        return self._vectors(scan, placement, _executed(scan, placement), None)

    def _vectors(self, path: ScanPath, placement: Affine, executed: Scan, keep: BoolArray | None) -> Program:
        samples = len(path.dwell_ns)
        self._make_room(_core.room_for_vectors(samples, path.duration_ns, CHUNK_NS))
        used = _core.encode_vectors(path.yx, path.dwell_ns, placement, CHUNK_NS, self._bytes[HEAD:], self._chunks)
        return self._program(False, used, samples, keep, executed)

    def _raster(self, roi: RasterROI, axes: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Program:
        samples = roi.shape[0] * roi.shape[1]
        self._make_room(_core.room_for_raster(samples, roi.duration_ns, CHUNK_NS))
        used = _core.encode_raster(*axes, roi.dwell_ns, CHUNK_NS, self._bytes[HEAD:], self._chunks)
        return self._program(True, used, samples, None, roi)

    def _program(self, raster: bool, used: int, samples: int, keep: BoolArray | None, executed: Scan) -> Program:
        samples_end, bytes_end, ns_end = self._chunks[:used].T.copy()
        bytes_end += HEAD
        return Program(raster, self._bytes[: bytes_end[-1]], samples_end, bytes_end, ns_end, samples, keep, executed)

    def _make_room(self, room: tuple[int, int]) -> None:
        chunks, bytes_ = room
        if len(self._bytes) < bytes_ + HEAD:
            self._bytes = np.empty(bytes_ + HEAD, dtype=np.uint8)
        if len(self._chunks) < chunks:
            self._chunks = np.empty((chunks, 3), dtype=np.int64)


def _raster_axes(roi: RasterROI, placement: Affine) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Region of a raster without retraces, turns or flips; None where it needs a position with each pixel."""
    (origin_y, down, across_y), (origin_x, across_x, right) = placement
    if roi.discard_lines or roi.flyback_ns or across_y or across_x or down < 0 or right < 0:
        return None
    axes = []
    for origin, along, pixels, centre, size in zip(
        (origin_y, origin_x), (down, right), roi.shape, roi.centre_yx, roi.size_yx, strict=True
    ):
        pitch = size / pixels
        axis = _core.raster_axis(origin + along * (centre - size / 2 + pitch / 2), along * pitch, pixels)
        if axis is None:
            return None
        axes.append(axis)
    return axes[0], axes[1]


def _executed(path: ScanPath, placement: Affine) -> ScanPath:
    codes = np.empty(path.yx.shape, dtype=np.uint16)
    _core.vector_codes(path.yx, placement, codes)
    axes = np.array(placement)
    yx = (codes - axes[:, 0]) @ np.linalg.inv(axes[:, 1:]).T
    return ScanPath(yx, path.dwell_ns, path.active, path.pixel, path.shape)
