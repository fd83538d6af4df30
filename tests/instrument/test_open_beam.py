# SPDX-License-Identifier: BSD-3-Clause
import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from open_beam_server import TOP, OpenBeamServer, ramp, specimen
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import open_instrument, session
from probewise.instrument.open_beam import LEAD_NS
from probewise.scan import hilbert, make_scan, ordered
from probewise.types import Capability, Context, Instrument, RasterROI, ScanPath

FIELD = (200.0, 160.0)
SITE = Context((8.0, 6.0), (-40.0, 30.0))
CHANNELS = ("HAADF",)
LONG = RasterROI((40, 40), 1_000_000)  # 1.6 s


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A blank is waited for as long as a busy machine may take; tests of a server that never answers do not."""
    monkeypatch.setattr("probewise.instrument.open_beam_control.SAFE_S", 20.0)


@pytest.fixture
def impatient(patient, monkeypatch):
    monkeypatch.setattr("probewise.instrument.open_beam_control.SAFE_S", 0.3)


@pytest.fixture
def server():
    with OpenBeamServer() as made:
        yield made


@pytest.fixture
def opened():
    made = []

    def open_at(server, **options):
        made.append(open_instrument(server.uri, **{"fov_nm": FIELD, **options}))
        return made[-1]

    yield open_at
    for instrument in made:
        with contextlib.suppress(InstrumentError):  # of servers that are gone
            instrument.close()


def scanned(instrument, scan, context=SITE, timeout_s=20.0):
    """One frame by the verbs."""
    armed = instrument.arm(scan, context, channels=CHANNELS)
    samples = scan.shape[0] * scan.shape[1] if isinstance(scan, RasterROI) else len(scan.yx)
    instrument.blank(False)
    instrument.start(armed)
    return instrument.read_into(armed, np.full((1, samples), np.nan, dtype=np.float32), timeout_s=timeout_s)


def abort_at(server, instrument, samples, abort=None):
    """Have `abort` called from another thread after so many samples; the hardware goes on when it was heard."""
    threads = []

    def counts(yx, dwell_ns):
        if not threads and len(server.codes()) >= samples:
            threads.append(threading.Thread(target=abort or instrument.abort))
            threads[0].start()
            while instrument._running is not None:
                time.sleep(0.001)
        return ramp(yx, dwell_ns)

    server.counts = counts
    return threads


def expected_ramp(scan, context, *, flip_y=False, flip_x=False):
    """What the server's ramp gives at the positions of `scan`, rounded to codes, independent of the client."""
    y = FIELD[0] / 2 + context.shift_nm[0] + (scan.yx[:, 0] - 0.5) * context.fov_nm[0]
    x = FIELD[1] / 2 + context.shift_nm[1] + (scan.yx[:, 1] - 0.5) * context.fov_nm[1]
    share = np.stack([y / FIELD[0], x / FIELD[1]], axis=1)
    share = np.where([flip_y, flip_x], 1 - share, share)
    return ramp(np.rint(share * TOP) / TOP, None)


def test_it_says_what_the_hardware_does(server, opened):
    instrument = opened(server, flyback_ns=30_000, settle_ns=10_000, channel="BF")
    capability, limits = instrument.describe()
    assert isinstance(instrument, Instrument)
    for flag in ("VECTOR", "POINT_DWELL", "PARTIAL_READ", "BLANK", "BLANK_INLINE", "ABORT", "SHIFT", "ROTATED_ROI"):
        assert Capability[flag] in capability
    assert Capability.SIMULTANEOUS not in capability
    assert (limits.dwell_min_ns, limits.dwell_step_ns, limits.dwell_max_ns) == (125, 125, 65_536 * 125)
    assert (limits.dac_bits, limits.flyback_ns, limits.settle_ns, limits.channels) == (14, 30_000, 10_000, ("BF",))
    assert (instrument.source, instrument.fov_nm, instrument.saturation) == (server.uri, FIELD, 16383)


def test_opening_takes_the_beam_over_blanked(server, opened):
    instrument = opened(server)
    names = [command[0] for command in server.state.commands]
    assert names.index("blank") < names.index("external")  # never ours and on
    assert ("beam", 1) in server.state.commands
    assert sum(command[2] for command in server.state.commands if command[0] == "delay") / 48e6 >= 0.020
    assert (instrument.beam, server.beam) == ("blanked", "blanked")
    instrument.close()
    instrument.close()
    assert server.state.blanked
    with pytest.raises(InstrumentError, match="is closed, expected it to be open"):
        instrument.blank(False)
    instrument.abort()  # nothing left to do


@pytest.mark.parametrize("flip", ["", "y", "x", "yx"])
@pytest.mark.parametrize("retrace", [{}, {"flyback_ns": 2000, "discard_lines": 2}])
def test_a_raster_comes_back_pixel_by_pixel(server, opened, flip, retrace):
    instrument = opened(server, flip=flip)
    roi = RasterROI((12, 20), 500, (0.4, 0.55), (0.5, 0.7), **retrace)
    frame = scanned(instrument, roi)
    assert frame.scan == roi
    assert frame.duration_ns == roi.duration_ns
    assert frame.valid == roi.shape[0] * roi.shape[1]
    wanted = expected_ramp(roi, SITE, flip_y="y" in flip, flip_x="x" in flip)[roi.active].reshape(roi.shape)
    np.testing.assert_array_equal(frame.image(), wanted)
    assert np.ptp(frame.counts) > 100
    assert server.codes()[:, 2].sum() * 125 == roi.duration_ns  # flyback and discarded lines are scanned too


def test_a_path_comes_back_sample_by_sample_at_the_positions_of_the_dacs(server, opened):
    instrument = opened(server)
    path = make_scan("spiral", (32, 32), 2000)
    random = np.random.default_rng(3)
    path = ScanPath(path.yx, 125 * random.integers(1, 50, len(path.yx)), path.active, path.pixel, path.shape)
    frame = scanned(instrument, path)
    np.testing.assert_array_equal(frame.counts[0], expected_ramp(path, SITE))
    np.testing.assert_array_equal(frame.counts[0], expected_ramp(frame.scan, SITE))
    np.testing.assert_array_equal(server.codes()[:, 2] * 125, path.dwell_ns)
    code_nm = max(FIELD) / TOP
    assert 0 < np.abs((frame.scan.yx - path.yx) * SITE.fov_nm).max() <= code_nm / 2 * (1 + 1e-9)
    assert frame.image().shape == (32, 32)


def test_jumps_settle_on_masked_samples(server, opened):
    instrument = opened(server, settle_ns=4000)
    points = np.random.default_rng(6).random((40, 2))
    path = ordered(points, (16, 16), 1000, limits=instrument.describe()[1])
    frame = scanned(instrument, path)
    assert not frame.scan.active.all()
    assert frame.valid == len(path.yx) > 40
    np.testing.assert_array_equal(frame.counts[0], expected_ramp(path, SITE))


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


def test_a_long_frame_needs_no_more_than_the_socket_holds(server, opened):
    instrument = opened(server)
    roi = RasterROI((700, 700), 125)
    frame = scanned(instrument, roi, Context(FIELD))
    np.testing.assert_array_equal(frame.counts.ravel(), expected_ramp(roi, Context(FIELD)))


def test_answers_may_come_byte_by_byte(server, opened):
    instrument = opened(server)
    server.drip = True
    roi = RasterROI((8, 8), 1000, discard_lines=1)
    frame = scanned(instrument, roi)
    np.testing.assert_array_equal(frame.counts.ravel(), expected_ramp(roi, SITE)[roi.active])
    instrument.start(instrument.arm(roi, SITE, channels=CHANNELS))
    instrument.abort()  # drops answers and finds its own, wherever they are cut
    assert (instrument.beam, server.beam) == ("blanked", "blanked")


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


def test_park_moves_the_beam_and_leaves_the_blanker(server, opened):
    instrument = opened(server, flip="x")
    instrument.park((0.25, 0.0))
    assert server.state.yx == (round(0.25 * TOP), TOP)
    assert (instrument.beam, server.beam) == ("blanked", "blanked")
    instrument.blank(False)
    instrument.park((1.0, 1.0))
    assert server.state.yx == (TOP, 0)
    assert (instrument.beam, server.beam) == ("parked", "on")
    instrument.park(None)
    assert instrument.beam == "on"
    frame = scanned(instrument, RasterROI((4, 4), 1000))  # its answers are not the parking pixel's
    np.testing.assert_array_equal(frame.counts.ravel(), expected_ramp(RasterROI((4, 4), 1000), SITE, flip_x=True))
    with pytest.raises(ConfigurationError, match=r"yx is \(0.5, 1.5\), expected fractions"):
        instrument.park((0.5, 1.5))


def test_verbs_in_the_wrong_order_are_refused(server, opened):
    instrument = opened(server)
    first = instrument.arm(RasterROI((4, 4), 1000), SITE, channels=CHANNELS)
    second = instrument.arm(RasterROI((4, 4), 1000), SITE, channels=CHANNELS)
    with pytest.raises(ScanError, match="scan 1 is not the one armed last"):
        instrument.start(first)
    instrument.start(second)
    for verb in (lambda: instrument.arm(LONG, SITE, channels=CHANNELS), lambda: instrument.park((0.5, 0.5))):
        with pytest.raises(ScanError, match="scan 2 still runs"):
            verb()
    with pytest.raises(ScanError, match="scan 1 does not run"):
        instrument.read_into(first, np.empty((1, 16), dtype=np.float32), timeout_s=20.0)
    assert (instrument.beam, server.beam) == ("blanked", "blanked")
    third = instrument.arm(RasterROI((4, 4), 1000), SITE, channels=CHANNELS)
    instrument.start(third)
    with pytest.raises(ValueError, match=r"out is float64 of shape \(1, 16\), expected C-contiguous float32 \(1, 16\)"):
        instrument.read_into(third, np.empty((1, 16)), timeout_s=20.0)
    assert server.beam == "blanked"


@pytest.mark.parametrize(
    ("scan", "context", "expected"),
    [
        (RasterROI((4, 4), 1010), SITE, r"dwell_ns\[0\] is 1010, expected a multiple of 125 such as 1000 or 1125"),
        (RasterROI((4, 4), 9_000_000), SITE, "dwell_ns is 9000000 to 9000000, expected 125 to 8192000"),
        (RasterROI((4, 4), 1000, flyback_ns=30_001), SITE, r"dwell_ns\[4\] is 30001, expected a multiple of 125"),
        (
            RasterROI((4, 4), 1000),
            Context((8.0, 8.0), (97.0, 0.0)),
            "covers y 193 to 201 nm, expected within the DACs'",
        ),
        (RasterROI((300, 300), 1000), SITE, "300 rows over 8 nm are 2.184 codes a pixel"),
        (RasterROI((4096, 4096), 1000), Context(FIELD), "scan has 16777216 samples, expected 1 to 4194304"),
    ],
)
def test_what_it_cannot_scan_is_refused_when_armed(server, opened, scan, context, expected):
    instrument = opened(server)
    with pytest.raises(ValueError, match=expected):
        instrument.arm(scan, context, channels=CHANNELS)
    assert not server.scanned


def test_in_a_session_the_sample_is_exposed_for_the_scan_only(opened):
    with OpenBeamServer(specimen("particles", fov_nm=FIELD, seed=4)) as server:
        instrument = opened(server)
        context = Context((40.0, 40.0), (10.0, -5.0))
        roi = RasterROI((24, 24), 4000, discard_lines=1)
        with session(instrument) as held:
            frames = [held.acquire(roi, context, CHANNELS) for _ in range(3)]
            assert server.beam == "blanked"
        assert [frame.sequence for frame in frames] == [1, 2, 3]
        assert server.exposed_ns == 3 * roi.duration_ns
        assert server.state.blanked
        assert min(frame.counts.std() for frame in frames) > 0


# What can go wrong

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


# Opening


def test_nobody_there_and_nobody_who_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with pytest.raises(
        InstrumentError, match=rf"obi://127.0.0.1:{free} cannot be reached \(.*\), expected a server of"
    ):
        open_instrument(f"obi://127.0.0.1:{free}", fov_nm=100.0)


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr("probewise.instrument.open_beam_control.OPEN_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(InstrumentError, match=r"did not answer a Synchronize within 0.2 s .*, expected a server"),
    ):
        open_instrument(f"obi://127.0.0.1:{listener.getsockname()[1]}", fov_nm=100.0)


@pytest.mark.parametrize(
    ("uri", "options", "expected"),
    [
        ("obi:", {}, "instrument.uri is 'obi:', expected obi://HOST:PORT"),
        ("obi://host", {}, "expected obi://HOST:PORT"),
        ("obi://host:0", {}, "expected obi://HOST:PORT"),
        ("obi://host:99999", {}, "expected obi://HOST:PORT"),
        ("obi://host:x", {}, "expected obi://HOST:PORT"),
        ("obi://user@host:2224", {}, "expected obi://HOST:PORT"),
        ("obi://host:2224/path", {}, "expected obi://HOST:PORT"),
        ("obi://host:2224", {"fov_nm": None}, "instrument.options.fov_nm is None, expected the nm of sample that"),
        ("obi://host:2224", {"fov_nm": "20 um"}, "instrument.options.fov_nm is '20 um', expected"),
        ("obi://host:2224", {"fov_nm": 0}, "instrument.options.fov_nm is 0, expected"),
        ("obi://host:2224", {"fov_nm": True}, "instrument.options.fov_nm is True, expected"),
        ("obi://host:2224", {"fov_nm": [1.0, float("nan")]}, r"instrument.options.fov_nm is \[1.0, nan\], expected"),
        ("obi://host:2224", {"fov_nm": (1.0, 2.0, 3.0)}, "instrument.options.fov_nm is .* or two"),
        ("obi://host:2224", {"flip": "xy"}, "instrument.options.flip is 'xy', expected"),
        ("obi://host:2224", {"channel": ""}, "instrument.options.channel is '', expected a name"),
        ("obi://host:2224", {"flyback_ns": 130}, "instrument.options.flyback_ns is 130, expected a multiple of 125"),
        ("obi://host:2224", {"settle_ns": 1.5}, "instrument.options.settle_ns is 1.5, expected a multiple of 125"),
        ("obi://host:2224", {"settle_us": 10}, "settle_us = 10 is unknown to obi:, expected fov_nm, flip"),
    ],
)
def test_a_wrong_address_or_option_is_refused_before_anything_is_sent(uri, options, expected):
    with pytest.raises(ConfigurationError, match=expected):
        open_instrument(uri, **{"fov_nm": 100.0, **options})
