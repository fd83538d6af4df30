# SPDX-License-Identifier: BSD-3-Clause
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from serving import TOKEN, serving

from kept_backend import install, read_log
from plain_driver import PlainDriver
from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.instrument import open_instrument, session
from probewise.instrument.keeper import place_of
from probewise.instrument.served import InstrumentDriver
from probewise.types import Context, RasterROI

ROI = RasterROI(shape=(40, 60), dwell_ns=1000)
SITE = Context(fov_nm=(8.0, 8.0))


@pytest.fixture
def plain(tmp_path, monkeypatch):
    monkeypatch.setattr("probewise.instrument.kept.HEARTBEAT_S", 5.0)  # a busy machine fails no test
    install(tmp_path, monkeypatch)
    return tmp_path


def gone(process):
    return process.poll() is not None


def test_real_hardware_is_held_by_a_process_of_its_own_that_ends_with_the_session(plain):
    log = str(plain / "log")
    instrument = open_instrument("plain:one", log=log)
    process = instrument._driver.process
    assert process.pid != os.getpid()
    assert instrument.source == "plain:one"
    with session(instrument) as opened:
        frame = opened.acquire(ROI, SITE, ["HAADF", "BF"])
        np.testing.assert_array_equal(frame.counts[1].ravel(), np.arange(2400) + 1)
        large = opened.acquire(RasterROI((300, 400), 100), SITE, ["BF"])  # by shared memory
        np.testing.assert_array_equal(large.counts.ravel(), np.arange(120_000))
        with pytest.raises(ConfigurationError, match="dwell_ns"):
            opened.acquire(RasterROI((2, 2), 101), SITE, ["BF"])
    assert gone(process)
    assert read_log(log)[-1][1] == "blanked"
    place = place_of("plain:one")
    assert {path.suffix for path in place.folder.iterdir()} <= {".state", ".log"}
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    with session(open_instrument("plain:one")) as opened:
        assert opened.acquire(ROI, SITE, ["BF"]).valid == 2400


def test_a_second_controller_is_told_who_has_the_instrument(plain):
    with session(open_instrument("plain:one")) as opened:
        with pytest.raises(
            InstrumentError, match=rf"plain:one is in use: .*process {os.getpid()}\) has the instrument"
        ):
            open_instrument("plain:one")
        assert opened.acquire(ROI, SITE, ["BF"]).valid == 2400
        open_instrument("plain:two").close()


def test_what_the_backend_refuses_comes_as_it_was_raised(plain):
    with pytest.raises(InstrumentError, match="no microscope answers"):
        open_instrument("plain:absent")
    with pytest.raises(ConfigurationError, match="wrong units"):
        open_instrument("plain:odd")
    with pytest.raises(InstrumentError, match="KeyError: 'vendor'"):
        open_instrument("plain:broken")
    with pytest.raises(ConfigurationError, match="is unknown to plain:"):
        open_instrument("plain:one", colour="red")
    with pytest.raises(ConfigurationError, match="no plain value"):
        open_instrument("plain:one", wrong=object())


def test_in_process_says_that_its_guarantee_is_weaker(plain):
    instrument = open_instrument("plain:one", keeper="in-process")
    assert isinstance(instrument._driver, PlainDriver)
    assert "stays as it is when this process is killed" in instrument.notices[0]
    with session(instrument) as opened:
        assert opened.acquire(ROI, SITE, ["BF"]).valid == 2400


def test_simulators_stay_in_this_process():
    from probewise.instrument import SimulatedInstrument

    assert isinstance(open_instrument("simulated:graphene", fov_nm=20.0, keeper="process"), SimulatedInstrument)


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        ("plain:one", {"keeper": "thread"}, "instrument.keeper is 'thread'"),
        ("simulated:graphene", {"max_beam_s": 3.0}, "max_beam_s needs real hardware"),
        ("plain:one", {"max_beam_s": 3.0, "keeper": "in-process"}, "max_beam_s needs real hardware"),
        ("plain:one", {"max_beam_s": 0.0}, "max_beam_s is 0.0"),
    ],
)
def test_wrong_choices_are_refused(plain, uri, options, message):
    with pytest.raises(ConfigurationError, match=message):
        open_instrument(uri, **options)


def test_the_beam_time_is_limited_and_what_a_dead_controller_spent_still_counts(plain):
    program = """
        import os, sys
        sys.path[:] = {path!r}
        from probewise.instrument import open_instrument
        instrument = open_instrument("plain:one", max_beam_s=3.0)
        instrument.describe(); instrument.blank(False)
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program).format(path=sys.path)], check=True, timeout=60)
    instrument = open_instrument("plain:one", max_beam_s=0.5)
    spent = instrument._driver.spent()
    assert 0 < spent["spent_ns"] < 500_000_000
    assert spent["budget_ns"] == 500_000_000
    with session(instrument) as opened, pytest.raises(InstrumentError, match="dose budget"):
        opened.acquire(RasterROI((1000, 1000), 1000), SITE, ["BF"])
    fresh = open_instrument("plain:one")  # the last one closed as it should
    assert fresh._driver.spent()["spent_ns"] == 0
    fresh.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("signalled", ["SIGKILL", "SIGSTOP"])
def test_the_beam_goes_off_when_the_controller_dies_or_stops(plain, signalled):
    log = str(plain / "log")
    program = f"""
        import os, signal, sys
        sys.path[:] = {sys.path!r}
        from probewise.instrument import open_instrument
        instrument = open_instrument("plain:one", log={log!r})
        instrument.describe()
        instrument.blank(False)
        os.kill(os.getpid(), signal.{signalled})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    limit = time.monotonic() + 60.0
    try:
        while not Path(log).exists() or [state for _, state in read_log(log)][-2:] != ["on", "blanked"]:
            assert time.monotonic() < limit, read_log(log)
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    open_instrument("plain:one", log=log).close()  # and the next controller gets the instrument


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_keeper_that_is_told_to_end_leaves_the_beam_off(plain):
    log = str(plain / "log")
    instrument = open_instrument("plain:one", log=log)
    instrument.describe()
    instrument.blank(False)
    instrument._driver.process.send_signal(signal.SIGTERM)
    instrument._driver.process.wait(10.0)
    assert read_log(log)[-1][1] == "blanked"
    with pytest.raises(InstrumentError, match="is lost, which takes the beam off"):
        instrument.blank(True)
    instrument.close()


def test_a_keeper_that_dies_is_an_error_of_the_scan_and_of_nothing_else(plain):
    with pytest.raises(InstrumentError, match="is lost"), session(open_instrument("plain:one")) as opened:  # noqa: PT012
        opened.instrument._driver.process.kill()
        opened.instrument._driver.process.wait()
        opened.acquire(ROI, SITE, ["BF"])


@pytest.fixture
def agent(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_bytes(TOKEN + b"\n")
    monkeypatch.setenv("PROBEWISE_AGENT_TOKEN_FILE", str(path))
    driver = PlainDriver(realtime=True)
    with serving(driver) as ((host, port), _, _):
        yield f"agent://{host}:{port}", driver


def test_a_session_with_a_server_elsewhere(agent):
    uri, driver = agent
    instrument = open_instrument(uri)
    assert instrument.source == uri
    with session(instrument) as opened:
        assert opened.acquire(ROI, SITE, ["BF"]).valid == 2400
        threading.Timer(0.1, opened.abort).start()
        with pytest.raises(ScanError, match="aborted"):
            opened.acquire(RasterROI((100, 100), 100_000), SITE, ["BF"])
    assert driver.beam == "blanked"


def test_what_is_simulated_elsewhere_is_what_is_simulated_here(tmp_path, monkeypatch):
    options = {"fov_nm": 20.0, "seed": 3}
    with session(open_instrument("simulated:graphene", **options)) as opened:
        here = [opened.acquire(roi, SITE, ["HAADF"]) for roi in (ROI, RasterROI((256, 256), 100, discard_lines=2))]
        path = opened.acquire(ROI.path, SITE, ["HAADF"])
    monkeypatch.setenv("PROBEWISE_AGENT_TOKEN", TOKEN.decode())
    with serving(InstrumentDriver(open_instrument("simulated:graphene", **options))) as ((host, port), _, _):  # noqa: SIM117
        with session(open_instrument(f"agent://{host}:{port}")) as opened:
            there = [opened.acquire(frame.scan, SITE, ["HAADF"]) for frame in here]
            path_there = opened.acquire(ROI.path, SITE, ["HAADF"])
    for one, other in zip([*here, path], [*there, path_there], strict=True):
        np.testing.assert_array_equal(one.counts, other.counts)
        assert (one.duration_ns, one.started_ns, one.valid, one.channels) == (
            other.duration_ns, other.started_ns, other.valid, other.channels)  # fmt: skip


def silent():
    """A port that takes connections and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"agent://127.0.0.1:{listener.getsockname()[1]}"


def test_every_way_of_not_being_answered_is_one_clear_message(agent, monkeypatch):
    monkeypatch.setattr("probewise_agent.client.CONNECT_S", 0.3)
    uri, _ = agent
    listener, mute = silent()
    with listener:
        for wrong, message in (
            ("agent://127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
            ("agent://no.such.host.invalid:7311", "nobody answers at no.such.host.invalid:7311"),
            (mute, "no instrument server answers"),
        ):
            with pytest.raises(InstrumentError, match=message) as caught:
                open_instrument(wrong)
            assert caught.value.exit_code == 3
    monkeypatch.delenv("PROBEWISE_AGENT_TOKEN_FILE")
    with pytest.raises(ConfigurationError, match="no token"):
        open_instrument(uri)
    monkeypatch.setenv("PROBEWISE_AGENT_TOKEN", "short")
    with pytest.raises(ConfigurationError, match="PROBEWISE_AGENT_TOKEN holds 5 bytes"):
        open_instrument(uri)
    monkeypatch.setenv("PROBEWISE_AGENT_TOKEN", "another token of enough bytes")
    with pytest.raises(InstrumentError, match="refused the token") as caught:
        open_instrument(uri)
    assert "another token" not in str(caught.value)
    for wrong in ("agent:127.0.0.1:7", "agent://host", "agent://host:x", "agent://:7", "agent://host:99999"):
        with pytest.raises(ConfigurationError, match="expected agent://HOST:PORT"):
            open_instrument(wrong)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions of POSIX")
def test_a_token_file_that_others_may_read_is_refused(agent, tmp_path):
    (tmp_path / "token").chmod(0o640)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        open_instrument(agent[0])
