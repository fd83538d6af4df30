# SPDX-License-Identifier: BSD-3-Clause
import time

import numpy as np
import pytest
from serving import TOKEN, serving

from instrument.vendors import autoscript as fake
from instrument.vendors.column import AT_ONCE, FLYBACK_NS, FOV_NM, Column, roi
from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.instrument import from_driver, open_instrument, session
from probewise.instrument.conformance import check
from probewise.instrument.conformance.__main__ import main
from probewise.instrument.vendors import open_autoscript
from probewise.types import Context, RasterROI
from probewise_agent.autoscript import open_driver
from probewise_agent.client import RemoteDriver

OPTIONS = {
    "fov_nm": FOV_NM,
    "max_fov_nm": FOV_NM,
    "settle_ms": 1.0,
    "flyback_us": FLYBACK_NS / 1000,
    "max_shift_nm": 50.0,
}


@pytest.fixture
def shared(monkeypatch, column):
    return fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS)


@pytest.fixture
def opened(shared):
    instrument = open_autoscript("microscope", **OPTIONS)
    yield instrument
    instrument.close()


def test_it_passes_the_suite(opened, column):
    results = check(opened, shows=column.simulated.truth.labels, beam=lambda: column.beam)
    assert [r for r in results if r.outcome == "failed"] == []
    assert {r.name for r in results if r.outcome == "not applicable"} - AT_ONCE == {
        "list of positions",
    }


def test_it_passes_the_suite_in_real_time_by_its_counts(monkeypatch):
    fake.install(monkeypatch, Column(realtime=True), flyback_ns=FLYBACK_NS)
    timed = ["duration", "abort in mid-scan", "safe after a timeout", "safe after an error"]
    results = check(open_autoscript("", **OPTIONS), only=timed)
    assert {r.name: r.outcome for r in results} == dict.fromkeys(["describe", "blanker", "close", *timed], "passed")


def test_a_small_site_is_a_part_of_a_larger_field_about_the_shifted_beam(opened, column, shared):
    site = Context((8.0, 8.0), (10.0, -20.0))
    armed = opened.arm(roi(64, 64, discard_lines=2), site, channels=["HAADF"])
    assert armed.duration_ns == 66 * (64 * 1000 + FLYBACK_NS) + 1_000_000
    opened.blank(False)
    opened.start(armed)
    out = np.empty((1, 64 * 64), dtype=np.float32)
    frame = opened.read_into(armed, out, timeout_s=5.0)
    assert shared.scan_field_of_view == pytest.approx(32e-9)
    assert (shared.beam_shift.x, shared.beam_shift.y) == pytest.approx((-20e-9, 10e-9))
    assert column.scans[-1]["shape"] == (66, 64)
    assert column.scans[-1]["size_nm"] == pytest.approx((8.25, 8.0))
    assert frame.notices == ("counts of uint16 cast to float32",)
    assert (
        opened.arm(roi(64, 64, discard_lines=2), site, channels=["HAADF"]).duration_ns == armed.duration_ns - 1_000_000
    )


@pytest.mark.parametrize(
    ("scan", "context", "message"),
    [
        (roi(64, 32), Context((8.0, 8.0)), "pixels are 0.125 x 0.25 nm, expected square ones"),
        (roi(64, 64), Context((64.0, 64.0)), "pixels of 1 nm need a field of 256 nm"),
        (roi(64, 64), Context((8.0, 8.0), (97.0, 0.0)), "reaches 101 nm in y from the centre of the survey field"),
        (roi(64, 64), Context((8.0, 8.0), (0.0, 80.0)), "the beam would shift by .* expected at most 50 nm"),
        (roi(4096, 4096, discard_lines=1), Context((8.0, 8.0)), "16781312 samples, expected 1 to 16777216"),
        (RasterROI((64, 64), 1000), Context((8.0, 8.0)), "flyback_ns is 0, expected 20000: the vendor sets it"),
        (roi(8, 8).path, Context((8.0, 8.0)), "scan is a list of positions, expected a raster"),
    ],
)
def test_what_the_vendor_cannot_do_is_refused(opened, column, scan, context, message):
    with pytest.raises(ValueError, match=message):
        opened.arm(scan, context, channels=["HAADF"])
    assert column.scans == []


def test_calibration_of_shift_and_rotation(shared):
    opened = open_autoscript("", **OPTIONS, shift_matrix=((0.0, -1.0), (1.0, 0.0)), rotation_sign=-1)
    with session(opened) as held:
        held.acquire(roi(64, 64), Context((8.0, 8.0), (10.0, -20.0), 0.1), ["HAADF"])
        assert shared.scan_rotation == pytest.approx(-0.1)
        assert (shared.beam_shift.y, shared.beam_shift.x) == pytest.approx((20e-9, 10e-9))


def test_the_operators_settings_are_put_back(opened, shared):
    with session(opened) as held:
        held.acquire(roi(64, 64), Context((8.0, 8.0), (10.0, -20.0), 0.1), ["HAADF"])
    deadline = time.monotonic() + 5
    while shared.connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (shared.connected, shared.scan_field_of_view, shared.scan_rotation) == (0, 500e-9, 0.0)
    assert (shared.beam_shift.x, shared.beam_shift.y) == (0.0, 0.0)


def test_older_versions_have_the_blanker_on_the_optics(monkeypatch, column):
    fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS, old=True)
    with session(open_autoscript("", **OPTIONS)) as held:
        held.acquire(roi(64, 64), Context((8.0, 8.0)), ["HAADF"])
        assert column.beam == "blanked"


def test_parking_goes_back_to_the_survey_field(shared, column):
    with session(open_autoscript("", **OPTIONS), idle="park", park_yx=(0.25, 0.75)) as held:
        held.acquire(roi(64, 64), Context((8.0, 8.0), (10.0, -20.0)), ["HAADF"])
        assert column.parked_at == (0.25, 0.75)
        assert shared.scan_field_of_view == pytest.approx(FOV_NM * 1e-9)


def test_an_acquisition_that_is_left_behind_keeps_the_beam_blanked_until_it_ends(monkeypatch):
    column = Column(realtime=True)
    fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS)
    opened = open_autoscript("", **OPTIONS)
    armed = opened.arm(RasterROI((64, 64), 100_000, flyback_ns=FLYBACK_NS), Context((8.0, 8.0)), channels=["HAADF"])
    opened.blank(False)
    opened.start(armed)
    begun = time.monotonic()
    time.sleep(0.05)
    opened.abort()
    assert column.beam == "blanked"
    assert time.monotonic() - begun < 0.3
    opened.blank(False)  # waits for the vendor
    assert time.monotonic() - begun > 0.4
    with pytest.raises(ScanError):
        opened.read_into(armed, np.empty((1, 4096), dtype=np.float32), timeout_s=1.0)
    opened.close()
    assert column.beam == "blanked"


def test_without_the_vendors_package_the_origin_is_named(capsys):
    with pytest.raises(ConfigurationError, match="comes with AutoScript TEM from Thermo Fisher"):
        open_instrument("autoscript:", fov_nm=FOV_NM)
    assert main(["autoscript:", "--option", "fov_nm=200"]) == 2
    assert "No module named 'autoscript_tem_microscope_client'" in capsys.readouterr().err


def test_no_microscope_is_an_instrument_error(monkeypatch, column, capsys):
    fake.install(monkeypatch, column, unreachable=True)
    with pytest.raises(InstrumentError, match="does not answer: OSError: no AutoScript server at host:9096"):
        open_autoscript("host:9096", fov_nm=FOV_NM)
    assert main(["autoscript:host", "--option", "fov_nm=200", "--option", "keeper=in-process"]) == 3


def test_it_says_that_it_was_not_tried(opened):
    assert opened._driver.describe()["name"] == "AutoScript TEM (not tried on a real instrument)"


def test_a_blanker_that_does_not_blank_is_told(opened, column):
    column.blank = lambda on: None
    with pytest.raises(InstrumentError, match="the blanker says is_beam_blanked = False, expected True"):
        opened.abort()
    with pytest.raises(InstrumentError, match="the blanker says"):
        opened.blank(True)
    del column.blank


def test_an_error_of_the_vendor_ends_the_scan_blanked(opened, column):
    def fail(*_, **__):
        raise RuntimeError("STEM detector is retracted")

    column.scan = fail
    with pytest.raises(ScanError, match="RuntimeError: STEM detector is retracted"), session(opened) as held:
        held.acquire(roi(64, 64), Context((8.0, 8.0)), ["HAADF"])
    assert column.beam == "blanked"


def test_a_running_scan_is_not_armed_over(opened):
    scan, site = roi(64, 64), Context((8.0, 8.0))
    armed = opened.arm(scan, site, channels=["HAADF"])
    opened.blank(False)
    opened.start(armed)
    out = np.empty((1, 4096), dtype=np.float32)
    opened.read_into(armed, out, timeout_s=5.0)
    with pytest.raises(ScanError, match="it was read or aborted"):
        opened.read_into(armed, out, timeout_s=5.0)


def test_it_passes_the_suite_through_the_agent(shared, column):
    some = ["site field", "rotation", "buffer", "wrong buffers", "NaN refused", "abort before the read", "late frames"]
    with serving(open_driver(**{name: str(value) for name, value in OPTIONS.items()})) as (address, _, _):
        results = check(from_driver(RemoteDriver(address, TOKEN)), fov_nm=FOV_NM, only=some, beam=lambda: column.beam)
    assert {r.name: r.outcome for r in results} == dict.fromkeys(["describe", "blanker", "close", *some], "passed")
    assert column.beam == "blanked"
