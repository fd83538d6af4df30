# SPDX-License-Identifier: BSD-3-Clause
"""A real picture as the sample: the eight verbs over what someone measured before."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import COMPUTED, extent
from probewise.instrument.picture_view import PictureNoise, PictureView
from probewise.instrument.readers import Picture, read_picture
from probewise.types import Armed, Capability, Context, Float32Array, Frame, Limits, RasterROI, Scan

Beam = Literal["blanked", "parked", "scanning", "on"]


def open_picture(
    path: str | os.PathLike[str],
    *,
    fov_nm: float | tuple[float, float] | None = None,
    dose_e_per_A2: float | None = None,
    read_noise: float = 0.0,
    drift_nm_per_min: float = 0.0,
    jitter_px: float = 0.0,
    seed: int = 0,
    beam_current_pA: float | None = None,
    realtime: bool = False,
) -> PictureInstrument:
    """Open the picture at `path` as an instrument; see PictureNoise for what can be added to it.

    fov_nm           side of the picture along x, pixels taken as square, or both sides (y, x); None: as the file says
    beam_current_pA  told to whoever books the dose; None: no dose is booked
    realtime         frames take as long as their scan
    raises           ConfigurationError for a picture that cannot be used, or an option out of range
    """
    picture = read_picture(path)
    name = Path(path).name
    for option, number in (
        ("dose_e_per_A2", dose_e_per_A2),
        ("beam_current_pA", beam_current_pA),
    ):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ConfigurationError(f"instrument.{option} is {number}, expected a positive number")
    for option, number in (
        ("read_noise", read_noise),
        ("drift_nm_per_min", drift_nm_per_min),
        ("jitter_px", jitter_px),
    ):
        if not (math.isfinite(number) and number >= 0):
            raise ConfigurationError(f"instrument.{option} is {number}, expected zero or more")
    if not 0 <= seed < 1 << 64:
        raise ConfigurationError(f"instrument.seed is {seed}, expected 0 to 2**64 - 1")
    field, notices = _field(picture, name, fov_nm)
    return PictureInstrument(
        picture.data,
        field,
        source=f"image:{name}",
        noise=PictureNoise(dose_e_per_A2, read_noise, drift_nm_per_min, jitter_px),
        seed=seed,
        beam_current_pA=beam_current_pA,
        realtime=realtime,
        notices=(*picture.notices, *notices),
    )


def _field(
    picture: Picture, name: str, fov_nm: float | tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[str, ...]]:
    rows, cols = picture.data.shape
    own = None if picture.pixel_nm is None else (rows * picture.pixel_nm[0], cols * picture.pixel_nm[1])
    if fov_nm is None:
        if own is None:
            raise ConfigurationError(
                f"{name} has no calibration, expected the side of its field along x: --set instrument.fov_nm=NM"
            )
        return own, ()
    field = (fov_nm * rows / cols, float(fov_nm)) if isinstance(fov_nm, int | float) else tuple(map(float, fov_nm))
    if len(field) != 2 or not all(math.isfinite(side) and side > 0 for side in field):
        raise ConfigurationError(f"instrument.fov_nm is {fov_nm}, expected a positive length, or two (y, x)")
    if own is None or np.allclose(field, own, rtol=1e-3):
        return (field[0], field[1]), ()
    said = f"{name} says {own[0]:.4g} x {own[1]:.4g} nm, {field[0]:.4g} x {field[1]:.4g} nm taken as told"
    return (field[0], field[1]), (said,)


class PictureInstrument:
    """The eight verbs of probewise.types.Instrument, and Checkpointed, over one picture. Made by `open_picture`.

    source           "image:<file name>"
    fov_nm           (y, x) of the survey field, the whole picture
    truth            None: nobody knows what a real picture holds
    beam_current_pA  None unless told
    notices          what was done to the data when it was read
    """

    truth: None = None

    def __init__(
        self,
        data: Float32Array,
        fov_nm: tuple[float, float],
        *,
        source: str,
        noise: PictureNoise,
        seed: int,
        beam_current_pA: float | None,
        realtime: bool,
        notices: tuple[str, ...],
    ) -> None:
        self.source = source
        self.fov_nm = fov_nm
        self.beam_current_pA = beam_current_pA
        self.notices = notices
        self._view = PictureView(data, fov_nm, noise, seed)
        self._realtime = realtime
        self._clock_ns = 0
        self._sequence = 0
        self._armed: Armed | None = None
        self._running: Armed | None = None
        self._started_s = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._beam: Beam = "blanked"
        self._closed = False

    @property
    def pixel_nm(self) -> tuple[float, float]:
        """(y, x) of the picture's own pixels."""
        return self._view.pixel_nm

    @property
    def clock_ns(self) -> int:
        """Beam time of all frames read so far."""
        return self._clock_ns

    @property
    def beam(self) -> Beam:
        return self._beam

    def describe(self) -> tuple[Capability, Limits]:
        return COMPUTED, Limits(channels=("HAADF",), dwell_min_ns=1, max_fov_nm=max(self.fov_nm))

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str]) -> Armed:
        """Refuse, with a ValueError, what leaves the picture or the limits; else number the scan."""
        self._refuse_when_closed()
        self._view.check_inside(extent(scan, channels, self.describe()[1]), context)
        self._sequence += 1
        self._armed = Armed(self._sequence, scan, context, tuple(channels), scan.duration_ns)
        return self._armed

    def start(self, armed: Armed) -> None:
        self._refuse_when_closed()
        if self._armed is None or armed.sequence != self._armed.sequence:
            raise ScanError(f"scan {armed.sequence} is not the one armed last, expected to start that one")
        with self._lock:
            self._stop.clear()
            self._running, self._armed = armed, None
            self._started_s = time.monotonic()
            self._beam = "scanning"

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        """The frame of the scan that runs, in `out` (1, samples) float32; ScanTimeout when realtime takes longer."""
        self._refuse_when_closed()
        samples = math.prod(armed.scan.shape) if isinstance(armed.scan, RasterROI) else len(armed.scan.yx)
        if out.dtype != np.float32 or out.shape != (1, samples) or not out.flags.c_contiguous:
            self._make_safe()
            raise ValueError(f"out is {out.dtype} of shape {out.shape}, expected C-contiguous float32 (1, {samples})")
        if self._running is None or self._running.sequence != armed.sequence:
            self._make_safe()
            raise ScanError(f"scan {armed.sequence} does not run (aborted or never started), expected it to")
        notices = self._view.fill(armed, self._clock_ns, out[0])
        if self._realtime:
            self._wait(armed, timeout_s)
        with self._lock:
            if self._stop.is_set():
                raise ScanError(f"scan {armed.sequence} was aborted")
            self._running = None
            self._beam = "on"
            started, self._clock_ns = self._clock_ns, self._clock_ns + armed.duration_ns
        shape = (1, *armed.scan.shape) if isinstance(armed.scan, RasterROI) else (1, samples)
        return Frame(
            counts=out.reshape(shape),
            channels=armed.channels,
            context=armed.context,
            scan=armed.scan,
            sequence=armed.sequence,
            started_ns=started,
            duration_ns=armed.duration_ns,
            valid=samples,
            notices=notices,
        )

    def abort(self) -> None:
        self._make_safe()

    def park(self, yx: tuple[float, float] | None) -> None:
        self._refuse_when_closed()
        if yx is not None and not all(0 <= part <= 1 for part in yx):
            raise ValueError(f"yx is {yx}, expected fractions of the survey field, 0 to 1")
        self._beam = "on" if yx is None else "parked"

    def blank(self, on: bool) -> None:
        self._refuse_when_closed()
        self._beam = "blanked" if on else "on"

    def close(self) -> None:
        self._make_safe()
        self._closed = True

    def checkpoint(self) -> dict[str, int]:
        return {"clock_ns": self._clock_ns, "sequence": self._sequence}

    def restore(self, state: dict[str, int]) -> None:
        """Put back what `checkpoint` gave: the frames that follow repeat, noise and drift included."""
        if set(state) != {"clock_ns", "sequence"} or min(state.values()) < 0:
            raise ValueError(f"state is {state}, expected clock_ns and sequence, neither negative")
        self._clock_ns, self._sequence = state["clock_ns"], state["sequence"]
        self._armed = None

    def _make_safe(self) -> None:
        with self._lock:
            self._stop.set()
            self._running = None
            self._beam = "blanked"

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.source} is closed, expected it to be open")

    def _wait(self, armed: Armed, timeout_s: float) -> None:
        left = self._started_s + armed.duration_ns * 1e-9 - time.monotonic()
        if self._stop.wait(max(0.0, min(left, timeout_s))):
            raise ScanError(f"scan {armed.sequence} was aborted")
        if left > timeout_s:
            self._make_safe()
            raise ScanTimeout(f"scan {armed.sequence} did not end within {timeout_s:g} s, expected {left:.3g} s more")
