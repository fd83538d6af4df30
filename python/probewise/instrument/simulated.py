# SPDX-License-Identifier: BSD-3-Clause
"""The simulated microscope: the eight verbs over the compiled specimens, and `render`.

What it models, its defaults and where it is not valid: docs/simulation.md.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from probewise._core import instrument as _core
from probewise.errors import InstrumentError, ScanError, ScanTimeout
from probewise.instrument.checks import COMPUTED, extent
from probewise.instrument.imperfections import Detector, Distortions
from probewise.instrument.optics import (
    FOCUS_MAX_NM,
    FOCUS_STEP_NM,
    REACH_NM,
    Probe,
    cross_section_A2,
    profile_tables,
)
from probewise.instrument.specimens import Specimen, build
from probewise.types import (
    ELEMENTARY_CHARGE_C,
    Armed,
    Capability,
    Context,
    Float32Array,
    FloatArray,
    Frame,
    Limits,
    RasterROI,
    Scan,
    Truth,
)

CHANNEL = "HAADF"


class SimulatedInstrument:
    """A microscope that looks at a simulated specimen. `abort` may come from any thread.

    Its clock is the sum of the scheduled durations of committed frames. A frame is committed when it has been read.
    `specimen` is a name, or a Specimen that is made already; `fov_nm` and options belong to a name.
    """

    def __init__(
        self,
        specimen: str | Specimen,
        *,
        seed: int = 0,
        fov_nm: float | tuple[float, float] = 200.0,
        beam_current_pA: float = 60.0,
        probe: Probe | None = None,
        distortions: Distortions | None = None,
        detector: Detector | None = None,
        realtime: bool = False,
        **options: Any,
    ) -> None:
        if not (math.isfinite(beam_current_pA) and beam_current_pA > 0):
            raise ValueError(f"beam_current_pA is {beam_current_pA}, expected a positive finite number")
        self.probe = probe or Probe()
        self.distortions = distortions or Distortions()
        self.detector = detector or Detector()
        self.beam_current_pA = beam_current_pA
        self.realtime = realtime
        self._specimen = (
            specimen
            if isinstance(specimen, Specimen)
            else build(specimen, seed=seed, fov_nm=fov_nm, probe=self.probe, **options)
        )
        self.truth: Truth = self._specimen.truth
        self.fov_nm = self.truth.fov_nm
        self.source = f"simulated:{self.truth.specimen}"
        self._electrons_per_ns = beam_current_pA * 1e-12 / ELEMENTARY_CHARGE_C * 1e-9
        self._microscope = self._compiled(seed)
        self._clock_ns = 0
        self._sequence = 0
        self._beam = "blanked"
        self._blanked = True
        self._parked: tuple[float, float] | None = None
        self._running: tuple[int, float] | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._closed = False

    def _compiled(self, seed: int) -> _core.Microscope:
        chosen, height_width = self.distortions, self.fov_nm
        slope = (math.tan(math.radians(chosen.tilt_deg[0])), math.tan(math.radians(chosen.tilt_deg[1])))
        deepest = sum(abs(s) * side / 2 for s, side in zip(slope, height_width, strict=True))
        tables = profile_tables(
            self.probe, self._specimen.species, min(FOCUS_MAX_NM, deepest + abs(self.probe.defocus_nm))
        )
        carbon = self._carbon_per_nm2()
        moves = _core.Distortions()
        moves.jitter_nm = chosen.line_jitter_nm
        moves.settle = [
            (chosen.settle_share, chosen.settle_us * 1e3),
            (chosen.slow_share, chosen.slow_us * 1e3),
        ]
        moves.mains_nm, moves.mains_hz = chosen.mains_nm, chosen.mains_hz
        moves.scale = chosen.scale_error
        moves.shear = math.tan(math.radians(chosen.shear_deg))
        moves.drift_nm_per_s = (chosen.drift_nm_per_min[0] / 60, chosen.drift_nm_per_min[1] / 60)
        moves.jumps = [(round(at_s * 1e9), (y, x)) for at_s, y, x in chosen.jumps]
        moves.flicker_rms, moves.flicker_ns = chosen.flicker_rms, chosen.flicker_ms * 1e6
        moves.contamination_per_s = chosen.contamination_per_min / 60 * carbon
        chain = _core.Detector()
        for name in ("noise", "excess_variance", "gain", "offset", "read_noise", "afterglow_share", "afterglow_ns"):
            setattr(chain, name, getattr(self.detector, name))
        chain.quantise = self.detector.quantise
        chain.saturation = math.inf if self.detector.saturation is None else self.detector.saturation
        return _core.Microscope(
            self._specimen.core,
            tables,
            reach_nm=REACH_NM,
            focus_step_nm=FOCUS_STEP_NM,
            defocus_nm=self.probe.defocus_nm,
            slope=slope,
            centre=(self.fov_nm[0] / 2, self.fov_nm[1] / 2),
            distortions=moves,
            detector=chain,
            seed=seed,
        )

    def _carbon_per_nm2(self) -> float:
        """Scattered fraction of one carbon atom per nm^2."""
        return 0.01 * cross_section_A2(6, self.probe.voltage_kV, self.probe.detector_mrad, self.probe.convergence_mrad)

    @property
    def saturation(self) -> float | None:
        """Count at which the detector saturates, None for none."""
        return self.detector.saturation

    @property
    def clock_ns(self) -> int:
        return self._clock_ns

    def drift_nm(self, clock_ns: int) -> tuple[float, float]:
        """(y, x) nm between where the probe was sent and where it was, by drift and jumps, at a time of its clock."""
        return self.distortions.drift_nm(clock_ns)

    @property
    def beam(self) -> str:
        """blanked, parked, scanning or on."""
        return self._beam

    def describe(self) -> tuple[Capability, Limits]:
        return COMPUTED, Limits(channels=(CHANNEL,), max_fov_nm=max(self.fov_nm))

    def arm(self, scan: Scan, context: Context, *, channels: Sequence[str] = (CHANNEL,)) -> Armed:
        self._require_open()
        self._require_inside(extent(scan, channels, self.describe()[1]), context)
        armed = Armed(self._sequence, scan, context, (CHANNEL,), scan.duration_ns)
        self._sequence += 1
        return armed

    def _require_inside(self, yx: FloatArray, context: Context) -> None:
        if not np.isfinite(yx).all():
            raise ValueError("scan.yx holds a value that is not finite, expected fractions of the frame")
        offset = (yx - 0.5) * context.fov_nm
        cosine, sine = math.cos(context.rotation_rad), math.sin(context.rotation_rad)
        y = self.fov_nm[0] / 2 + context.shift_nm[0] + cosine * offset[:, 0] - sine * offset[:, 1]
        x = self.fov_nm[1] / 2 + context.shift_nm[1] + sine * offset[:, 0] + cosine * offset[:, 1]
        slack = 1e-6
        inside = y.min() >= -slack and x.min() >= -slack
        if not (inside and y.max() <= self.fov_nm[0] + slack and x.max() <= self.fov_nm[1] + slack):  # also refuses NaN
            raise ValueError(
                f"scan with context fov_nm {context.fov_nm} and shift_nm {context.shift_nm} covers "
                f"y {y.min():g} to {y.max():g} nm, x {x.min():g} to {x.max():g} nm, expected within the survey field "
                f"of {self.fov_nm[0]:g} nm x {self.fov_nm[1]:g} nm"
            )

    def start(self, armed: Armed) -> None:
        self._require_open()
        with self._lock:
            self._stop.clear()
            self._running = (armed.sequence, time.monotonic())
            self._beam = "scanning"

    def read_into(self, armed: Armed, out: Float32Array, *, timeout_s: float) -> Frame:
        self._require_open()
        running = self._running
        if running is None or running[0] != armed.sequence:
            self._make_safe()
            raise ScanError(f"frame {armed.sequence} is not being scanned: start it first, or it was aborted")
        scan = armed.scan
        expected = (1, scan.shape[0] * scan.shape[1] if isinstance(scan, RasterROI) else len(scan.yx))
        if out.shape != expected or out.dtype != np.float32 or not out.flags.c_contiguous:
            self._make_safe()
            raise ValueError(f"out is a {out.dtype} array of shape {out.shape}, expected contiguous float32 {expected}")
        counts = out.reshape(1, *scan.shape) if isinstance(scan, RasterROI) else out
        called = time.monotonic()
        self._render(armed, counts[0])  # before the wait: the last pixel is there when the scan ends
        if self.realtime:
            self._wait(running[1] + armed.duration_ns * 1e-9, called, timeout_s)
        with self._lock:
            if self._running is None:
                raise ScanError(f"frame {armed.sequence} was aborted")
            self._running = None
            self._beam = "on"
            started_ns = self._clock_ns
            self._clock_ns += armed.duration_ns
        return Frame(
            counts=counts,
            channels=armed.channels,
            context=armed.context,
            scan=scan,
            sequence=armed.sequence,
            started_ns=started_ns,
            duration_ns=armed.duration_ns,
            valid=out.size,
        )

    def _wait(self, end: float, called: float, timeout_s: float) -> None:
        """Sleep until the scan's scheduled end; a ScanError when aborted, a ScanTimeout when out of time."""
        if self._stop.wait(max(0.0, min(end, called + timeout_s) - time.monotonic())):
            raise ScanError("the scan was aborted")
        if end > called + timeout_s:
            self._make_safe()
            raise ScanTimeout(f"timeout_s is {timeout_s}, but the scan ends {end - called:.3g} s from the call")

    def _render(self, armed: Armed, out: Float32Array) -> None:
        scan = armed.scan
        field = self._field(armed.context)
        if isinstance(scan, RasterROI):
            self._microscope.raster(_raster(scan), field, armed.sequence, self._clock_ns, self._electrons_per_ns, out)
        else:
            self._microscope.path(
                scan.yx, scan.dwell_ns, field, armed.sequence, self._clock_ns, self._electrons_per_ns, out
            )

    def _field(self, context: Context) -> _core.Field:
        centre = (self.fov_nm[0] / 2 + context.shift_nm[0], self.fov_nm[1] / 2 + context.shift_nm[1])
        return _core.Field(context.fov_nm, centre, context.rotation_rad)

    def true_positions_nm(self, armed: Armed) -> FloatArray:
        """Where the probe would really be at each kept sample of an armed scan, (n, 2), if it were read now."""
        scan, field = armed.scan, self._field(armed.context)
        if isinstance(scan, RasterROI):
            return self._microscope.raster_positions(_raster(scan), field, armed.sequence, self._clock_ns)
        return self._microscope.path_positions(scan.yx, scan.dwell_ns, field, armed.sequence, self._clock_ns)

    def abort(self) -> None:
        self._stop.set()
        self._make_safe()

    def _make_safe(self) -> None:
        with self._lock:
            self._running = None
            self._blanked = True
            self._beam = "blanked"

    def park(self, yx: tuple[float, float] | None) -> None:
        self._require_open()
        if yx is not None and not all(0 <= fraction <= 1 for fraction in yx):
            raise ValueError(f"yx is {yx}, expected fractions of the survey field from 0 to 1, or None")
        self._parked = yx
        self._blanked = False
        self._beam = "on" if yx is None else "parked"

    def blank(self, on: bool) -> None:
        self._require_open()
        self._blanked = on
        self._beam = "blanked" if on else "on" if self._parked is None else "parked"

    def close(self) -> None:
        self._stop.set()
        self._make_safe()
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.source} is closed")

    def checkpoint(self) -> dict[str, int]:
        return {"clock_ns": self._clock_ns, "sequence": self._sequence}

    def restore(self, state: dict[str, int]) -> None:
        if set(state) != {"clock_ns", "sequence"} or min(state.values()) < 0:
            raise ValueError(f"state is {state}, expected clock_ns and sequence, neither negative")
        self._clock_ns = state["clock_ns"]
        self._sequence = state["sequence"]


def _raster(scan: RasterROI) -> _core.Raster:
    return _core.Raster(*scan.shape, scan.discard_lines, scan.dwell_ns, scan.flyback_ns, scan.centre_yx, scan.size_yx)


def open_simulated(
    rest: str,
    *,
    voltage_kV: float = 60.0,
    detector_mrad: tuple[float, float] = (54.0, 200.0),
    probe: Probe | None = None,
    **options: Any,
) -> SimulatedInstrument:
    """Open "simulated:REST", REST a specimen's name.

    voltage_kV, detector_mrad  of the default probe; a `probe` replaces both
    options  of SimulatedInstrument and of the specimen
    raises   ConfigurationError for an unknown specimen or option, ValueError for a value out of range
    """
    inner, outer = detector_mrad
    chosen = probe or Probe(voltage_kV=voltage_kV, detector_mrad=(float(inner), float(outer)))
    return SimulatedInstrument(rest, probe=chosen, **options)


def render(
    specimen: str,
    roi: Scan,
    *,
    seed: int = 0,
    fov_nm: float | tuple[float, float] = 200.0,
    context: Context | None = None,
    probe: Probe | None = None,
    beam_current_pA: float = 60.0,
    dose_e_per_A2: float | None = None,
    distortions: Distortions | None = None,
    detector: Detector | None = None,
    sequence: int = 0,
    clock_ns: int = 0,
    **options: Any,
) -> Frame:
    """One frame of a simulated specimen.

    roi             RasterROI or ScanPath
    context         the field that roi's fractions refer to; the survey field when left out
    dose_e_per_A2   fluence on a pixel; sets the beam current (a RasterROI only), instead of beam_current_pA
    sequence, clock_ns  identity of the frame: noise is keyed by seed, sequence and pixel; drift by the clock
    options         of the specimen (`truth` takes the same)
    returns         Frame with counts (1, rows, cols) or (1, n)
    raises          ConfigurationError, ValueError as open_instrument and arm
    """
    made = SimulatedInstrument(
        specimen,
        seed=seed,
        fov_nm=fov_nm,
        beam_current_pA=_current_pA(roi, context, fov_nm, dose_e_per_A2)
        if dose_e_per_A2 is not None
        else beam_current_pA,
        probe=probe,
        distortions=distortions,
        detector=detector,
        **options,
    )
    made.restore({"clock_ns": clock_ns, "sequence": sequence})
    armed = made.arm(roi, context or Context(fov_nm=made.fov_nm))
    samples = roi.shape[0] * roi.shape[1] if isinstance(roi, RasterROI) else len(roi.yx)
    made.start(armed)
    return made.read_into(armed, np.empty((1, samples), dtype=np.float32), timeout_s=math.inf)


def _current_pA(roi: Scan, context: Context | None, fov_nm: float | tuple[float, float], dose_e_per_A2: float) -> float:
    if not isinstance(roi, RasterROI):
        raise ValueError("dose_e_per_A2 needs a RasterROI, whose pixels have one area; give beam_current_pA for a path")
    if not (math.isfinite(dose_e_per_A2) and dose_e_per_A2 > 0):
        raise ValueError(f"dose_e_per_A2 is {dose_e_per_A2}, expected a positive finite number")
    sides = context.fov_nm if context else (fov_nm, fov_nm) if isinstance(fov_nm, int | float) else fov_nm
    area_A2 = math.prod(
        side * size / count * 10 for side, size, count in zip(sides, roi.size_yx, roi.shape, strict=True)
    )
    return dose_e_per_A2 * area_A2 / (roi.dwell_ns * 1e-9) * ELEMENTARY_CHARGE_C * 1e12
