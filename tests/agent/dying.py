# SPDX-License-Identifier: BSD-3-Clause
"""A server to be killed, in a file that a process of its own can import whatever began the tests."""

import time

import numpy as np
from serving import CONTEXT, RASTER, TOKEN, serving

from plain_driver import PlainDriver
from probewise_agent.client import RemoteDriver
from probewise_agent.dose import Dose, State
from probewise_agent.driver import DriverError


def dying_server(path, budget, pipe):
    """Serves a driver of its own until it is killed, and tells its lit time as it goes."""
    lit_ns = [0, None]

    def log(now, state):
        if lit_ns[1] is not None:
            lit_ns[0] += now - lit_ns[1]
        lit_ns[1] = None if state == "blanked" else now

    driver = PlainDriver(log=log)
    with serving(driver, dose=Dose(budget, State(path)), heartbeat_s=5.0) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        pipe.send("ready")
        while True:
            try:
                client.arm(RASTER, CONTEXT, ["BF"])
                client.blank(False)
                client.start()
                client.read_into(np.empty((1, 24), np.float32), 1.0)
                now = time.monotonic_ns()
                pipe.send(lit_ns[0] + (0 if lit_ns[1] is None else now - lit_ns[1]))
                client.blank(True)
            except DriverError:
                pipe.send("spent")
                return
