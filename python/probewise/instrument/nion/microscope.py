# SPDX-License-Identifier: BSD-3-Clause
"""Nion Swift as an instrument, by the scan device under its acquisition: partial reads, no throttle.

Swift's own record waits 50 ms between reads (`record_immediate` takes 84 ms beyond a scan of 41 ms), so that the device
is driven as Swift's acquisition thread drives it. Swift does not know of these scans: its panels keep their state, and
nothing keeps Swift from scanning as well. A scan is refused while Swift views or records.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import check_request
from probewise.instrument.nion.geometry import FEWEST_CODES, SubScan, SurveyField
from probewise.instrument.nion.lines import Lines
from probewise.instrument.nion.spectrum import Spectrometer
from probewise.instrument.nion.swift import Swift, running, simulator
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan, Spectrum

USIM_FOV_NM = 200.0
USIM_BLANKER = "C_Blank"
CONFIRM_MS = 1000  # within which the blanker has to say that it did
STALE_READS = 8  # reads of other frames that one frame may drop
IDLE_READ_S = 0.0005  # a read that brings no line and returns sooner is not repeated at once
EARLY = 0.95  # of its dwell times: a frame that is complete before was cut by someone


def open_nion(
    rest: str,
    *,
    fov_nm: float | tuple[float, float] | None = None,
    blanker: str | None = None,
    dac_bits: int = 16,
    sample: str | None = None,
) -> NionInstrument:
    """Open "nion:", the microscope of the Swift that this runs in, or "nion:usim", Nion's simulator without a window.

    fov_nm    sides (y, x) of the survey field; None: the field that Swift shows, and 200 nm of the simulator
    blanker   name of the control that blanks where it is 1; None: no blanker, and C_Blank of the simulator
    dac_bits  of the scan generator, over the survey field
    sample    of the simulator: flakes (None), amorphous or particles
    raises    ConfigurationError without nionswift, or for an option out of range; InstrumentError where Swift has no
              microscope
    """
    if rest not in ("", "usim"):
        raise ConfigurationError(f"instrument.uri is 'nion:{rest}', expected nion: inside Swift, or nion:usim")
    simulated = rest == "usim"
    if sample is not None and not simulated:
        raise ConfigurationError(f"instrument option sample = {sample!r} belongs to nion:usim, expected none of nion:")
    if not 1 <= dac_bits <= 32:
        raise ConfigurationError(f"instrument option dac_bits = {dac_bits!r}, expected 1 to 32")
    fov = USIM_FOV_NM if simulated and fov_nm is None else fov_nm
    sides = None if fov is None else (fov, fov) if isinstance(fov, int | float) else (fov[0], fov[1])
    if sides is not None and not all(math.isfinite(side) and side > 0 for side in sides):
        raise ConfigurationError(f"instrument.fov_nm is {fov_nm}, expected a positive length, or two (y, x)")
    swift = simulator(sample or "flakes") if simulated else running()
    with contextlib.ExitStack() as undo:
        undo.callback(swift.release)
        instrument = NionInstrument(
            swift, f"nion:{rest}", sides, USIM_BLANKER if simulated and blanker is None else blanker, dac_bits
        )
        undo.pop_all()
    return instrument


class NionInstrument:
    """The eight verbs over a scan device of Nion Swift, and spectra. Made by `open_nion`.

    Every scan is a sub-scan of one field, the survey's, so that no field is changed between survey and sites. A
    position of the probe outside a scan goes to the device too. Without a blanker the safe state is the parked one.

    fov_nm   (y, x) of the survey field
    swift    what is driven
    """

    def __init__(
        self, swift: Swift, source: str, fov_nm: tuple[float, float] | None, blanker: str | None, dac_bits: int
    ) -> None:
        self.source = source
        self.swift = swift
        self._device = swift.device
        shown = swift.source.get_current_frame_parameters()
        self.fov_nm = (shown.fov_nm, shown.fov_nm) if fov_nm is None else fov_nm
        self._field = SurveyField(self.fov_nm)
        self._blanker = self._checked(blanker)
        self._dac_bits = dac_bits
        self._parameters = self._survey_parameters(shown)
        self._context = swift.context(self._parameters)
        self._spectrometer = Spectrometer(swift, self._parameters)
        self._channels = tuple(str(self._device.get_channel_name(i)) for i in range(self._device.channel_count))
        self._enabled = tuple(self._device.channels_enabled)
        self._parked_yx = (0.0, 0.0)
        self._parked = False
        self._sequence = 0
        self._armed: Armed | None = None
        self._running: tuple[int, Any, float, int] | None = None
        self._spectrum_parameters: Any = None
        self._notices: tuple[str, ...] = ()
        self._aborted = threading.Event()
        self._closed = False

    @property
    def beam(self) -> str:
        """blanked, parked, scanning or on, as the blanker's control and the device have it."""
        if self._blanker is not None and self.swift.stem.TryGetVal(self._blanker)[1]:
            return "blanked"
        if self._device.is_scanning:
            return "scanning"
        return "parked" if self._parked else "on"

    def describe(self) -> tuple[Capability, Limits]:
        flags = Capability.ROTATED_ROI | Capability.PARTIAL_READ | Capability.ABORT | Capability.SHIFT
        flags |= Capability.SIMULTANEOUS
        if self._blanker is not None:
            flags |= Capability.BLANK
        return flags, Limits(
            channels=self._channels,
            dac_bits=self._dac_bits,
            flyback_ns=self._flyback_ns(self._parameters),
            max_fov_nm=min(self._field.side_nm, float(self._device.calculate_max_field_of_view(self._parameters))),
        )

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Refuse, with a ValueError, what leaves the survey field or the limits; else tell the device."""
        placed, executed = self._placed(scan, context, channels)
        self._enable(channels)
        parameters = self._told(placed, executed, channels)
        self._device.set_frame_parameters(parameters)
        executed = self._taken(placed, executed, context)
        self._sequence += 1
        self._armed = Armed(self._sequence, executed, context, tuple(channels), executed.duration_ns)
        return self._armed

    def start(self, armed: Armed) -> None:
        self._refuse_when_closed()
        if self._armed is None or armed.sequence != self._armed.sequence:
            raise ScanError(f"scan {armed.sequence} is not the one armed last, expected to start that one")
        self._refuse_when_busy()
        self._armed = None
        self._aborted.clear()
        self._parked = False
        begun = time.perf_counter_ns()
        self._running = (armed.sequence, self._device.start_frame(False), time.monotonic(), begun)

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """Lines go into `out` (channels, samples) as they come; see the protocol."""
        scan = armed.scan
        assert isinstance(scan, RasterROI)
        expected = (len(armed.channels), math.prod(scan.shape))
        with contextlib.ExitStack() as undo:
            undo.callback(self._abort_quietly)
            self._refuse_when_closed()
            if self._running is None or self._running[0] != armed.sequence:
                raise ScanError(f"scan {armed.sequence} does not run (aborted or never started), expected it to")
            if out.dtype != np.float32 or out.shape != expected or not out.flags.c_contiguous:
                raise ValueError(f"out is {out.dtype} of shape {out.shape}, expected C-contiguous float32 {expected}")
            counts = out.reshape(len(armed.channels), *scan.shape)
            notices = self._notices + self._read(armed, scan, counts, time.monotonic() + timeout_s)
            undo.pop_all()
        started_ns = self._running[3]
        self._running = None
        return Frame(
            counts=counts,
            channels=armed.channels,
            context=armed.context,
            scan=scan,
            sequence=armed.sequence,
            started_ns=started_ns,
            duration_ns=armed.duration_ns,
            valid=out.size,
            notices=notices,
        )

    def arm_spectrum(self, scan: RasterROI, context: Context, *, channels: Sequence[str]) -> Armed:
        placed, executed = self._placed(scan, context, channels)
        if executed.discard_lines:
            raise ValueError(f"discard_lines is {scan.discard_lines}, expected 0: a spectrum of a line costs its dose")
        if scan.shape == (1, 1):  # the scan may be over before Swift has its camera ready
            raise ValueError("scan has one pixel, expected at least two: a point is a small site of 2 x 2")
        self._spectrum_parameters = self._told(placed, replace(executed, flyback_ns=0), channels)
        executed = self._spectrometer.executed(executed, copy.copy(self._spectrum_parameters))
        self._sequence += 1
        self._armed = Armed(self._sequence, executed, context, tuple(channels), executed.duration_ns)
        return self._armed

    def measure_spectrum(self, armed: Armed, *, timeout_s: float) -> Spectrum:
        self._refuse_when_closed()
        if self._armed is None or armed.sequence != self._armed.sequence:
            raise ScanError(f"scan {armed.sequence} is not the one armed last, expected to measure that one")
        self._refuse_when_busy()
        self._armed = None
        self._aborted.clear()
        self._parked = False
        indexes = [self._channels.index(name) for name in armed.channels]
        with contextlib.ExitStack() as undo:
            undo.callback(self._abort_quietly)
            spectrum = self._spectrometer.measure(armed, self._spectrum_parameters, indexes, timeout_s, self.abort)
            self._refuse_when_aborted(armed)
            undo.pop_all()
        return spectrum

    def _abort_quietly(self) -> None:
        with contextlib.suppress(Exception):  # the error that is under way says more
            self.abort()

    def abort(self) -> None:
        """From any thread. Without a blanker the probe goes to where it was parked last, at first the corner (0, 0)."""
        self._aborted.set()
        failures: list[Exception] = []
        for step in (self._make_safe, self._device.cancel, self._device.stop, self._spectrometer.abort):
            try:
                step()
            except Exception as error:  # noqa: BLE001  the others have to be tried
                failures.append(error)
        if failures:
            raise InstrumentError(f"{self.swift.name} was not stopped: {failures[-1]}") from failures[-1]

    def park(self, yx: tuple[float, float] | None) -> None:
        self._refuse_when_closed()
        if yx is None:
            self._device.set_scan_context_probe_position(self._context, None)
            self._parked = False
            return
        if not all(0 <= part <= 1 for part in yx):
            raise ValueError(f"yx is {yx}, expected fractions of the survey field, 0 to 1")
        self._parked_yx = yx
        self._put_probe()

    def blank(self, on: bool) -> None:
        self._refuse_when_closed()
        self._set_blanker(on)

    def close(self) -> None:
        """Leave the beam safe and Swift's channels as they were; the simulator ends."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as undone:
            undone.callback(self.swift.release)
            undone.callback(self._spectrometer.release)
            undone.callback(self._restore_channels)
            self.abort()

    # What is told to the device

    def _placed(self, scan: Scan, context: Context, channels: Sequence[str]) -> tuple[SubScan, RasterROI]:
        self._refuse_when_closed()
        flags, limits = self.describe()
        check_request(scan, context, channels, capability=flags, limits=limits)
        assert isinstance(scan, RasterROI)  # VECTOR is not claimed
        placed, executed = self._field.place(scan, context)
        self._notices = ()
        if executed.discard_lines != scan.discard_lines:
            self._notices = ("no lines were discarded: above the first one the survey field ends",)
        codes = self._field.codes_a_pixel(placed, self._dac_bits)
        if codes < FEWEST_CODES:
            raise ValueError(
                f"a pixel spans {codes:.2g} steps of a {self._dac_bits} bit DAC over {self._field.side_nm:g} nm, "
                f"expected at least {FEWEST_CODES}: larger pixels or a smaller survey field"
            )
        return placed, executed

    def _survey_parameters(self, shown: Any) -> Any:
        """Swift's own settings, over a square of the survey field's larger side."""
        parameters = self.swift.source.scan_settings.get_frame_parameters_from_dict(shown.as_dict())
        rows, cols = shown.pixel_size
        parameters.pixel_size = (max(rows, cols), max(rows, cols))
        parameters.fov_nm = self._field.side_nm
        return parameters

    def _told(self, placed: SubScan, executed: RasterROI, channels: Sequence[str]) -> Any:
        parameters = self.swift.source.scan_settings.get_frame_parameters_from_dict(self._parameters.as_dict())
        parameters.pixel_time_us = executed.dwell_ns / 1000
        parameters.subscan_pixel_size = placed.shape
        parameters.subscan_fractional_center = placed.centre_yx
        parameters.subscan_fractional_size = placed.size_yx
        parameters.subscan_rotation = placed.rotation_rad
        parameters.enabled_channel_indexes = sorted(self._channels.index(name) for name in channels)
        if hasattr(parameters, "flyback_time_us"):
            parameters.flyback_time_us = executed.flyback_ns / 1000
        elif executed.flyback_ns:
            raise ValueError(f"flyback_ns is {executed.flyback_ns}, expected 0: {self.swift.name} has no setting of it")
        return parameters

    def _taken(self, placed: SubScan, asked: RasterROI, context: Context) -> RasterROI:
        """The scan as the device has it now."""
        now = self._device.current_frame_parameters
        taken = SubScan(
            tuple(now.subscan_pixel_size),
            tuple(now.subscan_fractional_center),
            tuple(now.subscan_fractional_size),
            float(now.subscan_rotation),
        )
        executed = self._field.executed(asked, context, placed, taken)
        dwell_ns = round(now.pixel_time_us * 1000)
        if dwell_ns == executed.dwell_ns and self._flyback_ns(now) == executed.flyback_ns:
            return executed
        return replace(executed, dwell_ns=dwell_ns, flyback_ns=self._flyback_ns(now))

    def _flyback_ns(self, parameters: Any) -> int:
        return round(1000 * getattr(parameters, "flyback_time_us", 0.0))

    def _enable(self, channels: Sequence[str]) -> None:
        """Those to come first: a device without any channel cancels."""
        wanted = [name in channels for name in self._channels]
        for index in sorted(range(len(wanted)), key=lambda index: not wanted[index]):
            if self._device.channels_enabled[index] != wanted[index]:
                self._device.set_channel_enabled(index, wanted[index])

    def _restore_channels(self) -> None:
        if any(self._enabled):
            self._enable([name for name, on in zip(self._channels, self._enabled, strict=True) if on])

    # Reading

    def _read(self, armed: Armed, scan: RasterROI, counts: Float32Array, deadline: float) -> tuple[str, ...]:
        assert self._running is not None
        _, frame, begun, _ = self._running
        lines = Lines(counts, [self._channels.index(name) for name in armed.channels], scan.discard_lines)
        skip, stale = 0, 0
        while True:
            self._refuse_when_aborted(armed)
            asked, before = time.monotonic(), lines.done
            elements, complete, bad, area, number, skip = self._device.read_partial(frame, skip)
            self._refuse_when_aborted(armed)
            if number != frame:
                stale, skip = stale + 1, 0
                if stale >= STALE_READS:
                    raise ScanError(f"frame {number} of {self.swift.name} came instead of {frame}, {stale} times")
            elif bad:
                raise ScanError(f"{self.swift.name} calls frame {frame} bad")
            else:
                lines.take(elements, area)
                if complete:
                    break
            now = time.monotonic()
            if now >= deadline:
                raise ScanTimeout(f"scan {armed.sequence} has {lines.done} lines of {lines.total} at its deadline")
            if lines.done == before and now - asked < IDLE_READ_S:
                self._aborted.wait(IDLE_READ_S)
        scheduled_s = lines.total * scan.shape[1] * scan.dwell_ns * 1e-9
        took_s = time.monotonic() - begun
        if lines.done < lines.total or took_s < EARLY * scheduled_s:
            raise ScanError(
                f"{self.swift.name} ended frame {frame} after {took_s:.3g} s of {scheduled_s:.3g} s with {lines.done} "
                f"lines of {lines.total}: something else stopped it"
            )
        return lines.notices

    def _refuse_when_aborted(self, armed: Armed) -> None:
        if self._aborted.is_set():  # a device that was cancelled calls its frame complete
            raise ScanError(f"scan {armed.sequence} was aborted")

    # The beam

    def _checked(self, blanker: str | None) -> str | None:
        if blanker is not None and not self.swift.stem.TryGetVal(blanker)[0]:
            raise ConfigurationError(f"instrument option blanker = {blanker!r} is no control of {self.swift.name}")
        return blanker

    def _set_blanker(self, on: bool) -> None:
        if self._blanker is None:
            raise InstrumentError(f"{self.source} has no blanker, expected the option blanker = NAME of a control")
        if not self.swift.stem.SetValAndConfirm(self._blanker, float(on), 1.0, CONFIRM_MS):
            raise InstrumentError(f"{self._blanker} did not become {float(on):g} within {CONFIRM_MS} ms")

    def _put_probe(self) -> None:
        position = self.swift.point(self._field.fraction(self._parked_yx))
        self._device.set_scan_context_probe_position(self._context, position)
        self._parked = True

    def _make_safe(self) -> None:
        if self._blanker is not None:
            self._set_blanker(True)
        else:
            self._put_probe()

    def _refuse_when_busy(self) -> None:
        source = self.swift.source
        if source.is_playing or source.is_recording or self._device.is_scanning:
            raise InstrumentError(f"Swift scans with {self.swift.name}, expected its view and record to be stopped")

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.source} is closed, expected it to be open")
