# SPDX-License-Identifier: BSD-3-Clause
"""The backend of Nion Swift over a scan device that is ours; test_nion_usim.py runs it over Nion's."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from fake_swift import FakeDevice, FakeStem, FakeSwift
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import open_instrument, session
from probewise.instrument.nion import NionInstrument, open_nion
from probewise.types import Capability, Context, Instrument, RasterROI

FIELD = Context((100.0, 100.0))
SITE = Context((30.0, 20.0), (15.0, -30.0), 0.3)
ROI = RasterROI((6, 4), 1000)


def opened(swift=None, *, blanker="C_Blank", fov_nm=(100.0, 100.0)):
    return NionInstrument(swift or FakeSwift(), "nion:", fov_nm, blanker, 16)


def scanned(instrument, roi=ROI, context=SITE, channels=("HAADF",), timeout_s=5.0):
    armed = instrument.arm(roi, context, channels=channels)
    instrument.start(armed)
    out = np.full((len(channels), roi.shape[0] * roi.shape[1]), -1.0, dtype=np.float32)
    return instrument.read_into(armed, out, timeout_s=timeout_s), out


def test_the_device_is_told_a_square_field_and_a_sub_scan_of_it():
    swift = FakeSwift(FakeDevice(flyback_us=30.0))
    instrument = opened(swift, fov_nm=(80.0, 100.0))
    assert isinstance(instrument, Instrument)
    instrument.arm(dataclasses.replace(ROI, flyback_ns=40_000, discard_lines=2), SITE, channels=("X1", "HAADF"))
    told = swift.device.current_frame_parameters
    assert (told.fov_nm, told.pixel_size) == (100.0, (256, 256))
    assert (told.pixel_time_us, told.flyback_time_us) == (1.0, 40.0)
    assert told.subscan_pixel_size == (8, 4)
    assert told.subscan_fractional_size == pytest.approx((0.3 * 8 / 6, 0.2))
    assert told.subscan_rotation == 0.3
    assert told.enabled_channel_indexes == [0, 2]
    assert swift.device.channels_enabled == (True, False, True)
    assert "cancel" not in swift.device.calls  # channels were changed with one on at each time


def test_lines_reach_the_buffer_without_those_discarded_and_in_the_order_of_the_channels():
    instrument = opened()
    frame, out = scanned(instrument, dataclasses.replace(ROI, discard_lines=3), channels=("X1", "HAADF"))
    expected = np.arange(9 * 4, dtype=np.float32).reshape(9, 4)[3:]
    np.testing.assert_array_equal(frame.counts, [expected + 20_000, expected])
    assert np.shares_memory(frame.counts, out)
    assert (frame.valid, frame.sequence, frame.duration_ns) == (48, 1, 9 * 4 * 1000)
    assert frame.notices == ()


def test_lines_are_there_before_the_frame_is_complete():
    swift = FakeSwift(FakeDevice(lines=2))
    seen = []
    out = np.zeros((1, 24), dtype=np.float32)
    swift.device.faults[3] = lambda *given: seen.append(out.reshape(6, 4).copy()) or given
    instrument = opened(swift)
    armed = instrument.arm(ROI, SITE, channels=("HAADF",))
    instrument.start(armed)
    instrument.read_into(armed, out, timeout_s=5.0)
    np.testing.assert_array_equal(seen[0][:4], np.arange(16).reshape(4, 4))
    assert not seen[0][4:].any()


def test_what_the_device_makes_of_a_scan_is_what_the_frame_says():
    def coarser(parameters):
        parameters.pixel_time_us = 1.25
        y, x = parameters.subscan_fractional_center or (0.5, 0.5)
        parameters.subscan_fractional_center = (y + 0.01, x)
        return parameters

    instrument = opened(FakeSwift(FakeDevice(takes=coarser)))
    frame, _ = scanned(instrument, dataclasses.replace(ROI, size_yx=(0.5, 0.5)), Context((30.0, 20.0)))
    assert frame.scan.dwell_ns == 1250
    assert frame.duration_ns == 24 * 1250
    assert frame.scan.centre_yx == pytest.approx((0.5 + 1 / 30, 0.5))  # 1 nm of 30 nm


def test_a_line_above_the_field_is_not_scanned_and_the_frame_says_so():
    frame, _ = scanned(opened(), dataclasses.replace(ROI, shape=(4, 4), discard_lines=2), FIELD)
    assert frame.scan.discard_lines == 0
    assert frame.notices == ("no lines were discarded: above the first one the survey field ends",)


def test_counts_of_another_type_are_cast_and_noted():
    device = FakeDevice()
    device.dtype = np.int32
    frame, _ = scanned(opened(FakeSwift(device)))
    assert frame.counts.dtype == np.float32
    assert frame.notices == ("counts of int32 became float32",)


@pytest.mark.parametrize(
    ("roi", "context", "channels", "said"),
    [
        (ROI.path, SITE, ("HAADF",), "knows no vector scan"),
        (ROI, SITE, ("EELS",), "channels holds 'EELS', expected names from HAADF, MAADF, X1"),
        (ROI, SITE, (), r"channels is \(\), expected a non-empty list"),
        (ROI, Context((30.0, 20.0), (40.0, 0.0)), ("HAADF",), "reaches 5 nm beyond the survey field"),
        (ROI, Context((20.0, 20.0)), ("HAADF",), "a pixel is 3.33333 nm x 5 nm, expected it square"),
        (RasterROI((64, 64), 1000), Context((0.2, 0.2)), ("HAADF",), "spans 2 steps of a 16 bit DAC over 100 nm"),
        (dataclasses.replace(ROI, flyback_ns=1), SITE, ("HAADF",), "fake_scan has no setting of it"),
    ],
)
def test_a_scan_is_refused_before_the_device_hears_of_it(roi, context, channels, said):
    swift = FakeSwift()
    with pytest.raises(ValueError, match=said):
        opened(swift).arm(roi, context, channels=channels)
    assert "set_frame_parameters" not in swift.device.calls


def bad(elements, complete, _bad, area, number, skip):
    return elements, complete, True, area, number, skip


def other_frame(elements, complete, is_bad, area, number, skip):
    return elements, complete, is_bad, area, number - 1, skip


def no_channel(elements, *rest):
    return [], *rest


def too_small(elements, *rest):
    return [{**one, "data": one["data"][:, :-1]} for one in elements], *rest


def a_gap(elements, complete, is_bad, area, number, skip):
    return elements, complete, is_bad, ((4, 0), (1, 4)), number, skip


def too_short(elements, complete, is_bad, area, number, skip):
    return elements, True, is_bad, ((0, 0), (2, 4)), number, skip


def raises(*_):
    raise OSError("the line is dead")


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (bad, ScanError, "calls frame 1 bad"),
        (no_channel, ScanError, "channel 0 did not come"),
        (too_small, ScanError, r"of shape \(6, 3\), expected numbers of shape \(6, 4\)"),
        (a_gap, ScanError, "lines 0 to 4 of the frame did not come"),
        (too_short, ScanError, "with 2 lines of 6: something else stopped it"),
        (raises, OSError, "the line is dead"),
    ],
)
def test_what_a_frame_can_be_refused_for(fault, error, said):
    swift = FakeSwift(FakeDevice(lines=2))
    swift.device.faults[1] = fault
    with pytest.raises(error, match=said):
        scanned(opened(swift))
    assert swift.stem.controls["C_Blank"] == 1.0
    assert not swift.device.is_scanning


def test_reads_of_an_earlier_frame_are_dropped_and_not_for_ever():
    swift = FakeSwift(FakeDevice(lines=2))
    swift.device.faults[1] = other_frame
    swift.device.faults[2] = lambda *given: (*given[:3], ((0, 0), (4, 4)), *given[4:])
    frame, _ = scanned(opened(swift))
    np.testing.assert_array_equal(frame.counts[0], np.arange(24).reshape(6, 4))
    swift.device.faults = dict.fromkeys(range(1, 20), other_frame)
    with pytest.raises(ScanError, match="frame 1 of fake_scan came instead of 2, 8 times"):
        scanned(opened(swift))


def test_a_frame_that_ends_before_its_time_was_cut():
    swift = FakeSwift()
    swift.device.too_fast = True
    with pytest.raises(ScanError, match=r"ended frame 1 after .* of 2.4 s with 6 lines of 6: something else"):
        scanned(opened(swift), dataclasses.replace(ROI, dwell_ns=100_000_000))


def test_the_deadline():
    swift = FakeSwift(FakeDevice(lines=1))
    swift.device.wait_s = 0.01
    with pytest.raises(ScanTimeout, match="lines of 6 at its deadline"):
        scanned(opened(swift), timeout_s=0.015)
    assert swift.stem.controls["C_Blank"] == 1.0


def test_an_abort_from_another_thread_ends_the_read():
    swift = FakeSwift(FakeDevice(lines=0))  # no line ever comes
    instrument = opened(swift)
    threading.Timer(0.05, instrument.abort).start()
    begun = time.monotonic()
    with pytest.raises(ScanError, match="scan 1 was aborted"):
        scanned(instrument, dataclasses.replace(ROI, dwell_ns=400_000_000), timeout_s=30.0)
    assert time.monotonic() - begun < 5.0  # far from the deadline; how fast it is, is measured by bench/nion_scan.py
    assert swift.stem.controls["C_Blank"] == 1.0
    swift.device.lines = 8
    assert scanned(instrument)[0].sequence == 2  # and the next one runs


def test_a_device_that_brings_nothing_is_not_asked_without_a_pause():
    swift = FakeSwift(FakeDevice(lines=0))
    with pytest.raises(ScanTimeout):
        scanned(opened(swift), timeout_s=0.1)
    assert swift.device.reads < 300  # of 0.5 ms each in 0.1 s


def test_without_a_blanker_the_probe_is_parked():
    swift = FakeSwift()
    instrument = opened(swift, blanker=None, fov_nm=(60.0, 100.0))
    flags, _ = instrument.describe()
    assert Capability.BLANK not in flags
    with pytest.raises(InstrumentError, match="expected the option blanker = NAME"):
        instrument.blank(True)
    assert instrument.beam == "on"
    instrument.park((1.0, 0.25))
    assert instrument.beam == "parked"
    assert swift.device.calls[-1] == ("probe", 100.0, (pytest.approx(0.8), 0.25))
    instrument.park(None)
    assert swift.device.calls[-1] == ("probe", 100.0, None)
    instrument.abort()
    assert swift.device.calls[-3:] == [("probe", 100.0, (pytest.approx(0.8), 0.25)), "cancel", "stop"]
    with pytest.raises(ValueError, match="fractions of the survey field"):
        instrument.park((0.5, 1.01))


def test_a_session_asks_for_another_idle_rule_where_there_is_no_blanker():
    with (
        pytest.raises(ConfigurationError, match="idle is 'blank', expected 'park' or 'scan'"),
        session(opened(blanker=None)),
    ):
        pass


def test_the_state_of_the_beam_is_what_the_control_says():
    instrument = opened()
    instrument.blank(True)
    assert instrument.beam == "blanked"
    instrument.blank(False)
    instrument.start(instrument.arm(ROI, SITE, channels=("HAADF",)))
    assert instrument.beam == "scanning"
    instrument.abort()
    assert instrument.beam == "blanked"


def test_a_blanker_that_does_not_move_is_an_error_and_the_device_is_stopped_all_the_same():
    swift = FakeSwift()
    instrument = opened(swift)
    swift.stem.stuck = True
    with pytest.raises(InstrumentError, match="C_Blank did not become 1 within 1000 ms"):
        instrument.abort()
    assert swift.device.calls[-2:] == ["cancel", "stop"]


def test_a_control_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="blanker = 'C_Blank' is no control of fake_scan"):
        opened(FakeSwift(stem=FakeStem()))


@pytest.mark.parametrize("state", ["is_playing", "is_recording"])
def test_nothing_is_scanned_while_swift_scans(state):
    swift = FakeSwift()
    instrument = opened(swift)
    armed = instrument.arm(ROI, SITE, channels=("HAADF",))
    setattr(swift.source, state, True)
    with pytest.raises(InstrumentError, match="Swift scans with fake_scan"):
        instrument.start(armed)
    assert "start_frame" not in swift.device.calls


def test_only_the_scan_armed_last_is_started_and_only_a_started_one_read():
    instrument = opened()
    first = instrument.arm(ROI, SITE, channels=("HAADF",))
    second = instrument.arm(ROI, SITE, channels=("HAADF",))
    with pytest.raises(ScanError, match="scan 1 is not the one armed last"):
        instrument.start(first)
    with pytest.raises(ScanError, match="scan 2 does not run"):
        instrument.read_into(second, np.empty((1, 24), dtype=np.float32), timeout_s=1.0)
    instrument.start(second)
    with pytest.raises(ValueError, match=r"out is float64 of shape \(1, 24\), expected C-contiguous float32"):
        instrument.read_into(second, np.empty((1, 24)), timeout_s=1.0)


def test_closing_leaves_swift_as_it_was():
    swift = FakeSwift()
    instrument = opened(swift)
    scanned(instrument)
    assert swift.device.channels_enabled == (True, False, False)
    instrument.close()
    instrument.close()
    assert swift.device.channels_enabled == (False, True, False)
    assert swift.stem.controls["C_Blank"] == 1.0
    assert swift.released == 1
    with pytest.raises(InstrumentError, match="nion: is closed"):
        instrument.arm(ROI, SITE, channels=("HAADF",))


def test_the_field_is_the_one_that_swift_shows_unless_told():
    assert opened(fov_nm=None).fov_nm == (100.0, 100.0)


@pytest.mark.parametrize(
    ("uri", "options", "said"),
    [
        ("nion:other", {}, "instrument.uri is 'nion:other', expected nion: inside Swift, or nion:usim"),
        ("nion:", {"sample": "flakes"}, "belongs to nion:usim"),
        ("nion:usim", {"sample": "x"}, "sample = 'x', expected one of flakes, amorphous, particles"),
        ("nion:usim", {"dac_bits": 0}, "dac_bits = 0, expected 1 to 32"),
        ("nion:usim", {"fov_nm": -1.0}, "instrument.fov_nm is -1.0, expected a positive length"),
        ("nion:usim", {"dwell": 1}, "instrument option dwell = 1 is unknown to nion:"),
    ],
)
def test_options_out_of_range(uri, options, said):
    with pytest.raises(ConfigurationError, match=said):
        open_instrument(uri, **options)


@pytest.mark.parametrize("rest", ["", "usim"])
def test_without_nionswift_the_extra_is_named(rest, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="nion")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ConfigurationError, match=r"not installed; type: pip install 'probewise\[nion\]'"):
        open_nion(rest)
