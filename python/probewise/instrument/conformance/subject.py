# SPDX-License-Identifier: BSD-3-Clause
"""The instrument under test, with what the checks need again and again."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probewise.errors import Error, ScanError
from probewise.instrument.conformance.result import Failed, NotApplicable, said
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Instrument, Limits, RasterROI, Scan

STALE_FRAMES = 8  # as many as a session drops
PATIENCE_S = 10.0  # beyond a scan's own time
STATES = ("blanked", "parked", "scanning", "on")
SMALL = ((16, 24), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512))
ELSEWHERE_S = 5.0  # for a call on another thread
LONG_NS = 1_000_000_000


@dataclass(frozen=True)
class Elsewhere:
    """What a call on another thread did."""

    value: Any
    error: BaseException | None
    seconds: float
    returned: bool


class Subject:
    """One instrument, its stated abilities and the survey field.

    fov_nm  (y, x) of the survey field
    shows   (rows, cols) what the survey field holds: integers are classes, floats brightness; None where unknown
    beam    asks something else than the driver for the state of the beam, one of STATES
    """

    def __init__(
        self,
        instrument: Instrument,
        fov_nm: tuple[float, float],
        shows: np.ndarray[Any, Any] | None,
        beam: Callable[[], str] | None,
    ) -> None:
        self.instrument = instrument
        self.fov_nm = fov_nm
        self.shows = shows
        self.capability = Capability.NONE
        self.limits = Limits()
        self._beam = beam
        self._small: RasterROI | None = None
        self.geometry_dwell_ns: float | None = None  # with which the survey field shows its structure, once known
        self.dark_mean: float | None = None  # counts with the beam blanked and not, once the blanker was looked at
        self.lit_mean: float | None = None

    # Scans

    @property
    def survey(self) -> Context:
        return Context(self.fov_nm)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.limits.channels[:1]

    def dwell_ns(self, wanted: float) -> int:
        """The nearest dwell at or above `wanted` that the limits allow."""
        step, least = self.limits.dwell_step_ns, self.limits.dwell_min_ns
        most = self.limits.dwell_max_ns // step * step
        return min(math.ceil(max(wanted, least) / step) * step, most)

    def raster(
        self,
        shape: tuple[int, int],
        centre: tuple[float, float] = (0.5, 0.5),
        size: tuple[float, float] = (1.0, 1.0),
        dwell_ns: float = 1000.0,
    ) -> RasterROI:
        return RasterROI(shape, self.dwell_ns(dwell_ns), centre, size, flyback_ns=self.limits.flyback_ns)

    def arm(self, scan: Scan, context: Context | None = None, channels: Sequence[str] | None = None) -> Armed:
        came: Any = self.instrument.arm(scan, context or self.survey, channels=list(channels or self.channels))
        if not isinstance(came, Armed):
            raise Failed(f"arm gave a {type(came).__name__}, expected an Armed")
        if isinstance(came.scan, RasterROI) and isinstance(scan, RasterROI):
            _require_place(scan, came.scan)
        return came

    def arm_first(self, choices: Iterable[tuple[Scan, Context]], what: str) -> Armed:
        """The first of several scans that the instrument accepts; NotApplicable with its last refusal when none."""
        refusal: ValueError | None = None
        for scan, context in choices:
            try:
                return self.arm(scan, context)
            except ValueError as error:
                refusal = error
        raise NotApplicable(f"every {what} that was tried is refused, the last with {said(refusal or ValueError())}")

    def small(self, dwell_ns: float = 1000.0) -> RasterROI:
        """A quick frame of the whole survey field."""
        if self._small is None:
            armed = self.arm_first(((self.raster(shape), self.survey) for shape in SMALL), "frame of the survey field")
            self._small = self.raster(armed.scan.shape)
        return self.raster(self._small.shape, dwell_ns=dwell_ns)

    def long(self) -> RasterROI:
        """A frame of the survey field that takes about a second; NotApplicable where none does."""
        for shape in (self.small().shape, *((side, side) for side in (256, 512, 1024, 2048))):
            if math.prod(shape) > self.limits.max_points:
                break
            scan = self.raster(shape, dwell_ns=LONG_NS / math.prod(shape))
            if 0.5 * LONG_NS <= scan.duration_ns <= 4 * LONG_NS:
                with contextlib.suppress(ValueError):
                    self.arm(scan)
                    return scan
        raise NotApplicable("no frame within the limits takes about 1 s")

    def buffer(self, armed: Armed) -> Float32Array:
        """What read_into fills; NaN, so that what was not filled is seen."""
        scan = armed.scan
        samples = math.prod(scan.shape) if isinstance(scan, RasterROI) else len(scan.yx)
        return np.full((len(armed.channels), samples), np.nan, dtype=np.float32)

    def start(self, armed: Armed, *, unblank: bool = True) -> None:
        if unblank and Capability.BLANK in self.capability:
            self.instrument.blank(False)
        elif unblank:
            self.instrument.park(None)
        self.instrument.start(armed)

    def read(self, armed: Armed, out: Float32Array | None = None, timeout_s: float | None = None) -> Frame:
        """The frame of `armed`; frames of other sequences before it are dropped, as a session does."""
        limit_s = 1.5 * armed.duration_ns * 1e-9 + PATIENCE_S if timeout_s is None else timeout_s
        out = self.buffer(armed) if out is None else out
        for _ in range(STALE_FRAMES):
            frame = self.instrument.read_into(armed, out, timeout_s=limit_s)
            if not isinstance(frame, Frame):
                raise Failed(f"read_into gave a {type(frame).__name__}, expected a Frame")
            if frame.sequence == armed.sequence:
                return frame
        raise Failed(
            f"{STALE_FRAMES} frames came running, the last with sequence {frame.sequence}, expected {armed.sequence}"
        )

    def take(self, armed: Armed, *, unblank: bool = True) -> Frame:
        """Scan, read, and rest."""
        self.start(armed, unblank=unblank)
        frame = self.read(armed)
        self.rest()
        return frame

    def rest(self) -> None:
        if Capability.BLANK in self.capability:
            self.instrument.blank(True)
        else:
            self.instrument.park((0.0, 0.0))

    # The beam

    def reported(self) -> str | None:
        """State of the beam as `beam` or the instrument's own attribute says, one of STATES; None when neither does."""
        state = self._beam() if self._beam is not None else getattr(self.instrument, "beam", None)
        return state if state in STATES else None

    def require_safe(self, after: str) -> str:
        """How it is known that the beam is safe; Failed when it is not, NotApplicable when nothing tells."""
        blanks = Capability.BLANK in self.capability
        expected = "blanked" if blanks else "parked or blanked"
        state = self.reported()
        if state is not None:
            if state != "blanked" and (blanks or state != "parked"):
                raise Failed(f"after {after} the beam is reported {state}, expected {expected}")
            return f"the beam is reported {state}"
        if self.dark_mean is None or self.lit_mean is None:
            raise NotApplicable("nothing tells the state of the beam: no report, and counts do not show the blanker")
        armed = self.arm(self.small())
        try:
            frame = self.take(armed, unblank=False)
        except Error as error:
            return f"a scan is refused without unblanking ({said(error)})"
        mean = float(frame.counts.mean())
        if abs(mean - self.dark_mean) > abs(mean - self.lit_mean):
            raise Failed(
                f"after {after} a scan counts {mean:.4g} on average without unblanking, "
                f"expected {self.dark_mean:.4g} as with the beam blanked ({self.lit_mean:.4g} when it is not)"
            )
        return f"counts without unblanking are {mean:.4g}, as with the beam blanked"

    # Threads and outcomes

    def elsewhere(self, function: Callable[[], Any]) -> Elsewhere:
        """Run `function` on another thread and wait for it, at most ELSEWHERE_S."""
        return self.begin_elsewhere(function)(ELSEWHERE_S)

    def begin_elsewhere(self, function: Callable[[], Any], delay_s: float = 0.0) -> Callable[[float], Elsewhere]:
        """As `elsewhere` after `delay_s`, in two parts; calling what it gives waits."""
        kept: dict[str, Any] = {}

        def run() -> None:
            time.sleep(delay_s)
            begun = time.perf_counter()
            try:
                kept["value"] = function()
            except BaseException as error:  # noqa: BLE001  told to the check that asked
                kept["error"] = error
            kept["seconds"] = time.perf_counter() - begun

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def wait(limit_s: float) -> Elsewhere:
            thread.join(delay_s + limit_s)
            returned = not thread.is_alive()
            return Elsewhere(kept.get("value"), kept.get("error"), kept.get("seconds", limit_s), returned)

        return wait

    def recover(self) -> None:
        """After a check: nothing runs and the beam rests, as far as the instrument lets it."""
        for function in (self.instrument.abort, self.rest):
            with contextlib.suppress(Exception):
                function()


def _require_place(asked: RasterROI, executed: RasterROI) -> None:
    """An instrument may round a place to what it has, by half a pixel; more is another place."""
    for axis in (0, 1):
        half = asked.size_yx[axis] / asked.shape[axis] / 2 + 1e-9
        moved = abs(executed.centre_yx[axis] - asked.centre_yx[axis])
        if moved > half or abs(executed.size_yx[axis] - asked.size_yx[axis]) > half:
            raise Failed(
                f"a rectangle about {asked.centre_yx} with sides {asked.size_yx} of the frame is executed about "
                f"{executed.centre_yx} with {executed.size_yx}, expected within half a pixel, or a ValueError"
            )


def refused(
    function: Callable[[], Any],
    what: str,
    kinds: tuple[type[BaseException], ...] = (ValueError, TypeError),
    consequence: Literal["armed", "done"] = "armed",
) -> str:
    """The text of the refusal; Failed when `function` goes through, raises something else or says nothing."""
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        function()
    except kinds as error:
        if not str(error).strip():
            raise Failed(
                f"{what} is refused by a {type(error).__name__} without a text, expected the reason"
            ) from error
        return said(error)
    except Exception as error:
        raise Failed(f"{what} raises {said(error)}, expected {names}") from error
    raise Failed(f"{what} is {consequence}, expected {names}")


SCAN_REFUSED = (ValueError, TypeError, ScanError)
