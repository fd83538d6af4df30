# SPDX-License-Identifier: BSD-3-Clause
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import CAPABILITY, ROI, SAFE, SITE, VERBS, FakeInstrument, Fault, scan_some
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import session
from probewise.types import Capability, Instrument, Limits, RasterROI, ScanPath


def test_the_fake_speaks_the_protocol(make_fake):
    assert isinstance(make_fake(), Instrument)


def test_frames_come_with_their_geometry(make_fake):
    first, second = scan_some(make_fake())
    assert first.counts.shape == (1, 4, 6)
    assert first.context == SITE
    assert first.scan == ROI
    assert second.sequence == first.sequence + 1
    np.testing.assert_array_equal(second.counts, first.counts + 1)  # the fake adds the sequence


def test_a_list_of_positions_gives_one_count_a_sample(make_fake):
    with session(make_fake()) as opened:
        frame = opened.acquire(ROI.path, SITE, ["HAADF", "BF"])
    assert frame.counts.shape == (2, 24)


def test_a_scan_in_two_parts(make_fake):
    fake = make_fake()
    with session(fake) as opened:
        before = time.perf_counter_ns()
        frame = opened.begin(ROI, SITE, ["HAADF"])
        with pytest.raises(InstrumentError, match="one call at a time"):
            opened.call(fake.checkpoint)
        with pytest.raises(InstrumentError, match="one call at a time"):
            opened.begin(ROI, SITE, ["HAADF"])
        assert frame().sequence == 1
        assert before < opened.last_pixel_ns < time.perf_counter_ns()
        assert fake.beam == "blanked"
        with pytest.raises(ConfigurationError):
            opened.begin(ROI, SITE, ["EELS"])
        assert opened.acquire(ROI, SITE, ["HAADF"]).sequence == 2


def test_leaving_cuts_a_scan_that_nobody_waits_for(make_fake):
    fake = make_fake(faults=[Fault("read_into", "hang-until-abort")])
    with session(fake) as opened:
        opened.begin(ROI, SITE, ["HAADF"])
    assert fake.closed
    assert fake.beam in SAFE


def test_abort_reaches_a_scan_begun_in_two_parts(make_fake):
    fake = make_fake(faults=[Fault("read_into", "hang-until-abort")])
    with session(fake) as opened:
        frame = opened.begin(ROI, SITE, ["HAADF"])
        while fake.calls("read_into") == 0:
            time.sleep(0.001)
        opened.abort()
        with pytest.raises(ScanError):
            frame()
        assert fake.beam in SAFE
        assert opened.acquire(ROI, SITE, ["HAADF"]).sequence == 2


def test_all_verbs_but_abort_run_on_one_thread_of_the_session(make_fake):
    fake = make_fake()
    with session(fake) as opened:
        thread = threading.Thread(target=opened.acquire, args=(ROI, SITE, ["HAADF"]))
        thread.start()
        thread.join()
        opened.acquire(ROI, SITE, ["HAADF"])
        opened.abort()
        assert opened.call(fake.checkpoint) == {"clock_ns": fake.clock_ns, "sequence": 2}
    threads = {command.thread for command in fake.commands if command.verb != "abort"}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("idle", "between"), [("blank", "blanked"), ("park", "parked"), ("scan", "on")])
def test_idle_rule_between_scans_and_safe_state_at_the_end(make_fake, idle, between):
    fake = make_fake()
    with session(fake, idle=idle, park_yx=(0.0, 1.0)) as opened:
        for _ in range(2):
            opened.acquire(ROI, SITE, ["HAADF"])
            assert fake.beam == between
    assert fake.beam == "blanked"
    assert fake.closed
    parked = [command.arguments["yx"] for command in fake.commands if command.verb == "park"]
    assert (idle == "park") == ((0.0, 1.0) in parked)


def test_without_a_blanker_the_beam_is_parked(make_fake):
    fake = make_fake(capability=CAPABILITY & ~Capability.BLANK)
    scan_some(fake, idle="park")
    assert fake.beam == "parked"
    assert fake.calls("blank") == 0


def test_idle_blank_without_a_blanker_is_refused(make_fake):
    fake = make_fake(capability=CAPABILITY & ~Capability.BLANK)
    with pytest.raises(ConfigurationError, match="idle is 'blank', expected 'park' or 'scan'"):
        scan_some(fake)
    assert fake.beam in SAFE
    assert fake.closed


def test_wrong_options_are_named(make_fake):
    with pytest.raises(ConfigurationError, match="idle is 'rest', expected blank, park or scan"):
        session(make_fake(), idle="rest")
    with pytest.raises(ConfigurationError, match="park_yx is"):
        session(make_fake(), park_yx=(0.5, 1.5))
    with pytest.raises(ValueError, match="margin_s is 0"):
        session(make_fake(), margin_s=0)


@pytest.mark.parametrize("kind", ["raise", "raise-after"])
@pytest.mark.parametrize("call", [0, 1, 2, None])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "error", [OSError("lost"), KeyboardInterrupt(), SystemExit(7)], ids=["OSError", "Ctrl-C", "exit"]
)
def test_whatever_raises_the_beam_ends_safe(make_fake, verb, call, kind, error):
    fake = make_fake([Fault(verb, kind, call, error)])
    raised = None
    try:
        scan_some(fake)
    except (InstrumentError, KeyboardInterrupt, SystemExit) as failure:
        raised = failure
    assert fake.beam in SAFE
    if raised is not None and isinstance(error, OSError):
        assert isinstance(raised, InstrumentError)
        assert "lost" in str(raised)
        assert raised.exit_code == 3
    reached = fake.calls(verb) > (call or 0)
    assert (raised is not None) == (reached and verb not in ("abort", "park"))


def test_late_frame_of_a_cancelled_scan_is_dropped(make_fake):
    fake = make_fake([Fault("read_into", "late", 0)])
    with session(fake) as opened:
        with pytest.raises(ScanTimeout, match="no data"):
            opened.acquire(ROI, SITE, ["HAADF"])
        frame = opened.acquire(ROI, SITE, ["HAADF"])
    assert frame.sequence == 2
    assert fake.calls("read_into") == 3


def test_duplicate_frame_is_dropped(make_fake):
    frames = scan_some(make_fake([Fault("read_into", "duplicate", 1)]))
    assert [frame.sequence for frame in frames] == [1, 2]


def test_only_stale_frames_is_a_scan_error(make_fake, monkeypatch):
    fake = make_fake()
    with session(fake) as opened:
        stale = opened.acquire(ROI, SITE, ["HAADF"])
        monkeypatch.setattr(fake, "read_into", lambda *_, **__: stale)
        with pytest.raises(ScanError, match="8 frames of other scans came running, expected sequence 2"):
            opened.acquire(ROI, SITE, ["HAADF"])
        assert fake.beam == "blanked"


def test_something_else_than_a_frame_is_a_scan_error(make_fake):
    with pytest.raises(ScanError, match="read_into gave a NoneType, expected a Frame"):
        scan_some(make_fake([Fault("read_into", "not-a-frame", 0)]))


def test_refusal_by_the_backend_is_a_configuration_error(make_fake):
    fake = make_fake([Fault("arm", "raise", 0, ValueError("dwell_ns is 1, expected 50"))])
    with pytest.raises(ConfigurationError, match="dwell_ns is 1, expected 50"):
        scan_some(fake)
    assert fake.calls("start") == 0


def test_a_session_is_used_inside_its_block_and_once(make_fake):
    fake = make_fake()
    opened = session(fake)
    with pytest.raises(InstrumentError, match="not open"):
        opened.acquire(ROI, SITE, ["HAADF"])
    with opened:
        pass
    opened.close()
    opened.abort()
    with pytest.raises(InstrumentError, match="not open"):
        opened.acquire(ROI, SITE, ["HAADF"])
    with pytest.raises(InstrumentError, match="entered before"):
        opened.__enter__()
    assert fake.calls("close") == 1


def test_an_error_of_the_block_is_not_hidden_by_one_of_closing(make_fake):
    fake = make_fake([Fault("close", "raise", 0, OSError("port busy"))])
    with pytest.raises(KeyError) as caught, session(fake):
        raise KeyError("mine")
    assert any("port busy" in note for note in caught.value.__notes__)
    assert fake.beam == "blanked"


FAULTS = st.builds(
    Fault,
    verb=st.sampled_from(VERBS),
    kind=st.sampled_from(["raise", "raise-after"]),
    call=st.integers(0, 6),
) | st.builds(
    Fault,
    verb=st.just("read_into"),
    kind=st.sampled_from(["late", "duplicate", "short", "nan", "shape", "dtype", "hang-until-abort", "not-a-frame"]),
    call=st.integers(0, 6),
)


@settings(max_examples=300, deadline=None)
@given(faults=st.lists(FAULTS, max_size=6), idle=st.sampled_from(["blank", "park", "scan"]), scans=st.integers(1, 6))
def test_no_sequence_of_faults_leaves_the_beam_on_or_a_stale_frame(faults, idle, scans):
    fake = FakeInstrument(faults)
    sequences, after_errors = [], []
    try:
        with session(fake, idle=idle, margin_s=0.05) as opened:
            for _ in range(scans):
                try:
                    sequences.append((opened.acquire(ROI, SITE, ["HAADF"]).sequence, fake.checkpoint()["sequence"]))
                except InstrumentError as error:
                    after_errors.append((fake.beam, str(error)))
                else:
                    assert fake.beam in {"blank": ("blanked",), "park": ("parked",), "scan": ("on",)}[idle]
    except InstrumentError:
        pass
    finally:
        fake.release()
    assert fake.beam in SAFE
    assert all(got == armed for got, armed in sequences)
    # Where abort itself failed twice running the message owns up to it.
    assert all(beam in SAFE or "the beam may be on" in message for beam, message in after_errors)


@settings(max_examples=50, deadline=None)
@given(
    yx=st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 2),
)
def test_no_position_outside_the_frame_reaches_the_instrument(yx):
    fake = FakeInstrument()
    path = ScanPath(
        yx=np.array([yx]),
        dwell_ns=np.array([1000]),
        active=np.array([True]),
        pixel=np.array([0], dtype=np.int32),
        shape=(1, 1),
    )
    inside = all(0 <= value <= 1 for value in yx)
    with session(fake) as opened:
        if inside:
            assert opened.acquire(path, SITE, ["HAADF"]).valid == 1
        else:
            with pytest.raises(ConfigurationError, match=r"yx\[0\] is"):
                opened.acquire(path, SITE, ["HAADF"])
    assert fake.calls("arm") == inside


def test_limits_are_those_of_the_instrument(make_fake):
    limits = Limits(dwell_min_ns=500)
    fake = make_fake(limits=limits)
    with session(fake) as opened:
        assert opened.limits is limits
        assert opened.capability is CAPABILITY
        assert opened.instrument is fake
        with pytest.raises(ConfigurationError, match="dwell_ns is 499, expected 500 to"):
            opened.acquire(RasterROI((2, 2), 499), SITE, ["HAADF"])
    assert fake.calls("arm") == 0
