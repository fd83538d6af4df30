# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the Open Beam Interface scan, and what they expect of a server with `ramp`."""

from __future__ import annotations

import threading
import time

import numpy as np

from open_beam_server import TOP, ramp
from probewise.types import Context, RasterROI

FIELD = (200.0, 160.0)
SITE = Context((8.0, 6.0), (-40.0, 30.0))
CHANNELS = ("HAADF",)
LONG = RasterROI((40, 40), 1_000_000)  # 1.6 s


def scanned(instrument, scan, context=SITE, timeout_s=20.0):
    """One frame by the verbs."""
    armed = instrument.arm(scan, context, channels=CHANNELS)
    samples = scan.shape[0] * scan.shape[1] if isinstance(scan, RasterROI) else len(scan.yx)
    instrument.blank(False)
    instrument.start(armed)
    return instrument.read_into(armed, np.full((1, samples), np.nan, dtype=np.float32), timeout_s=timeout_s)


def abort_at(server, instrument, samples, abort=None):
    """Have `abort` called from another thread after so many samples; the hardware goes on when it was heard."""
    threads = []

    def counts(yx, dwell_ns):
        if not threads and len(server.codes()) >= samples:
            threads.append(threading.Thread(target=abort or instrument.abort))
            threads[0].start()
            while instrument._running is not None:
                time.sleep(0.001)
        return ramp(yx, dwell_ns)

    server.counts = counts
    return threads


def expected_ramp(scan, context, *, flip_y=False, flip_x=False):
    """What the server's ramp gives at the positions of `scan`, rounded to codes, independent of the client."""
    y = FIELD[0] / 2 + context.shift_nm[0] + (scan.yx[:, 0] - 0.5) * context.fov_nm[0]
    x = FIELD[1] / 2 + context.shift_nm[1] + (scan.yx[:, 1] - 0.5) * context.fov_nm[1]
    share = np.stack([y / FIELD[0], x / FIELD[1]], axis=1)
    share = np.where([flip_y, flip_x], 1 - share, share)
    return ramp(np.rint(share * TOP) / TOP, None)
