# SPDX-License-Identifier: BSD-3-Clause
"""A driver in plain data whose beam and commands can be looked at, for tests of what stands above drivers.

Standard library and numpy only, Python 3.8 and newer, as the code that it tests. `log` takes every change of the beam
as (time.monotonic_ns(), state), so that another process may read when the beam went off.
"""

import threading
import time

import numpy as np

from probewise_agent.driver import ScanFailed, ScanLate, samples_of

CAPABILITIES = ["VECTOR", "POINT_DWELL", "BLANK", "ABORT", "SHIFT", "ROTATED_ROI"]
LIMITS = {"channels": ["HAADF", "BF"], "dwell_min_ns": 100, "dwell_max_ns": 1000000, "dwell_step_ns": 25,
          "max_points": 1 << 20, "flyback_ns": 0, "max_fov_nm": 500.0}  # fmt: skip


class PlainDriver:
    """The eight verbs. A scan takes its time when `realtime`; `faults` maps a verb to what is called before it."""

    def __init__(self, faults=None, realtime=False, log=None, capabilities=CAPABILITIES, limits=LIMITS):
        self.faults = dict(faults or {})
        self.realtime = realtime
        self.capabilities = list(capabilities)
        self.limits = dict(limits)
        self.beam = "on"
        self.commands = []
        self.threads = {}
        self.lit_ns = 0
        self.closed = False
        self._log = log
        self._lit_since = None  # how long it was on before anybody knew is not counted
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._armed = None
        self._started = None

    def describe(self):
        self._enter("describe")
        return {"name": "plain", "capabilities": self.capabilities, "limits": self.limits}

    def arm(self, scan, context, channels):
        self._enter("arm", scan, context, channels)
        if scan["kind"] == "raster":
            rows, cols = scan["shape"]
            duration_ns = (rows + scan["discard_lines"]) * (cols * scan["dwell_ns"] + scan["flyback_ns"])
        else:
            duration_ns = int(scan["dwell_ns"].sum())
        self._armed = (scan, duration_ns, len(channels))
        self._stop.clear()
        return {"scan": scan, "duration_ns": duration_ns}

    def start(self):
        self._enter("start")
        if self.beam == "blanked":
            raise ScanFailed("start with the beam blanked")
        self._set("scanning")
        self._started = time.monotonic()

    def read_into(self, out, timeout_s):
        self._enter("read_into")
        if self._started is None:
            raise ScanFailed("nothing is being scanned")
        scan, duration_ns, channels = self._armed
        end = self._started + (duration_ns * 1e-9 if self.realtime else 0.0)
        limit = time.monotonic() + timeout_s
        if self._stop.wait(max(0.0, min(end, limit) - time.monotonic())):
            raise ScanFailed("the scan was aborted")
        if end > limit:
            self.abort()
            raise ScanLate("no data in time")
        out[:] = np.arange(samples_of(scan), dtype=np.float32) + np.arange(channels, dtype=np.float32)[:, None]
        self._started = None
        self._set("on")
        return {"valid": out.shape[1], "started_ns": 7, "duration_ns": duration_ns, "notices": ["plain"]}

    def abort(self):
        self._enter("abort")
        self._stop.set()
        self._started = None
        self._set("blanked")

    def park(self, yx):
        self._enter("park", yx)
        if self.beam != "blanked":
            self._set("on" if yx is None else "parked")

    def blank(self, on):
        self._enter("blank", on)
        self._set("blanked" if on else "on")

    def close(self):
        self._enter("close")
        self._set("blanked")
        self.closed = True

    def _enter(self, verb, *arguments):
        with self._lock:
            self.commands.append((verb, *arguments))
            self.threads.setdefault(verb, set()).add(threading.get_ident())
        fault = self.faults.get(verb)
        if fault is not None:
            fault(self)

    def _set(self, state):
        with self._lock:
            now, before = time.monotonic_ns(), self.beam
            self.beam = state
            if before != "blanked" and self._lit_since is not None:
                self.lit_ns += now - self._lit_since
            self._lit_since = now
            if self._log is not None and before != state:
                self._log(now, state)
