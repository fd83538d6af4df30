# SPDX-License-Identifier: BSD-3-Clause
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="forks, signals and limits are POSIX's")

import deaths


@pytest.fixture(scope="module", params=["unix", "tcp"])
def served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deaths")
    address = ("127.0.0.1", 0) if request.param == "tcp" else str(folder / "socket")
    process = subprocess.Popen(
        [sys.executable, str(Path(deaths.__file__)), json.dumps(address), str(folder / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        where = json.loads(process.stdout.readline())
        yield where if isinstance(where, str) else tuple(where), str(folder / "log")
        process.stdin.close()
    assert process.returncode == 0


# Not a deadlock while a frame is read: the thread that waits for it lives, and the scan that was asked for is finished.
CASES = [case for case in itertools.product(deaths.WAYS, deaths.STATES) if case != ("deadlock", "reading")]


@pytest.mark.parametrize(("way", "state"), CASES)
def test_the_beam_goes_off_however_the_controller_dies(served, way, state):
    address, log = served
    # 5 s is what the campaign waits for; how soon it is, bench/keeper_deaths.py measures.
    assert deaths.kill_one(address, log, way, state) < 5000
