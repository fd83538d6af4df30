# SPDX-License-Identifier: BSD-3-Clause
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import CAPABILITY, VERBS, FakeInstrument, Fault
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import session
from probewise.types import Capability, Context, Instrument, Limits, RasterROI, ScanPath

ROI = RasterROI(shape=(4, 6), dwell_ns=1000)
SITE = Context(fov_nm=(8.0, 8.0))
SAFE = ("blanked", "parked")


@pytest.fixture
def make_fake():
    made = []

    def make(*arguments, **keywords):
        made.append(FakeInstrument(*arguments, **keywords))
        return made[-1]

    yield make
    for fake in made:
        fake.release()


def scan_some(fake, scans=2, **options):
    with session(fake, **options) as opened:
        return [opened.acquire(ROI, SITE, ["HAADF"]) for _ in range(scans)]


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
