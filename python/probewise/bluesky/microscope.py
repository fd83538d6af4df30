# SPDX-License-Identifier: BSD-3-Clause
"""An instrument as a bluesky device: prepare says what is scanned, trigger scans it, read gives the frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from probewise.bluesky.status import Status
from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument.checks import check_request
from probewise.instrument.registry import open_instrument
from probewise.instrument.sessions import Session
from probewise.instrument.sessions import session as session_with
from probewise.types import Context, Frame, Instrument, Scan


class Microscope:
    """Preparable, Triggerable, Readable, Configurable, Stageable and Stoppable of bluesky.protocols.

    instrument  an opened Instrument, which `unstage` closes for good, or a URI, opened anew by each `stage`
    name        of the device; its data keys are NAME_CHANNEL (counts), NAME_fov_nm, NAME_shift_nm, NAME_dwell_ns and
                NAME_duration_ns
    channels    from the instrument's limits
    idle        where the beam is between scans, as of `probewise.instrument.session`
    options     of the backend that a URI names

    Between scans and after `unstage`, `stop` or any failure the beam is safe. Frames of one stream have one shape.
    """

    parent = None

    def __init__(
        self,
        instrument: Instrument | str,
        *,
        name: str = "microscope",
        channels: Sequence[str] = ("HAADF",),
        idle: Literal["blank", "park", "scan"] = "blank",
        **options: Any,
    ) -> None:
        if options and not isinstance(instrument, str):
            raise ConfigurationError(f"{', '.join(options)}: options are for a URI, but an opened instrument came")
        self.name = name
        self._instrument = instrument
        self._channels = tuple(channels)
        self._idle: Literal["blank", "park", "scan"] = idle
        self._options = options
        self._session: Session | None = None
        self._request: tuple[Scan, Context] | None = None
        self._frame: Frame | None = None
        self._ended = False
        self._read_at = 0.0

    @property
    def frame(self) -> Frame | None:
        """The last frame that was triggered."""
        return self._frame

    def stage(self) -> list[Any]:
        """Open the instrument; the beam is where `idle` says from here on."""
        if self._session is not None:
            raise InstrumentError(f"{self.name} is staged already, expected unstage before")
        opened = self._instrument
        if isinstance(opened, str):
            opened = open_instrument(opened, **self._options)
        session = session_with(opened, idle=self._idle)
        session.__enter__()
        self._session, self._frame, self._request = session, None, None
        return [self]

    def unstage(self) -> list[Any]:
        """Cut what runs, make the beam safe and close the instrument."""
        self._ended = True
        session, self._session = self._session, None
        if session is not None:
            session.close()
        return [self]

    def prepare(self, value: tuple[Scan, Context]) -> Status:
        """Take the scan and its field for the next triggers, refused here when outside the instrument's limits."""
        status = Status()
        try:
            scan, context = value
            session = self._staged()
            check_request(scan, context, self._channels, capability=session.capability, limits=session.limits)
        except Exception as error:  # noqa: BLE001  the status fails with it
            status.finish(error)
            return status
        self._request = (scan, context)
        status.finish()
        return status

    def trigger(self) -> Status:
        """Arm, scan and read what was prepared; done when the frame is there and the beam is at rest."""
        if self._request is None:
            raise InstrumentError(f"{self.name} is not prepared, expected prepare((scan, context)) before trigger")
        self._frame, self._ended = None, False
        end = self._staged().begin(*self._request, self._channels)
        status = Status()
        threading.Thread(target=self._wait, args=(end, status), name=f"{self.name} trigger", daemon=True).start()
        return status

    def _wait(self, end: Callable[[], Frame], status: Status) -> None:
        try:
            self._frame = end()
            self._read_at = time.time()
        except BaseException as error:  # noqa: BLE001  the status fails with it
            status.finish(None if self._ended and isinstance(error, InstrumentError) else error)
        else:
            status.finish()

    def read(self) -> dict[str, Any]:
        """The last frame: a picture (rows, cols) for each channel, and where and how it was scanned."""
        frame = self._frame
        if frame is None:
            raise InstrumentError(f"{self.name} has no frame, expected trigger before read")
        values: dict[str, Any] = {name: frame.image(index) for index, name in enumerate(self._channels)}
        values["fov_nm"] = list(frame.context.fov_nm)
        values["shift_nm"] = list(frame.context.shift_nm)
        values["dwell_ns"] = _dwell_ns(frame.scan)
        values["duration_ns"] = frame.duration_ns
        return {f"{self.name}_{key}": {"value": value, "timestamp": self._read_at} for key, value in values.items()}

    def describe(self) -> dict[str, Any]:
        if self._request is None:
            raise InstrumentError(f"{self.name} is not prepared, expected prepare((scan, context)) before describe")
        source = f"probewise:{self._source()}"
        shape = list(self._request[0].shape)
        picture = {"source": source, "dtype": "array", "dtype_numpy": "<f4", "shape": shape, "units": "counts"}
        length = {"source": source, "dtype": "array", "dtype_numpy": "<f8", "shape": [2], "units": "nm"}
        time_ns = {"source": source, "dtype": "integer", "dtype_numpy": "<i8", "shape": [], "units": "ns"}
        keys: dict[str, Any] = {channel: dict(picture) for channel in self._channels}
        keys |= {"fov_nm": dict(length), "shift_nm": dict(length)}
        keys |= {"dwell_ns": dict(time_ns), "duration_ns": dict(time_ns)}
        return {f"{self.name}_{key}": value for key, value in keys.items()}

    def read_configuration(self) -> dict[str, Any]:
        now = time.time()
        values = {"source": self._source(), "idle": self._idle}
        return {f"{self.name}_{key}": {"value": value, "timestamp": now} for key, value in values.items()}

    def describe_configuration(self) -> dict[str, Any]:
        text = {"source": f"probewise:{self._source()}", "dtype": "string", "shape": []}
        return {f"{self.name}_source": dict(text), f"{self.name}_idle": dict(text)}

    def stop(self, success: bool = True) -> None:
        """Cut the scan that runs and make the beam safe; there is no frame then. From any thread.

        success  whether this is the plan's wish: the trigger's status is done then, and fails otherwise
        """
        self._ended = success
        if self._session is not None:
            self._session.abort()

    def _source(self) -> str:
        named = self._instrument
        return named if isinstance(named, str) else str(getattr(named, "source", f"object:{type(named).__name__}"))

    def _staged(self) -> Session:
        if self._session is None:
            raise InstrumentError(f"{self.name} is not staged, expected stage before")
        return self._session


def _dwell_ns(scan: Scan) -> int:
    """Of a pixel; the mean over the samples of a path."""
    dwell_ns = scan.dwell_ns
    return dwell_ns if isinstance(dwell_ns, int) else round(float(dwell_ns.mean()))
