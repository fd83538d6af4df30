# SPDX-License-Identifier: BSD-3-Clause
"""Servers that misbehave, aborts at every stage: the beam ends blanked and no frame holds another one's data."""

import time

import numpy as np
import pytest

from open_beam_case import CHANNELS, LONG, SITE, abort_at, expected_ramp, scanned
from open_beam_server import ramp
from probewise.errors import InstrumentError, ScanError, ScanTimeout
from probewise.instrument import session
from probewise.instrument.open_beam.microscope import LEAD_NS
from probewise.scan import hilbert
from probewise.types import Context, RasterROI


def test_no_more_than_the_lead_is_on_its_way(server, opened):
    instrument = opened(server)

    def counts(yx, dwell_ns):  # hardware that takes its first pixels and answers when the client has given up
        while instrument._running is not None:
            time.sleep(0.001)
        return ramp(yx, dwell_ns)

    server.counts = counts
    with pytest.raises(ScanTimeout, match="0 of 1024 samples came"):
        scanned(instrument, hilbert((32, 32), 500_000), timeout_s=0.2)
    assert len(server.codes()) * 500_000 == LEAD_NS
    assert (instrument.beam, server.beam, server.connections) == ("blanked", "blanked", 1)


def test_out_fills_while_the_scan_goes_on(server, opened):
    instrument = opened(server)
    out = np.full((1, 1600), np.nan, dtype=np.float32)
    armed = instrument.arm(LONG, SITE, channels=CHANNELS)
    threads = abort_at(server, instrument, 400)
    instrument.start(armed)
    with pytest.raises(ScanError, match=r"aborted after \d+ samples"):
        instrument.read_into(armed, out, timeout_s=20.0)
    threads[0].join()
    came = np.isfinite(out[0])
    assert 400 - LEAD_NS // 1_000_000 <= came.sum() <= 400
    np.testing.assert_array_equal(out[0, came], expected_ramp(LONG, SITE)[: came.sum()])


FAULTS = {
    "stall": (ScanTimeout, r"\d+ of 256 samples came before the timeout"),
    "short": (ScanTimeout, r"\d+ of 256 samples came before the timeout"),
    "cut": (ScanError, "closed the connection|was cut off"),
    "garbage": (ScanError, "broke the protocol: after .* word .* is 32767, expected a detector code of 0 to 16383"),
    "late": (ScanTimeout, r"\d+ of 256 samples came before the timeout"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_after_a_fault_the_beam_is_blanked_and_the_next_frame_is_right(server, opened, request, kind):
    instrument = opened(server)
    path = hilbert((16, 16), 1000)
    error, message = FAULTS[kind]
    if kind == "stall":
        request.getfixturevalue("impatient")
    server.fault = (kind, 100)
    with pytest.raises(error, match=message):
        scanned(instrument, path, timeout_s=0.3 if error is ScanTimeout else 20.0)
    assert (instrument.beam, server.beam) == ("blanked", "blanked")
    assert server.connections == (2 if kind in ("stall", "cut", "garbage") else 1)
    again = Context((5.0, 5.0), (20.0, 20.0))
    frame = scanned(instrument, path, again)
    np.testing.assert_array_equal(frame.counts[0], expected_ramp(path, again))  # nothing of the scan before


def test_another_cookie_is_no_answer(server, opened):
    instrument = opened(server)
    path = hilbert((16, 16), 1000)
    armed = instrument.arm(path, SITE, channels=CHANNELS)
    instrument.blank(False)
    server.fault = ("cookie", 0)
    instrument.start(armed)
    with pytest.raises(ScanError, match=r"broke the protocol: ffff.... came before the first sample, expected ffff"):
        instrument.read_into(armed, np.empty((1, 256), dtype=np.float32), timeout_s=20.0)
    assert (instrument.beam, server.beam) == ("blanked", "blanked")


def test_a_slow_answer_is_waited_for(server, opened):
    instrument = opened(server)
    path = hilbert((16, 16), 1000)
    server.fault = ("slow", 10)
    frame = scanned(instrument, path)
    np.testing.assert_array_equal(frame.counts[0], expected_ramp(path, SITE))


def test_a_server_that_is_gone_is_told_with_the_state_of_the_beam(server, opened):
    instrument = opened(server)
    server.fault = ("gone", 10)
    with pytest.raises(ScanError, match=r"cannot be reached .*: the beam could not be blanked and may be on"):
        scanned(instrument, hilbert((16, 16), 1000))
    assert instrument.beam == "unknown"
    for verb in (instrument.abort, lambda: instrument.blank(True), instrument.close):
        with pytest.raises(InstrumentError, match="may be on"):
            verb()
    instrument.close()  # once was enough


def test_a_lost_line_is_made_again_blanked_before_another_scan(server, opened):
    instrument = opened(server)
    armed = instrument.arm(LONG, SITE, channels=CHANNELS)
    instrument._control.drop()
    with pytest.raises(ScanError, match=r"was lost, expected blank\(False\) to connect again"):
        instrument.start(armed)
    instrument.blank(False)
    assert (server.connections, instrument.beam) == (2, "on")


@pytest.mark.parametrize("stage", ["opened", "armed", "lit", "started", "first", "middle", "unsent", "read", "closed"])
def test_abort_ends_blanked_at_every_stage(server, opened, stage):
    """Also in the middle of a vector scan, where the project's own client sends no Blank."""
    instrument = opened(server)
    path = hilbert((32, 32), 1_000_000)
    out = np.empty((1, 1024), dtype=np.float32)
    if stage in ("armed", "lit", "started", "first", "middle", "unsent"):
        armed = instrument.arm(path, SITE, channels=CHANNELS)
        if stage != "armed":
            instrument.blank(False)
    if stage in ("first", "middle"):
        threads = abort_at(server, instrument, {"first": 0, "middle": 300}[stage])
    if stage in ("started", "first", "middle", "unsent"):
        instrument.start(armed)
    if stage == "unsent":  # the end of a command still waits on our side
        instrument._control.line._unsent = memoryview(b"\x20" * 4)
    if stage == "read":
        scanned(instrument, RasterROI((4, 4), 1000))
    if stage == "closed":
        instrument.close()
    if stage in ("first", "middle"):
        with pytest.raises(ScanError, match=r"aborted after|does not run"):
            instrument.read_into(armed, out, timeout_s=20.0)
        threads[0].join()
    else:
        instrument.abort()
    assert instrument.beam == "blanked"
    assert server.state.blanked
    assert server.state.commands[-2] == ("blank", 1)
    assert server.connections == 1
    assert len(server.codes()) <= {"middle": 300}.get(stage, 0) + LEAD_NS // 1_000_000 + 2
    if stage != "closed":
        assert server.beam == "blanked"
        server.counts = ramp
        frame = scanned(instrument, RasterROI((4, 4), 1000))
        np.testing.assert_array_equal(frame.counts.ravel(), expected_ramp(RasterROI((4, 4), 1000), SITE))


def test_aborts_of_a_session_at_random_moments_end_blanked(server, opened):
    random = np.random.default_rng(8)
    instrument = opened(server)
    path = hilbert((16, 16), 500_000)
    with session(instrument, margin_s=30.0) as held:
        for samples in random.integers(0, 200, 12):
            server.scanned.clear()
            threads = abort_at(server, instrument, samples, held.abort)
            with pytest.raises(ScanError, match=r"abort|does not run"):
                held.acquire(path, SITE, CHANNELS)
            threads[0].join()
            assert (instrument.beam, server.beam) == ("blanked", "blanked")
        server.counts = ramp
        np.testing.assert_array_equal(held.acquire(path, SITE, CHANNELS).counts[0], expected_ramp(path, SITE))
    assert server.connections == 1


def test_a_hung_server_is_left_for_a_new_connection(server, opened, impatient):
    instrument = opened(server)
    armed = instrument.arm(LONG, SITE, channels=CHANNELS)
    server.fault = ("stall", 0)
    instrument.blank(False)
    instrument.start(armed)
    instrument.abort()
    assert server.connections == 2
    assert (instrument.beam, server.beam) == ("blanked", "blanked")
