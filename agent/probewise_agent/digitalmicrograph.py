# SPDX-License-Identifier: BSD-3-Clause
"""Gatan DigitalMicrograph with DigiScan, from the Python inside it. Not tried on a real instrument.

The calls are those of Gatan's script documentation, sent as script text: microseconds, degrees, pixels of a reference
image as top, left, bottom, right, points as (x, y). A whole frame of the survey field is the reference; sites are
sub-regions of the last one, sampled by the image that they are acquired into.
"""

from __future__ import annotations

import importlib
from typing import Any, Sequence

import numpy as np

from probewise_agent.blocking import BlockingDriver
from probewise_agent.driver import DriverError
from probewise_agent.options import values_of
from probewise_agent.rasters import centre_nm, check_inside, check_raster, duration_ns, pixel_nm

MODULE = "DigitalMicrograph"
DEPTH_BYTES = 4
WHOLE = 1e-9  # of the field


class DigitalMicrographDriver(BlockingDriver):
    """
    fov_nm      side of the survey field, as calibrated at the magnification that is set
    signals     index of each DigiScan signal by its name
    flyback_us  of a line, as DigiScan's setup says
    dwell_us    shortest and longest pixel time of the device, as DSGetMinPixelTime and DSGetMaxPixelTime say
    raises      ImportError outside DigitalMicrograph
    """

    name = "Gatan DigitalMicrograph"

    def __init__(
        self,
        *,
        fov_nm: float,
        signals: dict[str, int] | None = None,
        flyback_us: float = 500.0,
        dwell_us: tuple[float, float] = (1.0, 400_000.0),
    ) -> None:
        self._dm = importlib.import_module(MODULE)
        self.fov_nm = (float(fov_nm), float(fov_nm))
        self._signals = {"HAADF": 0} if signals is None else dict(signals)
        self._references: dict[str, Any] = {}  # the last whole frame of each signal: a DM image
        super().__init__()
        self.limits = {
            "channels": list(self._signals),
            "dwell_min_ns": round(dwell_us[0] * 1e3),
            "dwell_max_ns": round(dwell_us[1] * 1e3),
            "dwell_step_ns": 100,
            "max_points": 4096 * 4096,
            "flyback_ns": round(flyback_us * 1e3),
            "max_fov_nm": self.fov_nm[0],
        }

    def _connect(self) -> Any:
        return self._dm.Py_Microscope()

    def _plan(self, scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
        check_raster(scan, context, channels, self.limits, rotates=False)
        check_inside(scan, context, self.fov_nm)
        if len(channels) != 1:
            raise ValueError(f"channels is {list(channels)}, expected one: a sub-region is acquired with one signal")
        rows, cols = scan["shape"]
        down, along = pixel_nm(scan, context)
        plan = {
            "scan": dict(scan),
            "channels": list(channels),
            "lines": rows + scan["discard_lines"],
            "duration_ns": duration_ns(scan),
        }
        if abs(rows * down - self.fov_nm[0]) + abs(cols * along - self.fov_nm[1]) < WHOLE * self.fov_nm[0]:
            if rows != cols or scan["discard_lines"]:
                raise ValueError(
                    f"shape is {(rows, cols)}, discard_lines {scan['discard_lines']}, expected as many rows as columns "
                    "and no discarded lines for a frame of the whole survey field"
                )
            return {**plan, "region": None}
        if channels[0] not in self._references:
            raise ValueError(f"{channels[0]} has no reference image yet, expected a frame of the survey field before")
        y, x = (centre / side + 0.5 for centre, side in zip(centre_nm(scan, context), self.fov_nm))
        half = (rows * down / self.fov_nm[0] / 2, cols * along / self.fov_nm[1] / 2)
        top = y - half[0] - scan["discard_lines"] * down / self.fov_nm[0]
        if top < -WHOLE:
            raise ValueError(f"discard_lines is {scan['discard_lines']}, expected no more than there is room above")
        return {**plan, "region": (top, x - half[1], y + half[0], x + half[1])}

    def _acquire(self, _: Any, plan: dict[str, Any]) -> list[Any]:
        signal = plan["channels"][0]
        cols = plan["scan"]["shape"][1]
        image = self._dm.CreateImage(np.zeros((plan["lines"], cols), dtype=np.uint32))
        pixel_us = f"{plan['scan']['dwell_ns'] / 1000:g}"
        if plan["region"] is None:
            self._dm.ExecuteScriptString(
                f"number p = DSCreateParameters({cols}, {cols}, 0, {pixel_us}, 0)\n"
                f"DSSetParametersSignal(p, {self._signals[signal]}, {DEPTH_BYTES}, 1, {image.GetID()})\n"
                "DSStartAcquisition(p, 0, 1)\n"
                "DSDeleteParameters(p)\n"
            )
            old, self._references[signal] = self._references.get(signal), image
            if old is not None:
                self._dm.DeleteImage(old)
            return [image.GetNumArray().copy()]
        reference = self._references[signal]
        side = reference.GetNumArray().shape[0]
        edges = ", ".join(repr(min(max(edge, 0.0), 1.0) * side) for edge in plan["region"])  # rounding of 1e-9 only
        self._dm.ExecuteScriptString(
            f"image reference := FindImageByID({reference.GetID()})\n"
            f"image target := FindImageByID({image.GetID()})\n"
            f"DSScanSubRegion(reference, target, {edges}, {pixel_us})\n"
        )
        values = image.GetNumArray().copy()  # DM shares the memory with numpy
        self._dm.DeleteImage(image)
        return [values]

    def _stop(self, _: Any) -> None:
        self._dm.ExecuteScriptString("DSStopAcquisition(-1)\n")

    def _set_blank(self, microscope: Any, on: bool) -> None:
        microscope.SetBeamBlanked(on)

    def _set_park(self, _: Any, yx: tuple[float, float]) -> None:
        if not self._references:
            raise DriverError("the beam cannot be parked yet, expected a frame of the survey field before")
        reference = next(iter(self._references.values()))
        rows, cols = reference.GetNumArray().shape
        self._dm.ExecuteScriptString(
            f"image reference := FindImageByID({reference.GetID()})\n"
            "DSSetScanControl(1)\n"
            f"DSPositionBeam(reference, {yx[1] * cols!r}, {yx[0] * rows!r})\n"
        )


def open_driver(**texts: str) -> DigitalMicrographDriver:
    """The driver from texts of a command line: `fov_nm` and its other options."""
    return DigitalMicrographDriver(**values_of(texts))
