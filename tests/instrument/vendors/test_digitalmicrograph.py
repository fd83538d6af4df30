# SPDX-License-Identifier: BSD-3-Clause
import pytest

from instrument.vendors import digitalmicrograph as fake
from instrument.vendors.column import AT_ONCE, FLYBACK_NS, FOV_NM, Column, roi
from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument import open_instrument, session
from probewise.instrument.conformance import check
from probewise.instrument.vendors import open_dm
from probewise.types import Context, RasterROI
from probewise_agent.digitalmicrograph import open_driver

OPTIONS = {"fov_nm": FOV_NM, "flyback_us": FLYBACK_NS / 1000, "signals": {"HAADF": 0, "BF": 1}}
SURVEY = Context((FOV_NM, FOV_NM))


@pytest.fixture
def scripts(monkeypatch, column):
    return fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS)


@pytest.fixture
def opened(scripts):
    instrument = open_dm("", **OPTIONS)
    yield instrument
    instrument.close()


def test_it_passes_the_suite(opened, column):
    results = check(opened, shows=column.simulated.truth.labels, beam=lambda: column.beam)
    assert [r for r in results if r.outcome == "failed"] == []
    assert {r.name for r in results if r.outcome == "not applicable"} - AT_ONCE == {
        "rotation",
        "list of positions",
    }


def test_it_passes_the_suite_in_real_time_by_its_counts(monkeypatch):
    fake.install(monkeypatch, Column(realtime=True), flyback_ns=FLYBACK_NS)
    timed = ["abort in mid-scan"]
    results = check(open_dm("", **OPTIONS), only=timed)
    assert {r.name: r.outcome for r in results} == dict.fromkeys(["describe", "blanker", "close", *timed], "passed")


def test_a_site_is_a_sub_region_of_the_last_frame_of_the_survey_field(opened, scripts):
    with session(opened) as held:
        held.acquire(roi(512, 512), SURVEY, ["HAADF"])
        frame = held.acquire(roi(64, 32, discard_lines=2), Context((8.0, 10.0), (10.0, -20.0)), ["HAADF"])
    edges = [float(a) for a in scripts.texts[-1].split("target, ")[1].split(", ")[:4]]
    per_nm = 512 / FOV_NM
    expected = [(106 - 66 / 16) * per_nm, (75 - 0) * per_nm, 114 * per_nm, 85 * per_nm]
    expected[0] = (106 - 2 * 8.0 / 64) * per_nm
    assert edges == pytest.approx(expected)
    assert frame.counts.shape == (1, 64, 32)
    assert frame.duration_ns == 66 * (32 * 1000 + FLYBACK_NS)
    assert sum(image is not None for image in scripts.images.values()) == 1  # the reference alone


@pytest.mark.parametrize(
    ("scan", "context", "channels", "message"),
    [
        (roi(64, 64), Context((8.0, 8.0)), ["HAADF"], "HAADF has no reference image yet"),
        (roi(64, 32), SURVEY, ["HAADF"], r"shape is \(64, 32\), .* expected as many rows as columns"),
        (roi(64, 64, discard_lines=2), SURVEY, ["HAADF"], "discard_lines 2, .* no discarded lines"),
        (roi(64, 64), SURVEY, ["HAADF", "BF"], "expected one: a sub-region is acquired with one signal"),
        (roi(64, 64), Context((8.0, 8.0), (0.0, 97.0)), ["HAADF"], "reaches 101 nm in x"),
        (roi(64, 64), Context((8.0, 8.0), (0.0, 0.0), 0.1), ["HAADF"], "this driver does not rotate scans"),
        (RasterROI((64, 64), 500, flyback_ns=FLYBACK_NS), SURVEY, ["HAADF"], "dwell_ns is 500, expected 1000 to"),
    ],
)
def test_what_the_vendor_cannot_do_is_refused(opened, column, scan, context, channels, message):
    with pytest.raises(ValueError, match=message):
        opened.arm(scan, context, channels=channels)
    assert column.scans == []


def test_discarded_lines_need_room_above(opened):
    with session(opened) as held:
        held.acquire(roi(64, 64), SURVEY, ["HAADF"])
        with pytest.raises(ConfigurationError, match="discard_lines is 2, expected no more than there is room above"):
            held.acquire(roi(64, 64, discard_lines=2), Context((8.0, 8.0), (-96.0, 0.0)), ["HAADF"])


def test_parking_needs_a_frame_and_takes_scan_control(opened, scripts, column):
    with pytest.raises(InstrumentError, match="cannot be parked yet"):
        opened.park((0.5, 0.5))
    with session(opened) as held:
        held.acquire(roi(64, 64), SURVEY, ["HAADF"])
        held.call(lambda: opened.park((0.25, 0.75)))
    assert column.parked_at == (0.25, 0.75)


def test_abort_stops_digiscan(monkeypatch):
    column = Column(realtime=True)
    scripts = fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS)
    opened = open_dm("", **OPTIONS)
    armed = opened.arm(RasterROI((64, 64), 1_000_000, flyback_ns=FLYBACK_NS), SURVEY, channels=["HAADF"])
    opened.blank(False)
    opened.start(armed)
    while not column.scans:
        pass
    opened.abort()
    assert scripts.texts[-1] == "DSStopAcquisition(-1)\n"
    assert column.beam == "blanked"
    opened.blank(False)  # does not wait for the four seconds of the scan
    opened.close()
    assert column.beam == "blanked"


def test_outside_digitalmicrograph_the_origin_is_named():
    with pytest.raises(ConfigurationError, match=r"No module named 'DigitalMicrograph'.* inside DigitalMicrograph"):
        open_instrument("dm:", fov_nm=FOV_NM)
    with pytest.raises(ConfigurationError, match=r"instrument\.uri is 'dm:x', expected dm: alone"):
        open_instrument("dm:x", fov_nm=FOV_NM)


def test_it_says_that_no_keeper_holds_it(opened):
    assert "the beam has no keeper of its own" in opened.notices[0]


def test_the_command_line_gives_texts(scripts):
    driver = open_driver(fov_nm="120.5", signals='{"BF": 1}')
    assert driver.fov_nm == (120.5, 120.5)
    assert driver.describe()["limits"]["channels"] == ["BF"]
    driver.close()
