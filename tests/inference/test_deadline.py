# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import threading
import time

import pytest

from probewise.inference.deadline import Deadline


def test_a_block_that_takes_longer_is_told_once():
    stop = threading.Event()
    with Deadline(0.02, stop.set) as deadline:
        assert stop.wait(10)
    assert deadline.expired


def test_a_block_that_ends_in_time_is_left_alone():
    calls = []
    with Deadline(0.02, lambda: calls.append("late")) as quick:
        pass
    with Deadline(10, lambda: calls.append("late")):
        time.sleep(0.05)  # past the deadline of the first
    assert calls == []
    assert not quick.expired


def test_the_earlier_of_two_is_first_although_it_came_second():
    order = []
    done = threading.Event()

    def second():
        order.append("second")
        done.set()

    with Deadline(0.2, second), Deadline(0.02, lambda: order.append("first")):
        assert done.wait(10)
    assert order == ["first", "second"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # python 3.12, rightly
def test_it_holds_in_a_forked_child_too():
    with Deadline(10, lambda: None):  # so that the watching thread runs
        child = os.fork()
    if child == 0:  # no assertion here: pytest must not report from the child
        stop = threading.Event()
        with Deadline(0.02, stop.set):
            os._exit(0 if stop.wait(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
