# SPDX-License-Identifier: BSD-3-Clause
"""The microscope that the vendors' fakes stand before: a simulated specimen, a blanker, and calls that block."""

import threading
import time

import numpy as np

from probewise.instrument import Distortions, SimulatedInstrument
from probewise.types import Context, RasterROI

FOV_NM = 200.0
FLYBACK_NS = 20_000
AT_ONCE = {
    "abort in mid-scan",
    "safe after a timeout",
}  # of the suite: frames that are computed come too soon to be cut


def roi(rows, cols, **options):
    return RasterROI((rows, cols), 1000, flyback_ns=FLYBACK_NS, **options)


class Column:
    """beam: blanked, parked, scanning or on. Lines that are scanned while the beam is blanked count nothing."""

    def __init__(self, realtime=False):
        self.simulated = SimulatedInstrument(
            "particles", seed=2, beam_current_pA=1000.0, distortions=Distortions.none()
        )
        self.fov_nm = self.simulated.fov_nm[0]
        self.realtime = realtime
        self.beam = "on"
        self.scans = []
        self.parked_at = None
        self._blanked = [(0.0, False)]  # since when
        self._scanning = threading.Lock()
        self.stopped = threading.Event()

    def blank(self, on):
        self._blanked.append((time.monotonic(), on))
        self.beam = "blanked" if on else "on"

    def park(self, y, x):
        assert 0 <= y <= 1, y
        assert 0 <= x <= 1, x
        self.parked_at = (y, x)
        if self.beam != "blanked":
            self.beam = "parked"

    def scan(self, shape, centre_nm, size_nm, dwell_ns, rotation_rad=0.0, flyback_ns=0):
        """(rows, cols) counts of a rectangle about `centre_nm` (y, x) from the middle of the specimen; blocks."""
        assert self._scanning.acquire(blocking=False), "two scans at a time"
        try:
            begun = time.monotonic()
            self.stopped.clear()
            self.scans.append({"shape": shape, "centre_nm": centre_nm, "size_nm": size_nm, "dwell_ns": dwell_ns})
            context = Context(tuple(size_nm), tuple(centre_nm), rotation_rad)
            armed = self.simulated.arm(RasterROI(shape, dwell_ns, flyback_ns=flyback_ns), context)
            self.simulated.start(armed)
            counts = np.empty((1, shape[0] * shape[1]), dtype=np.float32)
            self.simulated.read_into(armed, counts, timeout_s=1.0)
            counts = counts.reshape(shape)
            line_s = (shape[1] * dwell_ns + flyback_ns) * 1e-9 if self.realtime else 0.0
            self.stopped.wait(max(0.0, begun + shape[0] * line_s - time.monotonic()))
            lines_s = begun + (np.arange(shape[0]) + 1) * line_s
            for (since, blanked), (until, _) in zip(
                self._blanked, [*self._blanked[1:], (time.monotonic() + 1e9, None)], strict=True
            ):
                if blanked:
                    counts[(lines_s >= since) & (lines_s < until)] = 0.0
            return counts
        finally:
            self._scanning.release()


class OneThread:
    """An object that may be used on the thread that made it only, and by documented names only."""

    _documented = ()

    def __init__(self):
        object.__setattr__(self, "_owner", threading.get_ident())

    def _check(self, name):
        if name.startswith("_"):
            return
        if name not in self._documented:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        if threading.get_ident() != object.__getattribute__(self, "_owner"):
            raise RuntimeError(f"{name} was marshalled for a different thread")

    def __getattribute__(self, name):
        object.__getattribute__(self, "_check")(name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name, value):
        object.__getattribute__(self, "_check")(name)
        object.__setattr__(self, name, value)
