# SPDX-License-Identifier: BSD-3-Clause
"""What the server and its client do, in one go and without pytest: run by an old Python in test_python38.py."""

import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

for near in ("..", ".", "../../agent"):
    sys.path.insert(0, str(Path(__file__).resolve().parent / near))

from serving import CONTEXT, RASTER, TOKEN, comes, lit, serving, slow  # noqa: E402

from plain_driver import PlainDriver  # noqa: E402
from probewise_agent.client import RemoteDriver  # noqa: E402
from probewise_agent.dose import Dose, State  # noqa: E402
from probewise_agent.driver import DriverError, ScanFailed  # noqa: E402
from probewise_agent.tokens import read_token, write_token  # noqa: E402


def raises(kind, call):
    raised = None
    try:
        call()
    except kind as error:
        raised = error
    assert type(raised) is kind, raised


def exercise(address, folder):
    driver = PlainDriver(realtime=True)
    state = State(str(Path(folder) / "state"))
    with serving(driver, address, dose=Dose(10**10, state), heartbeat_s=0.4) as (where, _, _):
        raises(DriverError, lambda: RemoteDriver(where, b"x" * 32))
        client = RemoteDriver(where, TOKEN)
        raises(DriverError, lambda: RemoteDriver(where, TOKEN))
        assert client.describe()["name"] == "plain"
        for plan in (RASTER, {**RASTER, "shape": [200, 300], "dwell_ns": 100}):
            client.arm(plan, CONTEXT, ["BF"])
            client.blank(False)
            client.start()
            out = np.empty((1, plan["shape"][0] * plan["shape"][1]), np.float32)
            assert client.read_into(out, 5.0)["valid"] == out.size
            assert (out[0] == np.arange(out.size, dtype=np.float32)).all()
            client.blank(True)
        raises(ValueError, lambda: client.arm({**RASTER, "dwell_ns": 1}, CONTEXT, ["BF"]))
        client.arm(slow(1.0), CONTEXT, ["BF"])
        client.blank(False)
        client.start()
        threading.Timer(0.1, client.abort).start()
        raises(ScanFailed, lambda: client.read_into(np.empty((1, 1000), np.float32), 5.0))
        client.blank(False)
        assert comes(lambda: driver.beam == "blanked", 2.0)  # by the heartbeat
        assert client.spent()["spent_ns"] >= driver.lit_ns
        client.close()
        client = lit(where, driver)
        client._end()
        assert comes(lambda: driver.beam == "blanked", 2.0)  # by the cut
    assert driver.closed
    state.close()


with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "token")
    write_token(path)
    assert len(read_token(path)) == 64
    Path(path).chmod(0o644)
    raises(ValueError, lambda: read_token(path))
    exercise(("127.0.0.1", 0), folder)
    exercise(str(Path(folder) / "socket"), folder)
print(sys.version_info[:2], "done")
