# SPDX-License-Identifier: BSD-3-Clause
import socket

import numpy as np
import pytest

from open_beam_case import CHANNELS, FIELD, LONG, SITE, expected_ramp, scanned
from open_beam_server import TOP, OpenBeamServer, specimen
from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.instrument import open_instrument, session
from probewise.scan import make_scan, ordered
from probewise.types import Capability, Context, Instrument, RasterROI, ScanPath


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


def test_nobody_there_and_nobody_who_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with pytest.raises(
        InstrumentError, match=rf"obi://127.0.0.1:{free} cannot be reached \(.*\), expected a server of"
    ):
        open_instrument(f"obi://127.0.0.1:{free}", fov_nm=100.0)


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr("probewise.instrument.open_beam.control.OPEN_S", 0.2)
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
