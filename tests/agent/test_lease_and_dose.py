# SPDX-License-Identifier: BSD-3-Clause
import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
from dying import dying_server
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import CONTEXT, TOKEN, comes, leased, lit, serving, slow

from plain_driver import PlainDriver
from probewise_agent import messages
from probewise_agent.client import RemoteDriver
from probewise_agent.dose import Dose, State, beam_ns
from probewise_agent.driver import DriverError


def test_a_second_controller_is_refused_while_the_lease_lives():
    with serving() as (where, driver, _):
        first = RemoteDriver(where, TOKEN)
        with pytest.raises(DriverError, match=r"has the instrument and was heard 0\.\d s ago"):
            RemoteDriver(where, TOKEN)
        first.blank(False)
        assert driver.beam == "on"
        first.close()
        second = RemoteDriver(where, TOKEN)
        assert second._fence > first._fence
        second.close()


def test_a_silent_controller_is_displaced_and_its_commands_are_not_done():
    with serving(lease_s=0.2) as (where, driver, _):
        control, side, fence = leased(where)
        time.sleep(0.3)
        second = RemoteDriver(where, TOKEN)
        before = len(driver.commands)
        try:
            control.send(messages.LIGHT, 1, fence)
            control.receive()
        except messages.ConnectionLost:
            pass
        else:
            pytest.fail("the displaced controller got an answer")
        assert ("blank", False) not in driver.commands[before:]
        second.blank(False)
        assert driver.beam == "on"
        second.close()
        control.close()
        side.close()


@pytest.mark.parametrize("change", [-1, 1, -(1 << 20)])
def test_a_command_with_another_fencing_token_is_refused(change):
    with serving() as (where, driver, _):
        control, side, fence = leased(where)
        control.send(messages.LIGHT, 1, fence + change)
        reply = control.receive()
        assert reply.kind == messages.DENIED
        assert "fencing token" in reply.data["message"]
        assert driver.beam == "blanked"
        control.close()
        side.close()


def test_fencing_tokens_rise_over_restarts(tmp_path):
    fences = []
    for _ in range(3):
        state = State(str(tmp_path / "state"))
        with serving(dose=Dose(None, state)) as (where, _, _):
            for _ in range(2):
                client = RemoteDriver(where, TOKEN)
                fences.append(client._fence)
                client.close()
        state.close()
    assert fences == [1, 2, 3, 4, 5, 6]


def test_one_server_holds_an_instrument(tmp_path):
    path = str(tmp_path / "state")
    state = State(path)
    with pytest.raises(DriverError, match="served by another process"):
        State(path)
    state.close()
    State(path).close()


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-1], lambda text: text[:9] + b"\x7f" + text[10:], lambda text: b"x"]
)
def test_a_damaged_state_file_is_refused(tmp_path, spoil):
    path = tmp_path / "state"
    state = State(str(path))
    state.write(3, 10**9)
    state.close()
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DriverError, match="damaged"):
        State(str(path))


@settings(deadline=None, max_examples=100)
@given(
    budget=st.one_of(st.none(), st.integers(0, 10**6)),
    steps=st.lists(st.tuples(st.integers(0, 10**5), st.floats(0, 1)), max_size=30),
)
def test_what_is_reserved_and_spent_never_passes_the_budget(budget, steps):
    dose = Dose(budget)
    spent = 0
    for ahead, share in steps:
        if dose.reserve(ahead):
            spent += int(ahead * share)
            dose.commit(int(ahead * share))
        else:
            assert budget is not None
            assert spent + ahead > budget
        assert dose.spent_ns == spent
        assert budget is None or dose.spent_ns + dose.ahead_ns <= budget


def test_the_budget_is_a_hard_stop_that_counts_the_idle_beam():
    budget = 600_000_000
    with serving(dose=Dose(budget), heartbeat_s=5.0) as (where, driver, _):
        client = lit(where, driver)  # left on
        assert comes(lambda: driver.beam == "blanked")
        assert 300_000_000 < driver.lit_ns <= budget
        with pytest.raises(DriverError, match="dose budget has"):
            client.blank(False)
        spent = client.spent()
        assert driver.lit_ns <= spent["spent_ns"] <= budget
        assert spent["reserved_ns"] == 0
        client.close()


def test_a_scan_beyond_the_budget_does_not_begin():
    with serving(dose=Dose(600_000_000)) as (where, driver, _):
        client = RemoteDriver(where, TOKEN)
        client.arm(slow(0.5), CONTEXT, ["BF"])
        client.blank(False)
        with pytest.raises(DriverError, match=r"dose budget has 0\.6 s of beam left, expected at least 0\.75"):
            client.start()
        assert driver.beam == "blanked"
        assert "start" not in [command[0] for command in driver.commands]
        client.close()


def test_the_count_survives_the_controller():
    with serving(dose=Dose(10**10)) as (where, driver, _):
        counts = []
        for _ in range(3):
            client = lit(where, driver)
            time.sleep(0.03)
            client._end()  # without a word
            assert comes(lambda: driver.beam == "blanked")
            client = RemoteDriver(where, TOKEN) if comes(lambda: free(where)) else None
            counts.append(client.spent()["spent_ns"])
            client.close()
            assert driver.lit_ns <= counts[-1]
        assert np.diff([0, *counts]).min() >= 30_000_000


def free(where):
    try:
        RemoteDriver(where, TOKEN).close()
    except DriverError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process that was forked")
def test_the_count_is_never_less_than_the_beam_was_on_wherever_the_server_is_killed(tmp_path):
    path, budget = str(tmp_path / "state"), 10**12
    random = np.random.default_rng(5)
    context = multiprocessing.get_context("spawn")
    truth = 0
    for _ in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=dying_server, args=(path, budget, theirs), daemon=True)
        process.start()
        theirs.close()  # or a process that died would be waited for
        assert ours.recv() == "ready"
        time.sleep(random.uniform(0.02, 0.1))
        process.kill()
        process.join()
        last = 0
        try:
            while ours.poll():
                last = ours.recv()
        except EOFError:
            pass
        truth += last
        state = State(path)
        assert truth <= state.beam_ns <= budget
        state.close()


def test_electrons_become_beam_time():
    assert beam_ns(1e9, 160.2176634) == 10**9  # 160.2 pA are 1e9 electrons a second
    assert beam_ns(0.5e9, 160.2176634) == 5 * 10**8


def test_races_of_controllers_are_won_by_one_each(tmp_path):
    driver = PlainDriver()
    with serving(driver, str(tmp_path / "socket")) as (where, _, _):
        won, lock = [], threading.Lock()

        def run(number):
            for turn in range(3):
                client = None
                while client is None:
                    try:
                        client = RemoteDriver(where, TOKEN)
                    except DriverError:
                        time.sleep(0.001)
                for step in range(4):
                    client.park((number / 8, step / 4 + turn / 100))
                client.close()
                with lock:
                    won.append((number, turn))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    parks = [command[1] for command in driver.commands if command[0] == "park"]
    assert len(parks) == 4 * len(won)
    assert len(won) == 24
    for begin in range(0, len(parks), 4):
        group = np.array(parks[begin : begin + 4])
        assert np.ptp(group[:, 0]) == 0
        np.testing.assert_allclose(np.diff(group[:, 1]), 0.25)
