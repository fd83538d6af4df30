# SPDX-License-Identifier: BSD-3-Clause
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plain_driver import PlainDriver
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import from_driver, session
from probewise.instrument.plain import (
    plain_context,
    plain_description,
    plain_scan,
    typed_context,
    typed_description,
    typed_scan,
)
from probewise.types import Capability, Context, Instrument, Limits, RasterROI, ScanPath
from probewise_agent.driver import CAPABILITIES, DriverError, ScanFailed, ScanLate

ROI = RasterROI(shape=(4, 6), dwell_ns=1000, discard_lines=1)
SITE = Context(fov_nm=(8.0, 8.0))
PATH = ScanPath(
    yx=np.array([[0.1, 0.2], [0.3, 0.4]]),
    dwell_ns=np.array([100, 200]),
    active=np.array([True, False]),
    pixel=np.array([0, -1], dtype=np.int32),
    shape=(1, 2),
)


def failing(error):
    def fail(driver):
        raise error

    return fail


def test_a_session_scans_with_a_driver():
    driver = PlainDriver()
    instrument = from_driver(driver, source="plain:")
    assert isinstance(instrument, Instrument)
    with session(instrument) as opened:
        raster = opened.acquire(ROI, SITE, ["HAADF", "BF"])
        path = opened.acquire(PATH, SITE, ["BF"])
    np.testing.assert_array_equal(raster.counts[1], np.arange(24.0).reshape(4, 6) + 1)
    assert (raster.sequence, raster.valid, raster.started_ns, raster.duration_ns) == (1, 24, 7, 30_000)
    assert raster.notices == ("plain",)
    assert path.counts.shape == (1, 2)
    assert path.sequence == 2
    sent = next(command for command in driver.commands if command[0] == "arm")
    assert sent[1]["discard_lines"] == 1
    assert sent[2:] == ({"fov_nm": [8.0, 8.0], "shift_nm": [0.0, 0.0], "rotation_rad": 0.0}, ["HAADF", "BF"])
    assert driver.closed
    assert driver.beam == "blanked"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ScanLate("late"), ScanTimeout),
        (ScanFailed("cut"), ScanError),
        (DriverError("gone"), InstrumentError),
        (ValueError("dwell"), ValueError),
        (OSError("odd"), OSError),
    ],
)
@pytest.mark.parametrize("verb", ["describe", "arm", "start", "read_into", "abort", "park", "blank", "close"])
def test_errors_of_a_driver_come_as_ours(verb, raised, expected):
    driver = PlainDriver({verb: failing(raised)})
    instrument = from_driver(driver)

    def scan():
        armed = instrument.arm(ROI, SITE, channels=["BF"])
        instrument.start(armed)
        instrument.read_into(armed, np.empty((1, 24), np.float32), timeout_s=1.0)

    calls = {
        "describe": instrument.describe,
        "abort": instrument.abort,
        "park": lambda: instrument.park((0.5, 0.5)),
        "blank": lambda: instrument.blank(True),
        "close": instrument.close,
    }
    driver.beam = "on"
    with pytest.raises(expected, match=str(raised)) as caught:
        calls.get(verb, scan)()
    assert type(caught.value) is expected


def test_what_the_backend_refuses_is_a_matter_of_configuration():
    driver = PlainDriver({"arm": failing(ValueError("size_yx is odd"))})
    with session(from_driver(driver)) as opened, pytest.raises(ConfigurationError, match="size_yx is odd"):
        opened.acquire(ROI, SITE, ["BF"])


def test_only_the_armed_scan_starts_and_only_the_started_one_is_read():
    driver = PlainDriver()
    instrument = from_driver(driver)
    instrument.blank(False)
    out = np.empty((1, 24), np.float32)
    old = instrument.arm(ROI, SITE, channels=["BF"])
    new = instrument.arm(ROI, SITE, channels=["BF"])
    with pytest.raises(ScanError, match="scan 1 is not the armed one"):
        instrument.start(old)
    with pytest.raises(ScanError, match="scan 2 is not being scanned"):
        instrument.read_into(new, out, timeout_s=1.0)
    assert driver.beam == "blanked"
    instrument.blank(False)
    instrument.start(new)
    with pytest.raises(ScanError, match="scan 1 is not being scanned"):
        instrument.read_into(old, out, timeout_s=1.0)
    assert driver.beam == "blanked"


LOCKED = np.empty((1, 24), "f4")
LOCKED.flags.writeable = False


@pytest.mark.parametrize("out", [np.empty((1, 23), "f4"), np.empty((1, 24)), np.empty((24, 2), "f4").T[:1], LOCKED])
def test_a_wrong_buffer_is_refused_with_the_beam_safe(out):
    driver = PlainDriver()
    instrument = from_driver(driver)
    instrument.blank(False)
    armed = instrument.arm(ROI, SITE, channels=["BF"])
    instrument.start(armed)
    with pytest.raises(ValueError, match=r"expected contiguous writeable float32 \(1, 24\)"):
        instrument.read_into(armed, out, timeout_s=1.0)
    assert driver.beam == "blanked"


def answering(verb, value):
    driver = PlainDriver()
    setattr(driver, verb, lambda *arguments: value)
    return from_driver(driver)


@pytest.mark.parametrize("value", [None, {}, {"scan": {"kind": "?", "shape": [1, 1]}, "duration_ns": 1},
                                   {"scan": plain_scan(ROI), "duration_ns": -1}])  # fmt: skip
def test_a_driver_that_arms_nonsense_is_a_fault_of_the_instrument(value):
    with pytest.raises(InstrumentError, match="arm gave"):
        answering("arm", value).arm(ROI, SITE, channels=["BF"])


@pytest.mark.parametrize("value", [None, {}, {"valid": "x", "started_ns": 0, "duration_ns": 0, "notices": []}])
def test_a_driver_that_reads_nonsense_is_a_fault_of_the_scan(value):
    instrument = answering("read_into", value)
    instrument.blank(False)
    armed = instrument.arm(ROI, SITE, channels=["BF"])
    instrument.start(armed)
    with pytest.raises(ScanError, match="read_into gave"):
        instrument.read_into(armed, np.empty((1, 24), "f4"), timeout_s=1.0)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "describe gave None"),
        ({"capabilities": ["FLY"], "limits": {}}, "FLY"),
        ({"capabilities": [], "limits": {"dwell_min_s": 1}}, "dwell_min_s"),
        ({"capabilities": [], "limits": {"dwell_min_ns": 0.5}}, "dwell_min_ns = 0.5"),
        ({"capabilities": [], "limits": {"max_points": True}}, "max_points = True"),
        ({"capabilities": [], "limits": {"max_fov_nm": math.nan}}, "max_fov_nm = nan"),
        ({"capabilities": [], "limits": {"channels": "HAADF"}}, "channels = 'HAADF'"),
        ({"capabilities": [], "limits": {"channels": []}}, "channels ="),
    ],
)
def test_a_wrong_description_names_what_is_wrong(description, message):
    with pytest.raises(InstrumentError, match=message):
        typed_description(description)


def test_the_names_of_capabilities_are_those_of_the_driver():
    assert tuple(flag.name for flag in Capability if flag) == CAPABILITIES


@settings(deadline=None, max_examples=50)
@given(
    flags=st.sets(st.sampled_from(CAPABILITIES)),
    limits=st.builds(
        Limits,
        channels=st.lists(st.text(min_size=1), min_size=1).map(tuple),
        dwell_min_ns=st.integers(0, 10**9),
        max_velocity_per_s=st.floats(0, allow_nan=False),
        max_fov_nm=st.floats(0, allow_nan=False),
    ),
)
def test_descriptions_survive_being_plain(flags, limits):
    capability = Capability.NONE
    for name in flags:
        capability |= Capability[name]
    plain = plain_description(capability, limits)
    assert all(math.isfinite(value) for value in plain["limits"].values() if isinstance(value, float))
    assert typed_description(plain) == (capability, limits)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.integers(1, 9), cols=st.integers(1, 9), dwell=st.integers(1, 10**6), y=st.floats(0.3, 0.7),
    size=st.floats(0.01, 0.6), lines=st.integers(0, 4), flyback=st.integers(0, 10**6), rotation=st.floats(-3, 3),
)  # fmt: skip
def test_rasters_and_contexts_survive_being_plain(rows, cols, dwell, y, size, lines, flyback, rotation):
    roi = RasterROI((rows, cols), dwell, (y, 0.5), (size, 1.0), lines, flyback)
    assert typed_scan(plain_scan(roi)) == roi
    context = Context((rows + 0.5, cols), (-y, size), rotation)
    assert typed_context(plain_context(context)) == context


def test_paths_survive_being_plain():
    back = typed_scan(plain_scan(PATH))
    assert isinstance(back, ScanPath)
    assert back.shape == PATH.shape
    for name in ("yx", "dwell_ns", "active", "pixel"):
        np.testing.assert_array_equal(getattr(back, name), getattr(PATH, name))
        assert getattr(back, name).dtype == getattr(PATH, name).dtype
    with pytest.raises(TypeError, match="expected RasterROI or ScanPath"):
        plain_scan("raster")
