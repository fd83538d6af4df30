# SPDX-License-Identifier: BSD-3-Clause
"""Thermo Fisher AutoScript TEM. Not tried on a real instrument.

The calls are those that public code uses (asyncroscopy, pyAutoMic): metres and seconds, regions as left, top, width,
height of the field, (x, y) for points. The pixels of a region are those of a square whole frame, so that a site is
reached by a field whose whole frame has the site's pixel size, with the beam shifted to its centre.
"""

from __future__ import annotations

import importlib
import time
from typing import Any, Sequence

from probewise_agent.blocking import BlockingDriver
from probewise_agent.driver import DriverError
from probewise_agent.options import values_of
from probewise_agent.rasters import centre_nm, check_inside, check_raster, duration_ns, pixel_nm, turned

PACKAGE = "autoscript_tem_microscope_client"
SIZES = (256, 512, 1024, 2048, 4096)  # of whole frames
ON_GRID_PX = 1e-6


def _on_own_grid(scan: dict[str, Any]) -> tuple[int, int, int] | None:
    """Pixels of a whole frame, and the left and top one of the rectangle, where it lies on its own field's grid."""
    size = round(scan["shape"][1] / scan["size_yx"][1])
    first = [(c - s / 2) * size for c, s in zip(scan["centre_yx"], scan["size_yx"])]
    top, left = (round(value) for value in first)
    fits = abs(size * scan["size_yx"][1] - scan["shape"][1]) < ON_GRID_PX
    fits = fits and abs(size * scan["size_yx"][0] - scan["shape"][0]) < ON_GRID_PX
    fits = fits and max(abs(first[0] - top), abs(first[1] - left)) < ON_GRID_PX
    top -= scan["discard_lines"]
    return (size, left, top) if fits and size in SIZES and top >= 0 else None


def _in_larger_field(scan: dict[str, Any]) -> tuple[int, int, int]:
    """Pixels of the smallest whole frame that has the rectangle in its middle, and the left and top one of that."""
    rows, cols = scan["shape"]
    for size in SIZES:
        top = (size - rows) // 2 - scan["discard_lines"]
        if size >= cols and top >= 0:
            return size, (size - cols) // 2, top
    raise ValueError(f"shape is {(rows, cols)}, expected at most {SIZES[-1]} with the discarded lines twice")


class AutoScriptDriver(BlockingDriver):
    """
    fov_nm         side of the survey field
    channels       names of detectors
    max_fov_nm     the largest field that may be set
    max_shift_nm   the largest beam shift, from where it is when the driver connects
    settle_ms      wait after a change of field, shift or rotation
    flyback_us     of a line, as measured; AutoScript does not say it
    shift_matrix   (y, x) of beam shift for (y, x) on the frame, as calibrated
    rotation_sign  1 when a positive scan_rotation turns the scan counter-clockwise on the frame, else -1
    raises         ImportError without the vendor's package, DriverError when the microscope does not answer
    """

    name = "AutoScript TEM"
    capabilities = ("ROTATED_ROI", "BLANK", "SHIFT", "SIMULTANEOUS")

    def __init__(
        self,
        host: str = "localhost",
        port: int = 9095,
        *,
        fov_nm: float,
        channels: Sequence[str] = ("HAADF",),
        max_fov_nm: float = 1000.0,
        max_shift_nm: float = 500.0,
        settle_ms: float = 200.0,
        flyback_us: float = 100.0,
        shift_matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0)),
        rotation_sign: int = 1,
    ) -> None:
        client = importlib.import_module(PACKAGE)
        self._structures = importlib.import_module(PACKAGE + ".structures")
        self._enumerations = importlib.import_module(PACKAGE + ".enumerations")
        self._client = client
        self._address = (host, port)
        self.fov_nm = (float(fov_nm), float(fov_nm))
        self._max_shift_nm = float(max_shift_nm)
        self._settle_ns = round(settle_ms * 1e6)
        self._matrix = shift_matrix
        self._sign = rotation_sign
        self._optics: tuple[float, float, float, float] | None = None  # field, shift (y, x), rotation that are set
        super().__init__()
        self.limits = {
            "channels": list(channels),
            "dwell_min_ns": 100,
            "dwell_max_ns": 100_000_000,
            "dwell_step_ns": 1,
            "max_points": SIZES[-1] ** 2,
            "flyback_ns": round(flyback_us * 1e3),
            "settle_ns": self._settle_ns,
            "max_fov_nm": float(max_fov_nm),
        }
        self._found = self._quick.call(self._read_optics, 10.0)

    def _connect(self) -> Any:
        microscope = self._client.TemMicroscopeClient()
        microscope.connect(*self._address)
        return microscope

    def _read_optics(self, microscope: Any) -> tuple[float, float, float, float]:
        """Field, beam shift (y, x) in metres and scan rotation as the operator left them."""
        shift = microscope.optics.deflectors.beam_shift
        return microscope.optics.scan_field_of_view, shift.y, shift.x, microscope.optics.scan_rotation

    def _plan(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        check_raster(scan, context, channels, self.limits, rotates=True)
        check_inside(scan, context, self.fov_nm)
        down, along = pixel_nm(scan, context)
        if abs(down - along) > 1e-6 * along:
            raise ValueError(f"pixels are {down:g} x {along:g} nm, expected square ones: AutoScript has no others")
        size, left, top = _on_own_grid(scan) or _in_larger_field(scan)
        rows, cols = scan["shape"]
        lines = rows + scan["discard_lines"]
        field_nm = size * along
        if field_nm > self.limits["max_fov_nm"] * (1 + 1e-9):
            raise ValueError(
                f"pixels of {along:g} nm need a field of {field_nm:g} nm (whole frames have {size} pixels), "
                f"expected at most {self.limits['max_fov_nm']:g} nm"
            )
        angle = context["rotation_rad"]
        off = turned(((top + lines - rows / 2 - size / 2) * along, (left + cols / 2 - size / 2) * along), angle)
        centre = centre_nm(scan, context)
        shift = (centre[0] - off[0], centre[1] - off[1])
        if max(abs(shift[0]), abs(shift[1])) > self._max_shift_nm:
            raise ValueError(f"the beam would shift by {shift} nm, expected at most {self._max_shift_nm:g} nm")
        optics = (field_nm, round(shift[0], 6), round(shift[1], 6), angle)  # the same place is the same setting
        return {
            "scan": dict(scan),
            "channels": list(channels),
            "lines": lines,
            "size": size,
            "region": (left / size, top / size, cols / size, lines / size),
            "optics": optics,
            "duration_ns": duration_ns(scan) + (self._settle_ns if optics != self._optics else 0),
        }

    def _acquire(self, microscope: Any, plan: dict[str, Any]) -> list[Any]:
        if plan["optics"] != self._optics:
            self._set_optics(microscope, plan["optics"])
        structures = self._structures
        region = structures.Region(
            self._enumerations.RegionCoordinateSystem.RELATIVE, structures.Rectangle(*plan["region"])
        )
        settings = structures.StemAcquisitionSettings(
            dwell_time=plan["scan"]["dwell_ns"] * 1e-9,
            detector_types=plan["channels"],
            size=plan["size"],
            region=region,
        )
        return [image.data for image in microscope.acquisition.acquire_stem_images_advanced(settings)]

    def _set_optics(self, microscope: Any, optics: tuple[float, float, float, float]) -> None:
        field_nm, y, x, angle = optics
        (yy, yx), (xy, xx) = self._matrix
        self._optics = None  # unknown until all of it is set
        microscope.optics.scan_field_of_view = field_nm * 1e-9
        microscope.optics.scan_rotation = self._found[3] + self._sign * angle
        microscope.optics.deflectors.beam_shift = self._structures.Point(
            self._found[2] + (xy * y + xx * x) * 1e-9, self._found[1] + (yy * y + yx * x) * 1e-9
        )
        time.sleep(self._settle_ns * 1e-9)
        self._optics = optics

    def _set_blank(self, microscope: Any, on: bool) -> None:
        optics = microscope.optics
        blanker = getattr(optics, "blanker", optics)  # older versions: optics.blank()
        if on:
            blanker.blank()
        else:
            blanker.unblank()
        if blanker is not optics and bool(blanker.is_beam_blanked) != on:
            raise DriverError(f"the blanker says is_beam_blanked = {blanker.is_beam_blanked}, expected {on}")

    def _set_park(self, microscope: Any, yx: tuple[float, float]) -> None:
        survey = (self.fov_nm[0], 0.0, 0.0, 0.0)
        if self._optics != survey:
            self._set_optics(microscope, survey)
        microscope.optics.paused_scan_beam_position = [yx[1], yx[0]]

    def _release(self, microscope: Any) -> None:
        field, y, x, rotation = self._found
        microscope.optics.scan_field_of_view = field
        microscope.optics.scan_rotation = rotation
        microscope.optics.deflectors.beam_shift = self._structures.Point(x, y)
        microscope.disconnect()


def open_driver(**texts: str) -> AutoScriptDriver:
    """The driver from texts of a command line: `fov_nm` and its other options."""
    return AutoScriptDriver(**values_of(texts))
