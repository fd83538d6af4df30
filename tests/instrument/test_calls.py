# SPDX-License-Identifier: BSD-3-Clause
import threading
import time

import pytest

from fakes import ROI, SAFE, SITE, VERBS, Fault, scan_some
from probewise.errors import InstrumentError, ScanError, ScanTimeout
from probewise.instrument import session
from probewise.types import RasterROI


@pytest.mark.parametrize("idle", ["blank", "park", "scan"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_call_that_never_returns_does_not_hang_the_session(make_fake, verb, idle):
    fake = make_fake([Fault(verb, "hang", 0)])
    began = time.monotonic()
    hangs = verb not in ("abort", "park") or (verb == "park" and idle == "park")
    if verb == "blank" and idle == "park":
        hangs = True  # unblanking before the first scan
    if hangs:
        with pytest.raises(InstrumentError, match=r"passed its deadline|hangs"):
            scan_some(fake, idle=idle, margin_s=0.1)
    else:
        scan_some(fake, idle=idle, margin_s=0.1)
    assert fake.beam in SAFE
    assert time.monotonic() - began < 5  # deadline, abort and close are bounded by margins of 0.1 s


def test_abort_that_hangs_too_is_said(make_fake):
    fake = make_fake([Fault("read_into", "hang"), Fault("abort", "hang", None)])
    with pytest.raises(InstrumentError, match="read_into hangs and so does abort: the beam may be on"):
        scan_some(fake, margin_s=0.1)


def test_abort_that_fails_is_said(make_fake):
    fake = make_fake([Fault("read_into", "hang"), Fault("abort", "raise", None, OSError("no line"))])
    with pytest.raises(InstrumentError, match=r"abort failed, the beam may be on: OSError: no line"):
        scan_some(fake, margin_s=0.1)


def test_a_call_that_returns_late_leaves_the_beam_safe_and_the_session_usable(make_fake):
    fake = make_fake([Fault("start", "hang", 0)])
    with session(fake, margin_s=0.2) as opened:
        with pytest.raises(ScanTimeout, match="start passed its deadline"):
            opened.acquire(ROI, SITE, ["HAADF"])
        assert fake.beam == "blanked"
        fake.release()  # the driver comes back and starts a scan that nobody waits for
        frame = opened.acquire(ROI, SITE, ["HAADF"])
        assert frame.sequence == 2
        assert fake.beam == "blanked"


def test_an_instrument_that_stays_away_is_refused_at_the_next_scan(make_fake):
    fake = make_fake([Fault("read_into", "hang", 0)])
    opened = session(fake, margin_s=0.05).__enter__()
    with pytest.raises(ScanTimeout):
        opened.acquire(ROI, SITE, ["HAADF"])
    with pytest.raises(InstrumentError, match="read_into of an earlier call has not returned"):
        opened.acquire(ROI, SITE, ["HAADF"])
    with pytest.raises(InstrumentError, match="was not closed; the beam was made safe by abort"):
        opened.close()
    assert fake.beam == "blanked"


def test_deadline_is_the_duration_times_a_factor_and_a_margin(make_fake):
    fake = make_fake()
    slow = RasterROI(shape=(2, 2), dwell_ns=1_000_000_000)
    with session(fake, margin_s=3.0) as opened:
        opened.acquire(slow, SITE, ["HAADF"])
    timeout_s = next(c.arguments["timeout_s"] for c in fake.commands if c.verb == "read_into")
    assert timeout_s == pytest.approx(1.5 * 4 + 3.0)


def test_a_wall_clock_that_jumps_changes_nothing(make_fake, monkeypatch):
    jumps = iter([0.0, 3600.0, -3600.0] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    assert [frame.sequence for frame in scan_some(make_fake(), scans=5, margin_s=1.0)] == [1, 2, 3, 4, 5]


def test_abort_from_another_thread_ends_the_scan(make_fake):
    fake = make_fake([Fault("read_into", "hang-until-abort", 0)])
    with session(fake) as opened:
        timer = threading.Timer(0.05, opened.abort)
        timer.start()
        with pytest.raises(ScanError, match="aborted"):
            opened.acquire(ROI, SITE, ["HAADF"])
        timer.join()
        assert fake.beam == "blanked"
        assert opened.acquire(ROI, SITE, ["HAADF"]).sequence == 2


def test_abort_before_start_keeps_the_beam_from_moving(make_fake, monkeypatch):
    fake = make_fake()
    with session(fake) as opened:
        arm = fake.arm

        def arm_and_abort(*arguments, **keywords):
            opened.abort()
            return arm(*arguments, **keywords)

        monkeypatch.setattr(fake, "arm", arm_and_abort)
        with pytest.raises(ScanError, match="aborted during arm"):
            opened.acquire(ROI, SITE, ["HAADF"])
    assert fake.calls("start") == 0


def test_abort_that_does_not_return_is_bounded(make_fake):
    fake = make_fake([Fault("abort", "hang", None)])
    with session(fake, margin_s=0.05) as opened:
        with pytest.raises(InstrumentError, match=r"abort has not returned within 0\.05 s"):
            opened.abort()
        with pytest.raises(InstrumentError, match="the beam may be on"):
            opened.acquire(ROI, SITE, ["HAADF"])


def test_second_thread_is_refused_while_one_scans(make_fake):
    fake = make_fake([Fault("read_into", "hang-until-abort", 0)])
    errors = []

    def scan():
        with pytest.raises(ScanError) as caught:
            opened.acquire(ROI, SITE, ["HAADF"])
        errors.append(caught.value)

    with session(fake) as opened:
        thread = threading.Thread(target=scan)
        thread.start()
        while fake.calls("read_into") == 0:
            time.sleep(0.001)
        with pytest.raises(InstrumentError, match="another thread is using the session"):
            opened.acquire(ROI, SITE, ["HAADF"])
        opened.abort()
        thread.join()
    assert len(errors) == 1
