# SPDX-License-Identifier: BSD-3-Clause
"""A microscope behind Tango devices of asyncroscopy's shape, as "tango://HOST:PORT/DOMAIN/FAMILY/MEMBER[#dbase=no]".

The microscope device has the commands acquire_scanned_image(detectors), get_image_data_cached(index), blank_beam,
unblank_beam, place_beam([x, y]) and get_fov (m); a second one, SCAN, the attributes dwell_time (s), imsize (columns)
and scan_region ([left, top, width, height], fractions of the field). Everything that the shape has no word for is
refused: a rotation, a list of positions, thrown away lines, pixels that are not square.

Source: pycroscopy/asyncroscopy, electron_microscope.py and hardware/scan.py of 2026.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import check_position, check_request
from probewise.instrument.registry import hardware
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan

CALL_MS = 3000  # Tango's own default; its servers give up waiting for a busy device after 3.2 s
SAME = 1e-6  # relative: the shape's floats are float64, its field may have gone through float32
DURATION_FACTOR, BUSY_S = 1.5, 10.0  # of a scan's predicted time, and beyond, until the device takes commands again


@hardware
def open_tango(
    rest: str,
    *,
    scan: str,
    channels: Sequence[str] = ("HAADF",),
    flyback_ns: int = 0,
) -> TangoMicroscope:
    """Open "tango:REST", REST the address of the microscope device, `//HOST:PORT/a/b/c`, `#dbase=no` without database.

    scan        name (a/b/c) of the device with the scan's attributes, on the same server or database, or its address
    channels    detectors' names
    flyback_ns  of a line, beam on, as measured: the shape does not tell it, dose and durations need it
    raises      ConfigurationError without the extra `tango` or for an address that is none, InstrumentError when a
                device does not answer or has not the shape
    """
    try:
        import tango
    except ImportError as error:
        raise ConfigurationError(f"tango: needs PyTango ({error}): pip install 'probewise[tango]'") from error
    address, names = f"tango:{rest}", [str(name) for name in channels]
    host, _, device = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or ":" not in host or device.partition("#")[0].count("/") != 2:
        raise ConfigurationError(f"instrument.uri is {address!r}, expected tango://HOST:PORT/a/b/c or ...#dbase=no")
    if isinstance(channels, str) or not names or len({name.lower() for name in names}) != len(names):
        raise ConfigurationError(f"channels is {channels!r}, expected names of detectors, each once")
    if flyback_ns < 0:
        raise ConfigurationError(f"flyback_ns is {flyback_ns}, expected zero or more")
    if scan.count("/") == 2:
        scan = f"tango://{host}/{scan}" + ("#dbase=no" if address.endswith("#dbase=no") else "")
    return TangoMicroscope(tango, address, scan, tuple(names), flyback_ns)


class TangoMicroscope:
    """The eight verbs over the two devices. Made by `open_tango`.

    source  its address
    fov_nm  (y, x) of the survey field, the device's field when it was opened; a scan in another one is refused

    A part of the field is a rectangle of it, so that a shifted site is reached and a larger one is not. BLANK is
    claimed where the device has beam_state, by which each blanking is checked: asyncroscopy's base class takes
    blank_beam and does nothing. ABORT is not: a device takes no command while it scans, so `abort` returns when that
    frame has ended and the beam is blanked.
    """

    truth = None

    def __init__(self, tango: Any, address: str, scan: str, channels: tuple[str, ...], flyback_ns: int) -> None:
        self._tango = tango
        self.source = address
        with self._errors():
            self._microscope, self._scanner, self._safety = (self._proxy(address) for _ in range(3))
            self._settings = self._proxy(scan)
            self._checks_blanker = "beam_state" in {str(n).lower() for n in self._microscope.get_attribute_list()}
            dwell = self._settings.get_attribute_config("dwell_time")
        self._dwell_ns = _range_ns(dwell)
        self._channels = channels
        self._flyback_ns = flyback_ns
        side = self._field_nm()
        self.fov_nm = (side, side)
        self._rest_yx = (0.0, 0.0)
        self._sequence = 0
        self._armed: tuple[Armed, dict[str, Any]] | None = None
        self._running: tuple[Armed, dict[str, Any], int, int] | None = None
        self._busy_until = 0.0
        self._cut = threading.Event()
        self._closed = False

    def describe(self) -> tuple[Capability, Limits]:
        least, most = self._dwell_ns
        flags = Capability.SHIFT | (Capability.BLANK if self._checks_blanker else Capability.NONE)
        return flags, Limits(
            channels=self._channels,
            dwell_min_ns=least,
            dwell_max_ns=most,
            flyback_ns=self._flyback_ns,
            max_fov_nm=max(self.fov_nm),
        )

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Refuse what the shape cannot do, else write dwell_time, imsize and scan_region."""
        self._require_open()
        capability, limits = self.describe()
        check_request(scan, context, channels, capability=capability, limits=limits)
        assert isinstance(scan, RasterROI)
        if self._running is not None:
            if not self._cut.is_set():
                raise ScanError("a scan is running, expected read_into or abort before the next arm")
            self._forget(self._running[2])
            self._running = None
        region = self._region(scan, context)
        settings = {"dwell_time": scan.dwell_ns * 1e-9, "imsize": scan.shape[1], "scan_region": region}
        side = self._field_nm()
        if not math.isclose(side, self.fov_nm[1], rel_tol=SAME):
            raise ScanError(f"the field is {side:g} nm, expected {self.fov_nm[1]:g} as when it was opened")
        with self._errors():
            for name, value in settings.items():
                self._settings.write_attribute(name, value)
        self._sequence += 1
        armed = Armed(self._sequence, scan, context, tuple(channels), scan.duration_ns)
        self._armed = (armed, settings)
        return armed

    def start(self, armed: Armed) -> None:
        self._require_open()
        waiting, self._armed = self._armed, None
        if waiting is None or waiting[0] is not armed:
            raise ScanError(f"scan {armed.sequence} is not the one armed last, expected to start that one")
        self._cut.clear()
        longest_s = DURATION_FACTOR * armed.duration_ns * 1e-9 + BUSY_S
        self._busy_until = time.monotonic() + longest_s
        with self._errors():
            self._scanner.set_timeout_millis(round(longest_s * 1e3))  # of the call; its answer is waited for elsewhere
            call = self._scanner.command_inout_asynch("acquire_scanned_image", list(armed.channels))
        self._running = (*waiting, call, time.monotonic_ns())

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """Wait for the frame; other settings than the armed ones at its end, or another shape, are a ScanError."""
        self._require_open()
        running, self._running = self._running, None
        with contextlib.ExitStack() as unsafe:
            unsafe.callback(self._make_safe)
            if running is None or running[0] is not armed:
                raise ScanError(
                    f"scan {armed.sequence} is not being scanned: start it first, or it was read or aborted"
                )
            samples = math.prod(armed.scan.shape)
            if out.dtype != np.float32 or out.shape != (len(armed.channels), samples) or not out.flags.c_contiguous:
                raise ValueError(
                    f"out is {out.dtype} of shape {out.shape}, "
                    f"expected C-contiguous float32 {(len(armed.channels), samples)}"
                )
            unsafe.pop_all()
            unsafe.callback(self._forget, running[2])
            unsafe.callback(self._make_safe)
            self._wait(running[2], timeout_s)
            if self._cut.is_set():
                raise ScanError("the scan was aborted")
            notices = [note for row, _ in enumerate(armed.channels) if (note := self._take(row, armed.scan.shape, out))]
            self._check_settings(running[1])
            unsafe.pop_all()
        return Frame(
            counts=out.reshape(len(armed.channels), *armed.scan.shape),
            channels=armed.channels,
            context=armed.context,
            scan=armed.scan,
            sequence=armed.sequence,
            started_ns=running[3],
            duration_ns=armed.duration_ns,
            valid=out.size,
            notices=tuple(dict.fromkeys(notices)),
        )

    def abort(self) -> None:
        """Blank; while a frame is scanned, when it has ended, since the device takes no command before."""
        if self._closed:
            return
        self._cut.set()
        self._make_safe()

    def park(self, yx: tuple[float, float] | None) -> None:
        self._require_open()
        if yx is not None:
            check_position("yx", yx)
            with self._errors():
                self._microscope.command_inout("place_beam", [yx[1], yx[0]])
            self._rest_yx = yx

    def blank(self, on: bool) -> None:
        self._require_open()
        if not self._checks_blanker:
            raise InstrumentError("the device has no beam_state, so that nothing tells whether it blanks")
        with self._errors():
            self._blank(self._microscope, on)

    def close(self) -> None:
        if self._closed:
            return
        self._cut.set()
        self._make_safe()
        self._closed = True

    def _forget(self, call: int) -> None:
        with contextlib.suppress(self._tango.DevFailed):  # its answer came already
            self._scanner.cancel_asynch_request(call)

    def _make_safe(self) -> None:
        """Blank, or park where nothing tells the blanker's state; tried again while a frame is being scanned."""
        while True:
            try:
                if self._checks_blanker:
                    self._blank(self._safety, True)
                else:
                    self._safety.command_inout("place_beam", [self._rest_yx[1], self._rest_yx[0]])
            except self._tango.DevFailed as error:
                if time.monotonic() >= self._busy_until:
                    raise InstrumentError(f"the beam may be on: {_said(error)}") from error
                time.sleep(0.01)
            else:
                return

    def _blank(self, proxy: Any, on: bool) -> None:
        proxy.command_inout("blank_beam" if on else "unblank_beam")
        if bool(proxy.read_attribute("beam_state").value) is not on:
            raise InstrumentError(
                f"beam_state is {not on} after {'blank_beam' if on else 'unblank_beam'}, expected {on}: "
                f"{'the beam may be on' if on else 'the beam is blanked'}"
            )

    def _wait(self, call: int, timeout_s: float) -> None:
        try:
            self._scanner.command_inout_reply(call, max(1, round(min(timeout_s, 1e6) * 1e3)))
        except self._tango.AsynReplyNotArrived as error:
            raise ScanTimeout(f"no frame within {timeout_s:g} s") from error
        except self._tango.DevFailed as error:
            raise ScanError(f"acquire_scanned_image failed: {_said(error)}") from error

    def _take(self, index: int, shape: tuple[int, int], out: Float32Array) -> str | None:
        """Picture `index` of those cached into a row of `out`; returns what was done to it."""
        with self._errors(ScanError):
            described, data = self._microscope.command_inout("get_image_data_cached", index)
        picture = _picture(described, data)
        if picture.shape != shape:
            raise ScanError(f"a picture of {picture.shape} pixels came, expected {shape}, imsize being its columns")
        out[index] = picture.ravel()
        return None if picture.dtype == np.float32 else f"counts were {picture.dtype}, kept as float32"

    def _check_settings(self, wanted: Mapping[str, Any]) -> None:
        with self._errors(ScanError):
            found = {a.name: a.value for a in self._settings.read_attributes(list(wanted))}
        for name, value in wanted.items():
            if not np.allclose(found[name], value, rtol=SAME, atol=1e-12):
                raise ScanError(
                    f"{name} is {found[name]} after the scan, expected {value}: the device did not take it, "
                    "or another client changed it"
                )

    def _region(self, scan: RasterROI, context: Context) -> list[float]:
        """[left, top, width, height] of the field; ConfigurationError for what no rectangle of it is."""
        if scan.discard_lines:
            raise ConfigurationError(f"discard_lines is {scan.discard_lines}, expected 0: the device cannot drop lines")
        if scan.flyback_ns != self._flyback_ns:
            raise ConfigurationError(f"flyback_ns is {scan.flyback_ns}, expected {self._flyback_ns}: it cannot be set")
        pitch = [context.fov_nm[a] * scan.size_yx[a] / scan.shape[a] for a in (0, 1)]
        if not math.isclose(pitch[0], pitch[1], rel_tol=SAME):
            raise ConfigurationError(
                f"pixels are {pitch[0]:g} x {pitch[1]:g} nm (y, x), expected squares: the device takes imsize, "
                "the number of columns, alone"
            )
        start, size = [], []
        for a in (0, 1):
            length = context.fov_nm[a] * scan.size_yx[a] / self.fov_nm[a]
            middle = 0.5 + (context.shift_nm[a] + (scan.centre_yx[a] - 0.5) * context.fov_nm[a]) / self.fov_nm[a]
            if not (middle - length / 2 >= -SAME and middle + length / 2 <= 1 + SAME):  # also refuses NaN
                raise ConfigurationError(
                    f"scan covers {'yx'[a]} from {(middle - length / 2) * self.fov_nm[a]:g} to "
                    f"{(middle + length / 2) * self.fov_nm[a]:g} nm, expected within the survey field of "
                    f"{self.fov_nm[a]:g} nm"
                )
            begin = min(max(middle - length / 2, 0.0), 1.0)
            start.append(begin)
            size.append(min(length, 1.0 - begin))
        return [start[1], start[0], size[1], size[0]]

    def _field_nm(self) -> float:
        with self._errors():
            side_m = float(self._microscope.command_inout("get_fov"))
        if not (math.isfinite(side_m) and side_m > 0):
            raise InstrumentError(f"get_fov gave {side_m!r} m, expected a positive length")
        return float(f"{side_m * 1e9:.7g}")  # a DevFloat has seven digits

    def _proxy(self, address: str) -> Any:
        proxy = self._tango.DeviceProxy(address)
        proxy.set_timeout_millis(CALL_MS)
        proxy.ping()
        return proxy

    def _require_open(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.source} is closed")

    @contextlib.contextmanager
    def _errors(self, kind: type[InstrumentError] = InstrumentError) -> Iterator[None]:
        try:
            yield
        except self._tango.DevFailed as error:
            raise kind(f"{self.source}: {_said(error)}") from error


def _said(error: Any) -> str:
    """The first reason of a DevFailed, which is a list of them."""
    reason = error.args[0] if error.args else None
    return " ".join(str(getattr(reason, "desc", error)).split())


def _range_ns(config: Any) -> tuple[int, int]:
    """Least and greatest dwell; those of Limits where the attribute has no bounds."""
    bounds = []
    usual = Limits()
    for text, default in ((config.min_value, usual.dwell_min_ns), (config.max_value, usual.dwell_max_ns)):
        try:
            bounds.append(round(float(text) * 1e9))
        except ValueError:  # "Not specified"
            bounds.append(default)
    return max(1, bounds[0]), max(1, *bounds)


def _picture(described: Any, data: Any) -> np.ndarray[Any, Any]:
    """(rows, cols) of numbers out of a DevEncoded whose format is JSON of shape and dtype."""
    try:
        facts = json.loads(described)
        rows, cols = (int(side) for side in facts["shape"])
        dtype = np.dtype(str(facts["dtype"]))
    except (TypeError, ValueError, KeyError) as error:
        raise ScanError(f"a picture is described by {described!r}, expected shape (rows, cols) and dtype") from error
    if dtype.kind not in "uif" or rows < 1 or cols < 1 or len(data) != rows * cols * dtype.itemsize:
        raise ScanError(f"{len(data)} bytes came for {rows} x {cols} {dtype}, expected as many as those numbers need")
    return np.frombuffer(data, dtype=dtype).reshape(rows, cols)
