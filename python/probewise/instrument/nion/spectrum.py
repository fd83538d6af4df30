# SPDX-License-Identifier: BSD-3-Clause
"""Spectra by Swift's synchronised acquisition: its spectrometer is read once at each pixel of a sub-scan."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, ScanError, ScanTimeout
from probewise.instrument.nion.swift import Swift
from probewise.types import Armed, Frame, RasterROI, Spectrum


class Spectrometer:
    """The camera behind Swift's spectrometer.

    Swift gives a position in a spectrum by the field that it shows: that is `field` from the first spectrum on, and
    what it was before again from `release` on.

    field  frame parameters of the survey field
    """

    def __init__(self, swift: Swift, field: Any) -> None:
        self._swift = swift
        self._field = field
        self._shown: tuple[int, Any] | None = None
        self._running = threading.Lock()

    def executed(self, scan: RasterROI, parameters: Any) -> RasterROI:
        """With the flyback that Swift puts between lines, which is a whole number of exposures."""
        source, exposure_ms = self._swift.source, scan.dwell_ns * 1e-6
        if self._swift.camera is None:
            raise ConfigurationError(f"Swift has no EELS camera beside {self._swift.name}, expected one for spectra")
        self._swift.device.prepare_synchronized_scan(parameters, camera_exposure_ms=exposure_ms)
        flyback_ns = int(source.calculate_flyback_pixels(parameters)) * scan.dwell_ns
        return RasterROI(scan.shape, scan.dwell_ns, scan.centre_yx, scan.size_yx, 0, flyback_ns)

    def measure(
        self, armed: Armed, parameters: Any, indexes: list[int], timeout_s: float, stop: Callable[[], None]
    ) -> Spectrum:
        """Blocks until the last pixel; `stop` is called after `timeout_s`."""
        self._show_field()
        settings = self._swift.camera.get_current_frame_parameters()
        settings.exposure_ms = armed.scan.dwell_ns * 1e-6
        settings.processing = "sum_project"
        late = threading.Event()

        def expire() -> None:
            late.set()
            stop()

        begun_ns = time.perf_counter_ns()
        timer = threading.Timer(timeout_s, expire)
        timer.start()
        try:
            with self._running:
                given = self._swift.source.grab_synchronized(
                    scan_frame_parameters=parameters,
                    camera=self._swift.camera,
                    camera_frame_parameters=settings,
                )
        finally:
            timer.cancel()
        if late.is_set():
            raise ScanTimeout(f"the spectra of scan {armed.sequence} did not come within {timeout_s:.3g} s")
        if given is None:
            raise ScanError(f"the spectra of scan {armed.sequence} were aborted")
        return _spectrum(armed, given, indexes, begun_ns)

    def abort(self) -> None:
        """End a measurement that runs; from any thread."""
        if self._running.locked():
            self._swift.source.grab_synchronized_abort()

    def release(self) -> None:
        if self._shown is not None:
            self._swift.source.set_frame_parameters(*self._shown)
            self._shown = None

    def _show_field(self) -> None:
        source = self._swift.source
        if self._shown is None:
            index = source.selected_profile_index
            self._shown = (index, source.get_frame_parameters(index))
            source.set_frame_parameters(index, self._field)


def _spectrum(armed: Armed, given: Any, indexes: list[int], begun_ns: int) -> Spectrum:
    """From (frames of the enabled channels in their own order, spectra)."""
    frames, spectra = given
    shape = armed.scan.shape
    counts = np.empty((len(indexes), *shape), dtype=np.float32)
    for row, index in enumerate(indexes):
        data = frames[sorted(indexes).index(index)].data
        if data.shape != shape:
            raise ScanError(f"a channel came with shape {data.shape}, expected {shape}")
        counts[row] = data
    cube = spectra[0].data
    axis = spectra[0].dimensional_calibrations[-1]
    if cube.ndim != 3 or cube.shape[:2] != shape or axis.units != "eV" or not axis.scale > 0:
        raise ScanError(
            f"spectra came with shape {cube.shape} and {axis.scale} {axis.units} a channel, expected {shape} pixels "
            f"and a rising axis in eV"
        )
    notices = () if cube.dtype == np.float32 else (f"spectra of {cube.dtype} became float32",)
    frame = Frame(
        counts=counts,
        channels=armed.channels,
        context=armed.context,
        scan=armed.scan,
        sequence=armed.sequence,
        started_ns=begun_ns,
        duration_ns=armed.duration_ns,
        valid=counts.size,
        notices=notices,
    )
    energy_eV = axis.offset + axis.scale * np.arange(cube.shape[2], dtype=np.float64)
    return Spectrum(np.ascontiguousarray(cube, dtype=np.float32), energy_eV, frame)
