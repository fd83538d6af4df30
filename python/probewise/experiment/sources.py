# SPDX-License-Identifier: BSD-3-Clause
"""Where measurements come from: an instrument in a session, or a replay of what is already known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from probewise.errors import ConfigurationError
from probewise.experiment.config import Configuration
from probewise.experiment.dose import ScanDose, full_raster_ns, scan_dose
from probewise.experiment.sites import (
    SURVEY,
    SiteList,
    Sites,
    SiteScans,
    check_limits,
    check_points,
    sacrificial_corner,
    sites_of,
)
from probewise.experiment.truth import Target
from probewise.types import (
    Checkpointed,
    Context,
    Frame,
    IntArray,
    RasterROI,
    Scan,
    Spectrum,
    SpectrumInstrument,
    Truth,
)

Measurement: TypeAlias = Frame | Spectrum | float


def frame_of(measurement: Measurement | None) -> Frame | None:
    """The frame among what was measured; None of a told value."""
    if isinstance(measurement, Spectrum):
        return measurement.frame
    return measurement if isinstance(measurement, Frame) else None


class Source(Protocol):
    """What the loop asks of it. `abort` may come from any thread.

    `begin` hands a scan over and returns; calling what it gives waits for the measurement. In between only `abort` and
    `close` may come. `last_pixel_ns` is when the last one was read, on `time.perf_counter_ns`.
    """

    name: str
    sites: Sites
    target: Target | None
    full_raster_ns: float | None
    shape: tuple[int, int]
    pixel_nm: float
    notices: list[str]
    saturation: float | None

    def plan(self, site: int) -> tuple[Scan, Context] | None: ...

    def dose(self, site: int) -> ScanDose: ...

    def off_nm(self, measurement: Measurement | None) -> tuple[float, float] | None: ...

    def survey_dose(self) -> ScanDose: ...

    def survey(self) -> Frame | None: ...

    @property
    def last_pixel_ns(self) -> int: ...

    def begin(self, site: int) -> Callable[[], Measurement]: ...

    def checkpoint(self) -> dict[str, int]: ...

    def restore(self, state: dict[str, int]) -> None: ...

    def make_safe(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def open_by_configuration(configuration: Configuration) -> Any:
    """The instrument that `instrument.uri` names, with what the tables say of it."""
    from probewise.instrument import open_instrument
    from probewise.instrument.registry import options_of

    table = configuration.instrument
    options: dict[str, Any] = dict(table.options)
    if table.simulated:
        options = {
            "seed": configuration.run.seed,
            "fov_nm": table.fov_nm if table.fov_nm is not None else 200.0,
            "beam_current_pA": configuration.current_pA,
            "voltage_kV": table.voltage_kV,
            "detector_mrad": table.detector_mrad,
            "realtime": table.realtime,
            **options,
        }
    elif table.uri.startswith("image:"):
        options = {
            "seed": configuration.run.seed,
            "fov_nm": table.fov_nm,
            "beam_current_pA": table.beam_current_pA,
            "realtime": table.realtime,
            **options,
        }
    elif table.fov_nm is not None and "fov_nm" in options_of(table.uri):
        options = {"fov_nm": table.fov_nm, **options}
    try:
        return open_instrument(table.uri, keeper=table.keeper, max_beam_s=table.max_beam_s, **options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ConfigurationError(f"instrument.options: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"instrument: {error}") from error


class LiveSource:
    """Sub-scans of an instrument. Opening it enters the session; closing leaves the beam safe.

    anchor_nm  (y, x) that the specimen has moved in the field: sites are scanned there
    """

    def __init__(self, instrument: Any, configuration: Configuration) -> None:
        from probewise.instrument.sessions import session

        self.notices: list[str] = [str(text) for text in getattr(instrument, "notices", ())]
        self.anchor_nm = (0.0, 0.0)
        self._configuration = configuration
        self._instrument = instrument
        self.name = str(getattr(instrument, "source", configuration.instrument.uri))
        saturation = getattr(instrument, "saturation", None)
        self.saturation = None if saturation is None else float(saturation)
        self.fov_nm = _field(configuration, instrument)
        self.sites = sites_of(configuration, self.fov_nm)
        table = configuration.instrument
        park = table.park if table.park is not None else sacrificial_corner(self.sites, configuration)
        if park is None and table.idle == "park":
            raise ConfigurationError(
                "instrument.idle is 'park' but instrument.park is not set and each corner of the field lies in a "
                "candidate, expected fractions [y, x] of the field that may be sacrificed, or sites.border = 1"
            )
        self._session = session(instrument, idle=table.idle, park_yx=park)
        with ExitStack() as opened:
            opened.enter_context(self._session)
            self._prepare()
            opened.pop_all()

    @property
    def real(self) -> bool:
        """Hardware, on a clock of its own."""
        return not self.name.startswith(("simulated:", "image:", "pyro5:"))

    def _prepare(self) -> None:
        from probewise.scan import raster

        configuration, limits = self._configuration, self._session.limits
        wanted = configuration.pixel_nm
        if wanted is None:
            own = getattr(self._instrument, "pixel_nm", None)
            if own is None:
                raise ConfigurationError("sites.pixel_nm is not set and the instrument does not say its own")
            wanted = float(own[1])
        self.scans = SiteScans(self.sites, configuration, limits, wanted)
        if not math.isclose(self.scans.pixel_nm, wanted, rel_tol=1e-6):
            self.notices.append(
                f"sites are scanned at {self.scans.pixel_nm:.6g} nm a pixel instead of {wanted:.6g}: "
                f"{self.scans.shape[0]} whole pixels fit a side of {self.sites.side_nm:g} nm"
            )
        if configuration.measure.kind == "spectrum":
            self.scans.scan = self._spectrum_scan()
        self.shape = self.scans.shape
        self.pixel_nm = self.scans.pixel_nm
        self.full_raster_ns = full_raster_ns(self.fov_nm, self.scans.pixel_nm, configuration.scan.dwell_ns)
        truth: Truth | None = getattr(self._instrument, "truth", None)
        self.target = Target.of_specimen(truth, self.sites) if truth is not None else None
        survey = configuration.survey
        self._survey: tuple[Scan, Context] | None = None
        if survey.shape != "none":
            check_points(survey.shape, limits, SURVEY)
            scan = raster(survey.shape, survey.dwell_ns, limits=limits)
            check_limits(scan, configuration.scan.channels, max(self.fov_nm), limits, SURVEY)
            self._survey = (scan, Context(self.fov_nm))

    def _spectrum_scan(self) -> RasterROI:
        """The scan of a site as it will be executed: a spectrometer's flyback may take whole exposures."""
        instrument = self._instrument
        if not isinstance(instrument, SpectrumInstrument):
            raise ConfigurationError(f"measure.kind is 'spectrum' but {self.name} measures none, expected 'frame'")
        middle = int(np.linalg.norm(self.sites.centres_nm - np.array(self.fov_nm) / 2, axis=1).argmin())
        scan, context = self.scans(middle)
        assert isinstance(scan, RasterROI)
        channels = self._configuration.scan.channels
        try:
            armed = self._session.call(lambda: instrument.arm_spectrum(scan, context, channels=channels))
        except ValueError as error:
            raise ConfigurationError(f"measure.kind is 'spectrum': {error}") from error
        assert isinstance(armed.scan, RasterROI)
        return armed.scan

    def plan(self, site: int) -> tuple[Scan, Context]:
        scan, context = self.scans(site)
        shift = (context.shift_nm[0] + self.anchor_nm[0], context.shift_nm[1] + self.anchor_nm[1])
        return scan, replace(context, shift_nm=shift)

    def off_nm(self, measurement: Measurement | None) -> tuple[float, float] | None:
        """(y, x) from a site to where it was really scanned; None where the instrument does not know."""
        truth = getattr(self._instrument, "drift_nm", None)
        frame = frame_of(measurement)
        if truth is None or frame is None:
            return None
        y, x = truth(frame.started_ns + frame.duration_ns // 2)
        return (self.anchor_nm[0] + y, self.anchor_nm[1] + x)

    @property
    def clock_ns(self) -> int:
        """The instrument's own clock where it has one, else a monotonic one."""
        return int(self.checkpoint().get("clock_ns", time.monotonic_ns()))

    @property
    def keeps_time(self) -> bool:
        """Whether the clock goes on where a resumed run left it."""
        return isinstance(self._instrument, Checkpointed)

    def raster(self, pixels: int, dwell_ns: int) -> RasterROI:
        """A square scan that the instrument can do."""
        from probewise.scan import raster

        return raster((pixels, pixels), dwell_ns, limits=self._session.limits)

    def acquire(self, scan: Scan, context: Context) -> Frame:
        return self._session.acquire(scan, context, self._configuration.scan.channels)

    def dose(self, site: int) -> ScanDose:
        return self._dose(*self.scans(site))

    def survey_dose(self) -> ScanDose:
        return ScanDose(0, 0.0, 0.0) if self._survey is None else self._dose(*self._survey)

    def _dose(self, scan: Scan, context: Context) -> ScanDose:
        return scan_dose(scan, context, self._configuration.current_pA, self._configuration.instrument.probe_nm)

    def survey(self) -> Frame | None:
        if self._survey is None:
            return None
        return self._session.acquire(*self._survey, self._configuration.scan.channels)

    @property
    def last_pixel_ns(self) -> int:
        return self._session.last_pixel_ns

    def begin(self, site: int) -> Callable[[], Measurement]:
        scan, context = self.plan(site)
        if self._configuration.measure.kind == "spectrum":
            assert isinstance(scan, RasterROI)
            return self._session.begin_spectrum(scan, context, self._configuration.scan.channels)
        return self._session.begin(scan, context, self._configuration.scan.channels)

    def checkpoint(self) -> dict[str, int]:
        """State of the instrument, read on the thread that owns it."""
        return self._session.call(self._instrument.checkpoint) if isinstance(self._instrument, Checkpointed) else {}

    def restore(self, state: dict[str, int]) -> None:
        instrument = self._instrument
        if isinstance(instrument, Checkpointed):
            self._session.call(lambda: instrument.restore(state))
        else:
            self.notices.append("the instrument keeps no checkpoint: what was measured before may have drifted since")

    def make_safe(self) -> None:
        """Whatever `instrument.idle` says; the next scan lights the beam again."""
        self._session.make_safe()

    def abort(self) -> None:
        self._session.abort()

    def close(self) -> None:
        self._session.__exit__(None, None, None)


class ReplaySource:
    """Windows of a picture, or the values of a told map; no beam, no clock, no dose."""

    def __init__(self, configuration: Configuration) -> None:
        from probewise.instrument.replay import open_replay

        uri = configuration.instrument.uri
        if not uri.startswith("image:"):
            raise ConfigurationError(f"instrument.uri is {uri!r} in a replay, expected image:FILE")
        self._replay = replay = open_replay(
            uri.removeprefix("image:"), configuration.replay_window_px, configuration.replay_step_px
        )
        self.name = replay.source
        self.notices = list(replay.notices)
        self.shape = (replay.window_px, replay.window_px)
        self.pixel_nm = float(replay.pixel_nm[1])
        self.full_raster_ns = None
        self.saturation: float | None = None
        self._last_pixel_ns = 0
        self.sites = _replay_sites(replay.shape, replay.corners, replay.window_px, replay.step_px, replay.pixel_nm)
        self.target = None
        if replay.target is not None:
            self.target = _target(replay)

    real = False

    @property
    def told(self) -> bool:
        """A map of values, without pictures."""
        return self._replay.picture is None

    def plan(self, site: int) -> tuple[Scan, Context] | None:
        return None

    def dose(self, site: int) -> ScanDose:
        return ScanDose(0, None, None)

    def survey_dose(self) -> ScanDose:
        return ScanDose(0, None, None)

    def survey(self) -> Frame | None:
        return None

    @property
    def last_pixel_ns(self) -> int:
        return self._last_pixel_ns

    def begin(self, site: int) -> Callable[[], Measurement]:
        def measure() -> Measurement:
            measured = self._replay.measure(site)
            self._last_pixel_ns = time.perf_counter_ns()
            return measured

        return measure

    def checkpoint(self) -> dict[str, int]:
        return {}

    def restore(self, state: dict[str, int]) -> None:
        pass

    def off_nm(self, measurement: Measurement | None) -> None:
        return None

    def make_safe(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def _target(replay: Any) -> Target:
    from probewise.acquisition import otsu_threshold

    foi = replay.foi if replay.foi is not None else replay.target > otsu_threshold(replay.target)
    if replay.objects is None:
        return Target.of_map(replay.target, foi, replay.shape)
    return Target(foi, values=replay.target, labels=replay.objects)


def _replay_sites(
    shape: tuple[int, int], corners: IntArray | None, window_px: int, step_px: int, pixel_nm: tuple[float, float]
) -> SiteList:
    """Centres of the windows; of a told map, a lattice of pitch 1."""
    if corners is None:
        rows, cols = np.indices(shape, dtype=np.float64)
        centres = np.stack([rows.ravel() + 0.5, cols.ravel() + 0.5], axis=1)
        return SiteList(centres, 1.0, (float(shape[0]), float(shape[1])), shape)
    size = np.array(pixel_nm)
    centres = (corners + window_px / 2) * size
    last = (corners.max(axis=0) + window_px) * size
    return SiteList(centres, window_px * pixel_nm[1], (float(last[0]), float(last[1])), shape)


def _field(configuration: Configuration, instrument: Any) -> tuple[float, float]:
    own = getattr(instrument, "fov_nm", None)
    fov = configuration.fov_nm if configuration.instrument.fov_nm is not None or own is None else own
    if fov is None:
        raise ConfigurationError("instrument.fov_nm is not set and the instrument does not say its own")
    return (float(fov), float(fov)) if np.isscalar(fov) else (float(fov[0]), float(fov[1]))  # type: ignore[arg-type]


def open_source(configuration: Configuration, instrument: Any | None) -> LiveSource | ReplaySource:
    if configuration.run.replay:
        return ReplaySource(configuration)
    return LiveSource(instrument if instrument is not None else open_by_configuration(configuration), configuration)
