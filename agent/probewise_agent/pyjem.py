# SPDX-License-Identifier: BSD-3-Clause
"""JEOL PyJEM. Not tried on a real instrument.

The calls are those of PyJEM's own docstrings: microseconds, pixels from the top left corner as X, Y, Width, Height, a
snapshot as little-endian 16-bit numbers that takes as long as it takes. Detectors are read one after another. A site
is a rectangle on the pixel grid of the survey field; one that does not lie on such a grid is refused.
"""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np

from probewise_agent.blocking import BlockingDriver
from probewise_agent.driver import DriverError
from probewise_agent.options import values_of
from probewise_agent.rasters import centre_nm, check_inside, check_raster, duration_ns, pixel_nm

PACKAGE = "PyJEM"
GRIDS = (256, 512, 1024, 2048, 4096)  # pixels along the survey field
SPOT_STEPS = 4096
# As PyJEM's docstring of set_scanmode counts; asyncroscopy sends 3 for an area: compare with the instrument.
SCAN, AREA, SPOT = 0, 1, 3
ON_GRID_PX = 1e-3


class PyJemDriver(BlockingDriver):
    """
    fov_nm      side of the survey field, as calibrated at the magnification that is set
    host        of TEMCenter's detector service, None: PyJEM's own setting
    channels    names of detectors; empty: those that are attached
    flyback_us  of a line, as measured; PyJEM does not say it
    raises      ImportError without PyJEM, DriverError when the microscope does not answer
    """

    name = "PyJEM"

    def __init__(
        self, host: str | None = None, *, fov_nm: float, channels: Sequence[str] = (), flyback_us: float = 100.0
    ) -> None:
        self._detector = importlib.import_module(PACKAGE + ".detector")
        self._tem3 = importlib.import_module(PACKAGE + ".TEM3")
        self._host = host
        self.fov_nm = (float(fov_nm), float(fov_nm))
        super().__init__()
        attached = list(self._quick.call(lambda _: self._detector.get_attached_detector(), 10.0))
        wanted = list(channels) or attached
        if not wanted or not set(wanted) <= set(attached):
            raise DriverError(f"channels is {wanted}, expected some of the attached detectors: {', '.join(attached)}")
        self.limits = {
            "channels": wanted,
            "dwell_min_ns": 1000,
            "dwell_max_ns": 1_000_000,
            "dwell_step_ns": 1000,
            "max_points": GRIDS[-1] ** 2,
            "flyback_ns": round(flyback_us * 1e3),
            "max_fov_nm": self.fov_nm[0],
        }

    def _connect(self) -> Any:
        if self._host is not None:
            self._detector.set_ip(self._host)
        return self._tem3.Def3()

    def _plan(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        check_raster(scan, context, channels, self.limits, rotates=False)
        check_inside(scan, context, self.fov_nm)
        grid = self._grid(pixel_nm(scan, context))
        step_nm = self.fov_nm[0] / grid
        rows, cols = scan["shape"]
        corner = [
            (centre + side / 2) / step_nm - count / 2
            for centre, side, count in zip(centre_nm(scan, context), self.fov_nm, (rows, cols))
        ]
        top, left = (round(value) for value in corner)
        off = max(abs(corner[0] - top), abs(corner[1] - left))
        if off > ON_GRID_PX:
            raise ValueError(
                f"the rectangle's corner (y, x) is at pixel ({corner[0]:.3f}, {corner[1]:.3f}) of the survey field's "
                f"{grid} x {grid}, expected whole pixels"
            )
        discard = scan["discard_lines"]
        if top < discard:
            raise ValueError(f"discard_lines is {discard} with {top} lines above the rectangle, expected no more")
        lines = rows + discard
        return {
            "scan": dict(scan),
            "channels": list(channels),
            "lines": lines,
            "grid": grid,
            "area": (cols, lines, left, top - discard),
            "duration_ns": len(channels) * duration_ns(scan),
        }

    def _grid(self, pixel: tuple[float, float]) -> int:
        """Pixels along the survey field that make pixels of this size."""
        counts = [side / length for side, length in zip(self.fov_nm, pixel)]
        for grid in GRIDS:
            if max(abs(count - grid) for count in counts) < ON_GRID_PX:
                return grid
        known = ", ".join(f"{self.fov_nm[0] / grid:.6g}" for grid in GRIDS)
        raise ValueError(f"pixels are {pixel[0]:.6g} x {pixel[1]:.6g} nm (y, x), expected square ones of {known} nm")

    def _acquire(self, _: Any, plan: dict[str, Any]) -> list[Any]:
        width, height, x, y = plan["area"]
        whole = (width, height) == (plan["grid"], plan["grid"])
        images = []
        for name in plan["channels"]:
            detector = self._detector.Detector(name)
            detector.set_exposuretime_value(plan["scan"]["dwell_ns"] / 1000)
            detector.set_imaging_area(plan["grid"], plan["grid"])
            if whole:
                detector.set_scanmode(SCAN)
            else:
                detector.set_scanmode(AREA)
                detector.set_areamode_imagingarea(width, height, x, y)
            raw = detector.snapshot_rawdata()
            if len(raw) != 2 * width * height:
                raise DriverError(f"{len(raw)} bytes came from {name}, expected 2 x {width} x {height}")
            images.append(np.frombuffer(raw, dtype="<i2").reshape(height, width))
        return images

    def _set_blank(self, deflector: Any, on: bool) -> None:
        deflector.SetBeamBlank(1 if on else 0)

    def _set_park(self, _: Any, yx: tuple[float, float]) -> None:
        detector = self._detector.Detector(self.limits["channels"][0])
        detector.set_scanmode(SPOT)
        detector.set_spotposition(round(yx[1] * SPOT_STEPS), round(yx[0] * SPOT_STEPS))


def open_driver(**texts: str) -> PyJemDriver:
    """The driver from texts of a command line: `fov_nm` and its other options."""
    return PyJemDriver(**values_of(texts))
