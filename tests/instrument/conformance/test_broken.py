# SPDX-License-Identifier: BSD-3-Clause
"""Drivers that are broken in one way each; the suite says which."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from probewise.errors import ScanTimeout
from probewise.instrument import SimulatedInstrument
from probewise.instrument.conformance import check, subject
from probewise.types import Capability, Context, RasterROI, ScanPath


class Sound(SimulatedInstrument):
    """Without noise and distortions to speak of; the broken ones change what one verb does."""

    def __init__(self, **options):
        super().__init__("particles", seed=2, beam_current_pA=5000.0, **options)

    def asked(self, scan, context):
        """What is really scanned when `scan` in `context` is asked for."""
        return scan, context

    def arm(self, scan, context, *, channels):
        really = super().arm(*self.asked(scan, context), channels=channels)
        self._really = really
        return replace(really, scan=scan, context=context)

    def read_into(self, armed, out, *, timeout_s):
        if armed.sequence != self._really.sequence:
            return super().read_into(armed, out, timeout_s=timeout_s)
        frame = super().read_into(self._really, out, timeout_s=timeout_s)
        counts = out.reshape(1, *armed.scan.shape) if isinstance(armed.scan, RasterROI) else out
        return replace(frame, counts=counts, scan=armed.scan, context=armed.context)


class SwappedAxes(Sound):
    def asked(self, scan, context):
        return replace(scan, centre_yx=scan.centre_yx[::-1], size_yx=scan.size_yx[::-1]), context


class FlippedRows(Sound):
    def read_into(self, armed, out, *, timeout_s):
        frame = super().read_into(armed, out, timeout_s=timeout_s)
        frame.counts[:] = frame.counts[:, ::-1].copy()
        return frame


class PixelCentres(Sound):
    """Takes the fractions of a rectangle for those of the centres of its first and last pixels."""

    def asked(self, scan, context):
        rows, cols = scan.shape
        row, col = np.indices(scan.shape, dtype=np.float64)
        (y, x), (height, width) = scan.centre_yx, scan.size_yx
        return ScanPath(
            yx=np.stack([y + (row / (rows - 1) - 0.5) * height, x + (col / (cols - 1) - 0.5) * width], axis=-1).reshape(
                -1, 2
            ),
            dwell_ns=np.full(rows * cols, scan.dwell_ns),
            active=np.ones(rows * cols, dtype=bool),
            pixel=np.arange(rows * cols, dtype=np.int32),
            shape=scan.shape,
        ), context


class OppositeRotation(Sound):
    def asked(self, scan, context):
        return scan, replace(context, rotation_rad=-context.rotation_rad)


class IgnoresSiteField(Sound):
    def asked(self, scan, context):
        return scan, Context(self.fov_nm)


class SwapsShift(Sound):
    def asked(self, scan, context):
        return scan, replace(context, shift_nm=context.shift_nm[::-1])


class Microseconds(Sound):
    """States durations as if dwell_ns were microseconds."""

    def arm(self, scan, context, *, channels):
        armed = super().arm(scan, context, channels=channels)
        return replace(armed, duration_ns=1000 * armed.duration_ns)


class RoundsDwell(Sound):
    def arm(self, scan, context, *, channels):
        armed = super().arm(scan, context, channels=channels)
        return replace(armed, scan=replace(scan, dwell_ns=round(scan.dwell_ns, -4) or 10_000))


class RoundsPlace(Sound):
    """Knows tenths of the frame only."""

    def arm(self, scan, context, *, channels):
        armed = super().arm(scan, context, channels=channels)
        return replace(armed, scan=replace(scan, centre_yx=tuple(round(value, 1) for value in scan.centre_yx)))


class ClampsDwell(Sound):
    def asked(self, scan, context):
        return replace(scan, dwell_ns=min(max(scan.dwell_ns, 100), 1_000_000_000)), context


class ClampsPark(Sound):
    def park(self, yx):
        super().park(None if yx is None else tuple(min(max(value, 0.0), 1.0) for value in yx))


class AbortLeavesBeam(Sound):
    def abort(self):
        super().abort()
        self._beam = "on"


class SlowAbort(Sound):
    def abort(self):
        threading.Event().wait(0.55)
        super().abort()


class ForgetsAbort(Sound):
    """Goes on scanning: the frame comes as if nothing had been asked."""

    def abort(self):
        self._beam = "blanked"


class LateFrame(Sound):
    """Keeps the frame of a cancelled scan and gives it for the next one."""

    late = None

    def abort(self):
        if self._running is not None:
            out = np.empty((1, math.prod(self._really.scan.shape)), dtype=np.float32)
            self._render(self._really, out[0].reshape(self._really.scan.shape))
            self.late = out
        super().abort()

    def read_into(self, armed, out, *, timeout_s):
        frame = super().read_into(armed, out, timeout_s=timeout_s)
        if self.late is not None and self.late.shape == out.shape:
            out[:] = self.late
            self.late = None
        return frame


class UnfilledBuffer(Sound):
    def read_into(self, armed, out, *, timeout_s):
        last = out[:, -1].copy()
        frame = super().read_into(armed, out, timeout_s=timeout_s)
        out[:, -1] = last
        return frame


class OwnBuffer(Sound):
    def read_into(self, armed, out, *, timeout_s):
        frame = super().read_into(armed, out, timeout_s=timeout_s)
        return replace(frame, counts=frame.counts.copy())


class CloseLeavesBeam(Sound):
    def close(self):
        super().close()
        self._beam = "on"


class CloseOnce(Sound):
    def close(self):
        if self._closed:
            raise RuntimeError("no handle")
        super().close()


class DeadBlanker(Sound):
    def blank(self, on):
        super().blank(False)


class ErrorLeavesBeam(Sound):
    def read_into(self, armed, out, *, timeout_s):
        if out.dtype != np.float32:
            raise ValueError("out is of another type, expected float32")
        return super().read_into(armed, out, timeout_s=timeout_s)


class TimeoutLeavesBeam(Sound):
    def read_into(self, armed, out, *, timeout_s):
        try:
            return super().read_into(armed, out, timeout_s=timeout_s)
        except ScanTimeout:
            self._beam = "scanning"
            raise


class ClaimsTooMuch(Sound):
    def asked(self, scan, context):
        if context.rotation_rad:
            raise ValueError("rotation_rad is not 0, expected 0")
        return scan, context


class ClaimsTooLittle(Sound):
    def describe(self):
        flags, limits = super().describe()
        return flags & ~Capability.SHIFT, limits


class HangsElsewhere(Sound):
    """Waits for its own thread's messages for ever when another thread calls."""

    owner = None

    def arm(self, scan, context, *, channels):
        self.owner = self.owner or threading.get_ident()
        if threading.get_ident() != self.owner:
            threading.Event().wait(2.0)
        return super().arm(scan, context, channels=channels)


BROKEN = [
    (SwappedAxes, "sub-scan of the survey field", "looks as if taken with y and x of centre and size swapped"),
    (FlippedRows, "orientation of a frame", "looks as if taken upside down"),
    (FlippedRows, "sub-scan of the survey field", "looks as if taken with centre y counted from the bottom"),
    (PixelCentres, "sub-scan of the survey field", "with fractions from pixel centres instead of outer edges"),
    (OppositeRotation, "rotation", "looks as if taken with the opposite rotation"),
    (IgnoresSiteField, "site field", "looks as if taken over the survey field instead of its own"),
    (SwapsShift, "site field", "looks as if taken with y and x of shift_nm swapped"),
    (
        Microseconds,
        "duration",
        "pixels of 4000 instead of 1000 ns are stated to take 1152000000 ns more, expected 1152000 ns",
    ),
    (RoundsDwell, "dwell", "a dwell of 1000 ns is executed as 10000 ns, expected 1000 ns"),
    (RoundsPlace, "sub-scan of the survey field", "(0.3125, 0.625) with sides (0.375, 0.5) of the frame is executed"),
    (ClampsDwell, "dwell refused", "a dwell of 1000000001 ns (limits 100 to 1000000000 in steps of 1) is armed"),
    (ClampsPark, "positions refused", "park at (-0.01, 0.5) is armed, expected ValueError or TypeError"),
    (AbortLeavesBeam, "abort when idle", "after an abort when idle the beam is reported on, expected blanked"),
    (SlowAbort, "abort when idle", "the first abort took 0.5"),
    (ForgetsAbort, "abort before the read", "read_into gave a frame of a scan that was aborted before"),
    (LateFrame, "late frames", "shows the place of the cancelled one"),
    (UnfilledBuffer, "buffer", "1 of 384 samples are not finite after read_into, expected all of them filled"),
    (OwnBuffer, "buffer", "frame.counts is an array of its own, expected a view"),
    (CloseLeavesBeam, "close", "after the first close the beam is reported on, expected blanked or parked"),
    (CloseOnce, "close", "the second close raises RuntimeError: no handle, expected none"),
    (DeadBlanker, "blanker", "the beam is reported on after blank(False) and on after blank(True)"),
    (ErrorLeavesBeam, "safe after an error", "after read_into has raised the beam is reported scanning"),
    (ClaimsTooMuch, "rotation", "ROTATED_ROI is claimed, but every such scan that was tried is refused"),
    (ClaimsTooLittle, "unclaimed capabilities refused", "a shift without SHIFT is armed, expected ValueError"),
]


@pytest.mark.parametrize(("kind", "name", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_each_broken_driver_fails_with_its_message(kind, name, message):
    results = {result.name: result for result in check(kind(), only=[name])}
    assert results[name].outcome == "failed"
    assert message in results[name].sentence


def test_a_timeout_that_leaves_the_beam_on_is_found():
    results = check(TimeoutLeavesBeam(realtime=True), only=["safe after a timeout"])
    sentence = next(result.sentence for result in results if result.name == "safe after a timeout")
    assert sentence == "after a timeout the beam is reported scanning, expected blanked"


def test_a_thread_that_waits_for_ever_is_found(monkeypatch):
    monkeypatch.setattr(subject, "ELSEWHERE_S", 0.3)
    results = check(HangsElsewhere(), only=["another thread"])
    sentence = next(result.sentence for result in results if result.name == "another thread")
    assert sentence == "arm from another thread did not return in time, expected an Armed or an error"


def test_arm_that_gives_something_else_is_found():
    class GivesNothing(Sound):
        def arm(self, scan, context, *, channels):
            return None

    results = check(GivesNothing(), only=["frame"])
    assert [r.sentence for r in results if r.name == "frame"] == ["arm gave a NoneType, expected an Armed"]


def test_the_one_that_is_not_broken_passes():
    assert [result for result in check(Sound()) if result.outcome == "failed"] == []
