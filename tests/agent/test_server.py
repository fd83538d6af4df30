# SPDX-License-Identifier: BSD-3-Clause
import threading
import time

import numpy as np
import pytest
from serving import CONTEXT, RASTER, TOKEN, comes, lit, serving, slow

from plain_driver import PlainDriver
from probewise_agent.client import RemoteDriver
from probewise_agent.driver import DriverError, ScanFailed, ScanLate


@pytest.fixture(params=["tcp", "unix"])
def address(request, tmp_path):
    return ("127.0.0.1", 0) if request.param == "tcp" else str(tmp_path / "socket")


def scan(client, plan, timeout_s=30.0):
    gave = client.arm(plan, CONTEXT, ["HAADF", "BF"])
    client.blank(False)
    client.start()
    rows, cols = gave["scan"]["shape"]
    out = np.empty((2, rows * cols), np.float32)
    answer = client.read_into(out, timeout_s)
    client.blank(True)
    return out, answer


def test_the_verbs_arrive_on_one_thread_and_the_frame_comes_back(address):
    with serving(address=address) as (where, driver, _):
        client = RemoteDriver(where, TOKEN)
        assert client.describe() == {"name": "plain", "capabilities": driver.capabilities, "limits": driver.limits}
        out, answer = scan(client, RASTER)
        np.testing.assert_array_equal(out, np.arange(24) + np.array([[0], [1]]))
        assert answer == {"valid": 24, "started_ns": 7, "duration_ns": 24000, "notices": ["plain"]}
        client.park((0.25, 0.5))
        assert driver.commands[-1] == ("park", (0.25, 0.5))
        client.park(None)
        client.blank(False)
        client.abort()
        assert driver.beam == "blanked"
        client.close()
        client.close()
        assert not driver.closed
    assert driver.closed
    owners = set().union(*(threads for verb, threads in driver.threads.items() if verb != "abort"))
    assert len(owners) == 1


def test_a_path_arrives_as_it_was_sent(address):
    random = np.random.default_rng(1)
    path = {"kind": "path", "yx": random.random((500, 2)), "dwell_ns": 25 * random.integers(4, 400, 500),
            "active": random.random(500) < 0.5, "pixel": np.arange(-1, 499, dtype="i4"), "shape": [20, 25]}  # fmt: skip
    with serving(address=address) as (where, driver, _):
        client = RemoteDriver(where, TOKEN)
        gave = client.arm(path, CONTEXT, ["BF"])
        sent = driver.commands[-1][1]
        for got in (sent, gave["scan"]):
            assert set(got) == set(path)
            for name, value in path.items():
                np.testing.assert_array_equal(got[name], value)
        client.close()


def test_large_frames_come_through(address):
    plan = {**RASTER, "shape": [300, 400]}
    with serving(address=address) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        for _ in range(2):
            out, answer = scan(client, plan)
            np.testing.assert_array_equal(out, np.arange(120_000, dtype="f4") + np.array([[0], [1]], dtype="f4"))
            assert answer["valid"] == 120_000
        client.close()


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ScanFailed("cut"), ScanFailed), (ScanLate("late"), ScanLate), (DriverError("gone"), DriverError),
     (OSError("odd"), DriverError), (KeyError("key"), DriverError)],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["arm", "start", "read_into", "blank"])
def test_an_error_of_the_driver_comes_with_the_beam_safe(verb, raised, expected):
    driver = PlainDriver()

    def fail(driver):
        if driver.beam != "blanked" or verb == "arm":
            raise raised

    with serving(driver) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        driver.faults[verb] = fail
        with pytest.raises(expected, match=str(raised.args[0])) as caught:
            scan(client, RASTER)
        assert type(caught.value) is expected
        assert driver.beam == "blanked"
        driver.faults.clear()
        assert scan(client, RASTER)[1]["valid"] == 24
        client.close()


def test_a_beam_that_cannot_be_made_safe_is_said_to_be_on():
    driver = PlainDriver()

    def fail(driver):
        raise OSError("line is dead")

    with serving(driver) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        driver.faults.update(start=fail, abort=fail)
        driver.faults["blank"] = lambda driver: fail(driver) if driver.beam == "on" else None
        client.arm(RASTER, CONTEXT, ["BF"])
        client.blank(False)
        with pytest.raises(DriverError, match="the beam may be on: line is dead"):
            client.start()
        with pytest.raises(DriverError, match="abort failed, the beam may be on"):
            client.abort()
        driver.faults.clear()
        assert comes(lambda: driver.beam == "blanked")  # tried again until it works
        client.close()


def test_the_order_of_the_verbs_is_kept():
    with serving() as (where, driver, _):
        client = RemoteDriver(where, TOKEN)
        with pytest.raises(ScanFailed, match="no scan is armed"):
            client.start()
        with pytest.raises(ScanFailed, match="nothing is being scanned"):
            client.read_into(np.empty((1, 24), np.float32), 1.0)
        client.arm(RASTER, CONTEXT, ["BF"])
        with pytest.raises(ValueError, match="channels"):
            client.arm(RASTER, CONTEXT, ["EELS"])
        with pytest.raises(ScanFailed, match="no scan is armed"):
            client.start()
        assert "start" not in [command[0] for command in driver.commands]
        client.close()


def test_a_client_that_is_silent_with_the_beam_on_loses_the_beam_but_not_the_lease():
    with serving(heartbeat_s=0.5) as (where, driver, _):
        client = lit(where, driver)
        assert comes(lambda: driver.beam == "blanked")
        client.arm(RASTER, CONTEXT, ["BF"])
        client.blank(False)
        time.sleep(0.8)
        with pytest.raises(ScanFailed, match="no sign of life"):
            client.start()
        out = np.empty((1, 24), np.float32)
        client.arm(RASTER, CONTEXT, ["BF"])
        client.blank(False)
        client.start()
        notices = client.read_into(out, 1.0)["notices"]
        assert [text for text in notices if "no sign of life" in text]
        client.close()


def test_a_scan_longer_than_the_heartbeat_is_read_to_its_end():
    driver = PlainDriver(realtime=True)
    with serving(driver, heartbeat_s=0.5) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        assert scan(client, slow(1.0))[1]["duration_ns"] == 10**9
        client.close()


def test_a_client_that_stops_while_it_waits_loses_the_scan(monkeypatch):
    driver = PlainDriver(realtime=True)
    with serving(driver, heartbeat_s=0.5) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        monkeypatch.setattr(client, "_beat", lambda: None)  # as a stopped process, or one whose interpreter hangs
        with pytest.raises(ScanFailed, match="aborted"):
            scan(client, {**slow(1.0), "shape": [20, 1000]})
        assert driver.beam == "blanked"
        client.close()


@pytest.mark.parametrize("which", ["_control", "_side", "both"])
@pytest.mark.parametrize("reading", [False, True])
def test_a_cut_connection_blanks(which, reading):
    driver = PlainDriver(realtime=True)
    with serving(driver) as (where, _, server):
        client = RemoteDriver(where, TOKEN)
        client.arm(slow(1.0), CONTEXT, ["BF"])
        client.blank(False)
        client.start()
        thread = threading.Thread(target=fails, args=(lambda: client.read_into(np.empty((1, 1000), np.float32), 5.0),))
        if reading:
            thread.start()
            assert comes(lambda: driver.commands[-1][0] == "read_into")
        for name in ("_control", "_side"):
            if which in (name, "both"):
                getattr(client, name).close()
        assert comes(lambda: driver.beam == "blanked", 1.0)
        if reading:
            thread.join()
        client._end()
        assert comes(lambda: server._lease.holder is None)
        again = RemoteDriver(where, TOKEN)
        assert scan(again, RASTER)[1]["valid"] == 24
        again.close()


def fails(call):
    with pytest.raises(DriverError):
        call()


def test_abort_from_another_thread_ends_a_read():
    driver = PlainDriver(realtime=True)
    with serving(driver) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        client.arm(slow(1.0), CONTEXT, ["BF"])
        client.blank(False)
        client.start()
        thread = threading.Thread(target=fails, args=(lambda: client.read_into(np.empty((1, 1000), np.float32), 5.0),))
        thread.start()
        assert comes(lambda: driver.commands[-1][0] == "read_into")
        client.abort()
        assert driver.beam == "blanked"
        thread.join()
        client.close()


def test_a_verb_that_lights_while_the_beam_is_taken_off_does_not_leave_it_on():
    driver = PlainDriver()
    inside, go = threading.Event(), threading.Event()

    def wait(driver):
        if driver.commands[-1] == ("blank", False):
            inside.set()
            go.wait(5.0)

    with serving(driver) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        driver.faults["blank"] = wait
        raised = []

        def light():
            try:
                client.blank(False)
            except ScanFailed as error:
                raised.append(error)

        thread = threading.Thread(target=light)
        thread.start()
        inside.wait(5.0)
        client.abort()
        go.set()
        thread.join()
        assert driver.beam == "blanked"
        assert "aborted during blank" in str(raised[0])
        client.close()


def test_a_hung_verb_is_aborted_and_the_next_controller_is_told(monkeypatch):
    monkeypatch.setattr("probewise_agent.owner.VERB_S", 0.2)
    go = threading.Event()
    driver = PlainDriver({"start": lambda driver: go.wait(10.0)})
    with serving(driver) as (where, _, server):
        client = RemoteDriver(where, TOKEN)
        client.arm(RASTER, CONTEXT, ["BF"])
        client.blank(False)
        thread = threading.Thread(target=fails, args=(client.start,))
        thread.start()
        assert comes(lambda: driver.beam == "blanked")
        client._side.close()
        client._control.close()
        assert comes(lambda: server._lease.holder.lost is not None)
        with pytest.raises(DriverError, match="the driver hangs in start"):
            RemoteDriver(where, TOKEN)
        go.set()
        thread.join()
        assert comes(lambda: server._lease.holder is None)
        assert driver.beam == "blanked"
        RemoteDriver(where, TOKEN).close()


def test_the_server_that_is_stopped_leaves_the_beam_off_and_the_driver_closed():
    with serving() as (where, driver, server):
        client = lit(where, driver)
        server.stop("now")
        assert comes(lambda: driver.closed)
        assert driver.beam == "blanked"
        with pytest.raises(DriverError, match="takes the beam off"):
            client.blank(False)


def test_it_lingers_no_longer_than_it_was_told():
    with serving(linger_s=30.0) as (where, driver, server):
        RemoteDriver(where, TOKEN).close()
        assert comes(lambda: driver.closed)
        assert server.left_well
    with serving(linger_s=0.1) as (where, driver, server):
        RemoteDriver(where, TOKEN)._end()
        assert comes(lambda: driver.closed)
        assert not server.left_well


def test_a_driver_that_cannot_be_made_is_an_error_of_open():
    def fail():
        raise DriverError("no microscope")

    from probewise_agent.server import Server, listen

    with pytest.raises(DriverError, match="no microscope"):
        Server(fail, TOKEN, listen(("127.0.0.1", 0))).open()


def test_an_abort_for_one_controller_does_not_meet_the_next():
    driver = PlainDriver()
    with serving(driver) as (where, _, _):
        first = lit(where, driver)
        driver.faults["abort"] = lambda driver: threading.current_thread().name == "abort" and time.sleep(0.3)
        first._end()
        second = None
        while second is None:
            try:
                second = RemoteDriver(where, TOKEN)
            except DriverError:
                time.sleep(0.01)
        driver.faults.clear()
        second.blank(False)
        time.sleep(0.4)
        assert driver.beam == "on"
        second.close()
