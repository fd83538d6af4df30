# SPDX-License-Identifier: BSD-3-Clause
import gc
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from fakes import ROI, SITE, FakeInstrument, Fault, scan_some
from probewise.instrument import session


def test_a_generator_that_is_closed_makes_the_beam_safe(make_fake):
    fake = make_fake()

    def steps():
        with session(fake, idle="scan") as opened:
            while True:
                yield opened.acquire(ROI, SITE, ["HAADF"])

    running = steps()
    next(running)
    assert fake.beam == "on"
    running.close()
    assert fake.beam == "blanked"
    assert fake.closed


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_ctrl_c_during_a_scan_aborts_it(make_fake):
    fake = make_fake([Fault("read_into", "hang-until-abort", 0)])
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            scan_some(fake)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert fake.calls("abort") >= 1
    assert fake.beam == "blanked"
    assert fake.closed


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_ctrl_c_at_any_moment_neither_hangs_nor_leaves_the_beam_on():
    random = np.random.default_rng(1)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    entered, interrupted, left_on = 0, 0, 0
    gc.disable()  # one that strikes inside a callback of the collector (hypothesis has one) is a warning, not an error
    try:
        for _ in range(150):
            inside, fake = False, FakeInstrument()
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 1e-2))
            try:
                with session(fake, idle="scan", margin_s=2.0) as opened:
                    inside = True
                    deadline = time.monotonic() + 1.0
                    while time.monotonic() < deadline:
                        opened.acquire(ROI, SITE, ["HAADF"])
                        fake.commands.clear()
            except KeyboardInterrupt:
                interrupted += 1
            entered += inside
            left_on += inside and not (fake.closed and fake.beam == "blanked")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    # The interpreter swallows one that strikes inside a finaliser: that round ends by its deadline.
    assert interrupted > 140
    assert entered > 30  # most, unless the machine is very busy
    assert left_on == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("way", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("no exit", 0)])
def test_a_process_that_ends_leaves_the_beam_blanked(tmp_path, way, code):
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from fakes import FakeInstrument
        from probewise.instrument import session

        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup hands on an ignored one, which a session leaves alone

        class Logged(FakeInstrument):
            def close(self):
                super().close()
                open({str(tmp_path / "beam")!r}, "w").write(self.beam)

        opened = session(Logged(), idle="scan")
        opened.__enter__()
        if {way!r} != "no exit":
            with opened:
                pass
    """
    # Entered by hand and never left: only the handler at exit is there to close it.
    if way != "no exit":
        program = program.replace("opened.__enter__()", "").replace(
            "pass", f"os.kill(os.getpid(), signal.{way}); signal.pause()"
        )
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert run.returncode == code, run.stderr
    assert (tmp_path / "beam").read_text() == "blanked"


def test_signal_handlers_of_the_program_are_kept(make_fake):
    def mine(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with session(make_fake()):
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    with session(make_fake()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
