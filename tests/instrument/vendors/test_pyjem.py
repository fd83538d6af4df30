# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from instrument.vendors import pyjem as fake
from instrument.vendors.column import AT_ONCE, FLYBACK_NS, FOV_NM, Column, roi
from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument import open_instrument, session
from probewise.instrument.conformance import check
from probewise.instrument.vendors import open_pyjem
from probewise.types import Context, RasterROI

OPTIONS = {"fov_nm": FOV_NM, "flyback_us": FLYBACK_NS / 1000}


@pytest.fixture
def service(monkeypatch, column):
    return fake.install(monkeypatch, column, flyback_ns=FLYBACK_NS)


@pytest.fixture
def opened(service):
    instrument = open_pyjem("", **OPTIONS)
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
    results = check(open_pyjem("", **OPTIONS), only=timed)
    assert {r.name: r.outcome for r in results} == dict.fromkeys(["describe", "blanker", "close", *timed], "passed")


def test_a_site_is_an_area_on_the_grid_of_the_survey_field(opened, service):
    side_nm = FOV_NM / 16
    context = Context((side_nm, side_nm), (-2.5 * side_nm, 1.5 * side_nm))
    with session(opened) as held:
        frame = held.acquire(roi(64, 64, discard_lines=2), context, ["BF"])
    assert service.calls[-1] == ((8 + 1) * 64, (8 - 3) * 64 - 2, 64, 66, 1024)
    assert frame.notices == ("counts of int16 cast to float32",)
    assert frame.duration_ns == 66 * (64 * 1000 + FLYBACK_NS)


def test_detectors_are_read_one_after_another(opened, column):
    with session(opened) as held:
        frame = held.acquire(roi(256, 256), Context((FOV_NM, FOV_NM)), ["ADF1", "BF"])
    assert len(column.scans) == 2
    assert frame.duration_ns == 2 * 256 * (256 * 1000 + FLYBACK_NS)


@pytest.mark.parametrize(
    ("scan", "context", "message"),
    [
        (
            roi(64, 64),
            Context((8.0, 8.0)),
            r"pixels are 0\.125 x 0\.125 nm \(y, x\), expected square ones of 0\.78125,",
        ),
        (roi(128, 256), Context((FOV_NM, FOV_NM)), "expected square ones of"),
        (
            roi(64, 64),
            Context((12.5, 12.5), (1.0, 0.0)),
            r"is at pixel \(485\.120, 480\.000\) .* expected whole pixels",
        ),
        (roi(64, 64), Context((12.5, 12.5), (99.0, 0.0)), "reaches 105.25 nm in y"),
        (roi(64, 64), Context((400.0, 400.0)), "fov_nm is .* expected above 0 and at most 200"),
        (roi(64, 64), Context((12.5, 12.5), (0.0, 0.0), 0.1), "this driver does not rotate scans"),
        (roi(256, 256, discard_lines=1), Context((FOV_NM, FOV_NM)), "discard_lines is 1 with 0 lines above"),
        (RasterROI((64, 64), 1500, flyback_ns=FLYBACK_NS), Context((12.5, 12.5)), "dwell_ns is 1500, .* steps of 1000"),
        (RasterROI((64, 64), 2_000_000, flyback_ns=FLYBACK_NS), Context((12.5, 12.5)), "dwell_ns is 2000000, expected"),
    ],
)
def test_what_the_vendor_cannot_do_is_refused(opened, column, scan, context, message):
    with pytest.raises(ValueError, match=message):
        opened.arm(scan, context, channels=["BF"])
    assert column.scans == []


def test_a_snapshot_of_another_size_fails_the_scan(opened, service, column):
    armed = opened.arm(roi(256, 256), Context((FOV_NM, FOV_NM)), channels=["BF"])
    service.column = None
    column.scan = lambda shape, *_, **__: np.zeros((shape[0] - 1, shape[1]))
    opened.blank(False)
    opened.start(armed)
    with pytest.raises(InstrumentError, match="130560 bytes came from BF, expected 2 x 256 x 256"):
        opened.read_into(armed, np.empty((1, 65536), dtype=np.float32), timeout_s=5.0)
    assert column.beam == "blanked"


def test_the_host_is_told(service):
    open_pyjem("172.17.41.1", **OPTIONS).close()
    assert service.ip == "172.17.41.1"


def test_a_detector_that_is_not_attached_is_named(service):
    with pytest.raises(InstrumentError, match=r"channels is \['EELS'\], expected some of the attached detectors: ADF1"):
        open_pyjem("", **OPTIONS, channels=["EELS"])


def test_without_the_vendors_package_the_origin_is_named():
    with pytest.raises(ConfigurationError, match=r"No module named 'PyJEM'.* PyJEM comes from JEOL"):
        open_instrument("pyjem:", fov_nm=FOV_NM)
