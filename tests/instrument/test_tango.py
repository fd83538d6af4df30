# SPDX-License-Identifier: BSD-3-Clause
"""Against Tango devices of our own (tests/tango_server.py), of the shape of asyncroscopy's, on loopback."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tango", reason="PyTango is not installed: pip install '.[tango]'")

import tango

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument import SimulatedInstrument, open_instrument
from probewise.instrument.conformance import check
from probewise.instrument.sessions import session
from probewise.types import Capability, Context, RasterROI

SERVER = Path(__file__).parents[1] / "tango_server.py"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tango-and-pyro.md"
MINE = {"scan": "test/nodb/scan", "keeper": "in-process"}
FIELD = Context((200.0, 200.0))
SMALL = RasterROI((16, 16), 1000)


@contextlib.contextmanager
def served():
    server = subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(next(line for line in server.stdout if line.startswith("{")))
    finally:
        server.stdin.close()
        server.wait(20)
        server.stdout.close()


@pytest.fixture(scope="module")
def addresses():
    with served() as found:
        yield found


@pytest.fixture
def device(addresses):
    """The microscope's device as someone beside us sees it."""
    proxy = tango.DeviceProxy(addresses["microscope"])
    proxy.misbehave = ""
    yield proxy
    proxy.misbehave = ""
    proxy.blank_beam()


@pytest.fixture
def opened(addresses, device):
    instrument = open_instrument(addresses["microscope"], **MINE)
    yield instrument
    instrument.close()


def settings(addresses):
    proxy = tango.DeviceProxy(addresses["scan"])
    return proxy.dwell_time, proxy.imsize, list(proxy.scan_region)


def scanned(instrument, roi=SMALL, context=FIELD, timeout_s=10.0):
    armed = instrument.arm(roi, context, channels=["HAADF"])
    instrument.blank(False)
    instrument.start(armed)
    return instrument.read_into(armed, np.empty((1, roi.shape[0] * roi.shape[1]), np.float32), timeout_s=timeout_s)


def found(instrument, device, **options):
    return {result.name: result for result in check(instrument, beam=lambda: device.beam, **options)}


@pytest.mark.slow  # the suite waits for long frames
def test_it_passes_the_suite_for_drivers(opened, device):
    truth = SimulatedInstrument("particles", seed=2, fov_nm=200.0).truth
    results = found(opened, device, shows=np.asarray(truth.labels))
    assert [f"{r.name}: {r.sentence}" for r in results.values() if r.outcome == "failed"] == []
    skipped = {result.name for result in results.values() if result.outcome == "not applicable"}
    assert skipped == {"rotation", "list of positions"}


@pytest.mark.parametrize(
    ("mistake", "check_name", "sentence"),
    [
        ("no region", "site field", "looks as if taken|correlates by"),
        ("left, top, right, bottom", "site field", "looks as if taken|correlates by|pixels came"),
        ("blanker sticks", "blanker", "beam_state is False after blank_beam, expected True: the beam may be on"),
    ],
)
def test_the_suite_finds_the_mistakes_of_servers(addresses, device, mistake, check_name, sentence):
    device.misbehave = mistake
    instrument = open_instrument(addresses["microscope"], **MINE)
    result = found(instrument, device, only=[check_name])[check_name]
    assert result.outcome == "failed"
    assert re.search(sentence, result.sentence)


def test_settings_are_in_the_shapes_own_units(opened, addresses):
    frame = scanned(opened, RasterROI((12, 24), 2500, (0.5, 0.25), (0.5, 0.5)), Context((50.0, 100.0), (-20.0, 30.0)))
    dwell_s, columns, region = settings(addresses)
    assert dwell_s == pytest.approx(2.5e-6, rel=1e-12)
    assert columns == 24
    # By hand: y 80 - 12.5 to 80 + 12.5 of 200 nm; x 130 - 25 - 25 to 130 - 25 + 25.
    np.testing.assert_allclose(region, [80 / 200, 67.5 / 200, 50 / 200, 25 / 200], atol=1e-12)
    assert frame.duration_ns == 12 * 24 * 2500
    assert frame.counts.shape == (1, 12, 24)


def test_place_beam_takes_x_before_y(opened, device):
    opened.park((0.25, 0.75))
    np.testing.assert_allclose(device.parked(), [0.75, 0.25])
    opened.park(None)
    with pytest.raises(ConfigurationError, match="expected fractions"):
        opened.park((0.5, 1.5))


@pytest.mark.parametrize(
    ("roi", "context", "message"),
    [
        (RasterROI((16, 16), 1000, discard_lines=2), FIELD, "discard_lines is 2, expected 0"),
        (RasterROI((16, 16), 1000, flyback_ns=100), FIELD, "flyback_ns is 100, expected 0"),
        (RasterROI((16, 24), 1000), FIELD, "expected squares"),
        (SMALL, Context((50.0, 50.0), (0.0, 80.0)), "scan covers x from 155 to 205 nm"),
        (SMALL, Context((201.0, 201.0)), "fov_nm is"),
        (SMALL, Context((50.0, 50.0), rotation_rad=0.1), "cannot rotate"),
        (SMALL.path, FIELD, "knows no vector scan"),
        (RasterROI((16, 16), 10_000_000_001), FIELD, "dwell_ns is 10000000001"),
    ],
)
def test_what_the_shape_cannot_do_is_refused_before_anything_is_written(opened, addresses, roi, context, message):
    before = settings(addresses)
    with pytest.raises(ConfigurationError, match=message):
        opened.arm(roi, context, channels=["HAADF"])
    assert settings(addresses) == before


@pytest.mark.parametrize(
    ("misbehaviour", "message"),
    [
        ("fault", "acquire_scanned_image failed: .*the column valves are closed"),
        ("square pictures", r"a picture of \(32, 32\) pixels came, expected \(16, 32\)"),
        ("no shape", "expected shape"),
        ("cut short", "2044 bytes came for 16 x 32 float32"),
        ("other client", "imsize is 33 after the scan, expected 32"),
    ],
)
def test_what_a_server_does_wrong_is_a_scan_error_with_the_beam_blanked(opened, device, misbehaviour, message):
    device.misbehave = misbehaviour
    with pytest.raises(ScanError, match=message):
        scanned(opened, RasterROI((16, 32), 1000, (0.5, 0.5), (0.25, 0.5)))
    assert device.beam == "blanked"


def test_counts_of_another_type_are_kept_with_a_notice(opened, device):
    device.misbehave = "integers"
    assert scanned(opened).notices == ("counts were uint16, kept as float32",)


def test_a_field_that_changed_is_refused(opened, device):
    device.misbehave = "other field"
    with pytest.raises(ScanError, match="the field is 400 nm, expected 200"):
        opened.arm(SMALL, FIELD, channels=["HAADF"])


def test_a_frame_that_is_late_is_dropped_and_the_next_one_is_its_own(opened, device):
    slow = RasterROI((16, 16), 2_000_000)  # 0.5 s
    with pytest.raises(ScanTimeout, match=r"no frame within 0\.1 s"):
        scanned(opened, slow, timeout_s=0.1)
    assert device.beam == "blanked"
    frame = scanned(opened, RasterROI((8, 8), 1000))
    assert frame.counts.shape == (1, 8, 8)


def test_an_abort_returns_with_the_beam_blanked_when_the_frame_has_ended(addresses, device):
    instrument = open_instrument(addresses["microscope"], **MINE)
    assert Capability.ABORT not in instrument.describe()[0]
    with session(instrument) as running:
        caught = []

        def scan():
            try:
                running.acquire(RasterROI((16, 16), 2_000_000), FIELD, ["HAADF"])
            except ScanError as error:
                caught.append(str(error))

        thread = threading.Thread(target=scan)
        thread.start()
        time.sleep(0.2)
        running.abort()
        assert device.beam == "blanked"
        thread.join(10)
        assert caught == ["the scan was aborted"]
        assert running.acquire(SMALL, FIELD, ["HAADF"]).counts.max() > 0
    assert device.beam == "blanked"


def test_a_keeper_holds_it_by_default(addresses, device):
    with session(open_instrument(addresses["microscope"], scan="test/nodb/scan")) as opened:
        assert opened.capability == Capability.SHIFT | Capability.BLANK
        assert opened.acquire(SMALL, FIELD, ["HAADF"]).counts.max() > 0
        with pytest.raises(ConfigurationError, match="expected squares"):
            opened.acquire(RasterROI((16, 24), 1000), FIELD, ["HAADF"])
    assert device.beam == "blanked"


def test_without_a_report_of_the_blanker_none_is_claimed(addresses):
    instrument = open_instrument(addresses["unchecked"], **MINE)
    assert Capability.BLANK not in instrument.describe()[0]
    with pytest.raises(InstrumentError, match="has no beam_state"):
        instrument.blank(True)
    with pytest.raises(ConfigurationError, match="idle is 'blank', expected 'park' or 'scan'"), session(instrument):
        pass
    instrument = open_instrument(addresses["unchecked"], **MINE)
    device = tango.DeviceProxy(addresses["unchecked"])
    device.unblank_beam()
    with session(instrument, idle="park", park_yx=(0.0, 0.125)) as opened:
        opened.acquire(SMALL, FIELD, ["HAADF"])
        assert device.beam == "parked"
        np.testing.assert_allclose(device.parked(), [0.125, 0.0])


def test_the_pages_script_runs(addresses, device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert script.count("\n") <= 25
    names = {}
    script = script.replace("tango://127.0.0.1:8888/test/nodb/microscope#dbase=no", addresses["microscope"])
    exec(compile(script, str(PAGE), "exec"), names)  # noqa: S102  the page's own text
    assert names["summary"]["steps"] == 14
    assert names["summary"]["measured"] == 14
    assert device.beam == "blanked"


def test_a_closed_one_refuses(opened):
    opened.close()
    opened.close()
    opened.abort()
    with pytest.raises(InstrumentError, match="is closed"):
        opened.arm(SMALL, FIELD, channels=["HAADF"])


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        ("tango:127.0.0.1:1/a/b/c", {}, "expected tango://HOST:PORT/a/b/c"),
        ("tango://127.0.0.1/a/b/c", {}, "expected tango://HOST:PORT/a/b/c"),
        ("tango://127.0.0.1:1/a/b", {}, "expected tango://HOST:PORT/a/b/c"),
        ("tango://127.0.0.1:1/a/b/c", {"channels": "HAADF"}, "channels is 'HAADF'"),
        ("tango://127.0.0.1:1/a/b/c", {"channels": ["A", "a"]}, "each once"),
        ("tango://127.0.0.1:1/a/b/c", {"flyback_ns": -1}, "flyback_ns is -1"),
    ],
)
def test_wrong_addresses_and_options_are_named(uri, options, message):
    with pytest.raises(ConfigurationError, match=message):
        open_instrument(uri, scan="a/b/d", keeper="in-process", **options)


def test_nobody_there_is_an_instrument_error():
    with pytest.raises(InstrumentError, match=r"tango://127\.0\.0\.1:1/a/b/c"):
        open_instrument("tango://127.0.0.1:1/a/b/c#dbase=no", scan="a/b/d", keeper="in-process")


def test_a_device_without_the_shape_is_an_instrument_error(addresses):
    with pytest.raises(InstrumentError, match="dwell_time"):
        open_instrument(addresses["microscope"], scan="test/nodb/unchecked", keeper="in-process")


def test_without_pytango_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tango", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'probewise[tango]'")):
        open_instrument("tango://127.0.0.1:1/a/b/c", scan="a/b/d", keeper="in-process")
