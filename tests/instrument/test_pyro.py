# SPDX-License-Identifier: BSD-3-Clause
"""Against a Pyro5 server of our own with the methods of DTMicroscope's, on loopback."""

import re
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("Pyro5.api", reason="Pyro5 is not installed: pip install '.[pyro]'")

import Pyro5.api
from scipy import ndimage

from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument import open_instrument
from probewise.instrument.conformance import check
from probewise.instrument.sessions import session
from probewise.types import Capability, Context, RasterROI

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tango-and-pyro.md"
PICTURE = 1000 + 4000 * ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(96, 128)), 4)
ANSWERS = {
    "pictures": (PICTURE.tolist(), PICTURE.shape, "float64"),
    "counts": (np.rint(PICTURE).astype(int).tolist(), PICTURE.shape, "uint16"),
    "other shape": (PICTURE.tolist(), (128, 96), "float64"),
    "words": ([["a", "b"], ["c", "d"]], (2, 2), "float64"),
    "text": ([["a", "b"], ["c", "d"]], (2, 2), "<U1"),
    "ragged": ([[1.0], [1.0, 2.0]], (2, 2), "float64"),
    "infinite": ([[1e300, 1.0], [1.0, 2.0]], (2, 2), "float64"),
    "not three": [1, 2],
}


@Pyro5.api.expose
class Server:
    """As DTMicroscope's MicroscopeServer: one for each client, useless before it is initialised."""

    def initialize_microscope(self, microscope="dummy"):
        self._microscope = microscope

    def register_data(self, data_source="test.h5"):
        if data_source not in ANSWERS:
            raise FileNotFoundError(data_source)
        self._data = data_source

    def get_overview_image(self):
        if self._microscope != "STEM":
            raise ValueError(f"no such microscope: {self._microscope}")
        return ANSWERS[self._data]


@pytest.fixture(scope="module")
def uri():
    daemon = Pyro5.api.Daemon(host="127.0.0.1", port=0)
    daemon.register(Server, objectId="microscope.server")
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    yield f"pyro5://{daemon.locationStr}"
    daemon.shutdown()
    thread.join(10)
    daemon.close()


def test_the_overview_image_is_what_is_scanned(uri):
    instrument = open_instrument(uri, fov_nm=64.0, data="pictures")
    assert instrument.fov_nm == (48.0, 64.0)
    assert instrument.source == f"{uri}/microscope.server"
    with session(instrument, idle="scan") as opened:
        # Pixels of 0.5 nm: rows 16 to 48, columns 90 to 122.
        frame = opened.acquire(RasterROI((32, 32), 1000), Context((16.0, 16.0), (-8.0, 21.0)), ["HAADF"])
    np.testing.assert_array_equal(frame.image(), PICTURE[16:48, 90:122].astype(np.float32))
    assert instrument.notices == (
        "one picture of the server, fetched when it was opened: scans reach no beam",
        "values were float64, kept as float32",
    )


def test_no_blanker_is_claimed_and_idle_is_scan(uri):
    instrument = open_instrument(f"{uri}/microscope.server", fov_nm=64.0, data="counts")
    assert Capability.BLANK not in instrument.describe()[0]
    with pytest.raises(InstrumentError, match="no blanker"):
        instrument.blank(True)
    with pytest.raises(ConfigurationError, match="the instrument has no blanker"), session(instrument):
        pass


def test_it_passes_the_suite_for_drivers(uri):
    results = check(open_instrument(uri, fov_nm=64.0, data="pictures"), shows=PICTURE)
    assert [f"{r.name}: {r.sentence}" for r in results if r.outcome == "failed"] == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("other shape", r"float64 of shape \(96, 128\), said to be \(128, 96\)"),
        ("words", "gave no"),
        ("text", "expected a picture of numbers"),
        ("ragged", "gave no"),
        ("infinite", "not finite as float32"),
        ("not three", "gave no"),
        ("missing.h5", "register_data failed: FileNotFoundError: missing.h5"),
        (None, "get_overview_image failed: AttributeError"),
    ],
)
def test_what_is_no_picture_is_an_instrument_error(uri, data, message):
    with pytest.raises(InstrumentError, match=message):
        open_instrument(uri, fov_nm=64.0, data=data)


def test_a_microscope_that_the_server_does_not_know(uri):
    with pytest.raises(InstrumentError, match="no such microscope: TEM"):
        open_instrument(uri, fov_nm=64.0, data="pictures", microscope="TEM")


def test_nobody_there_and_nobody_answering_are_instrument_errors(uri):
    with pytest.raises(InstrumentError, match="initialize_microscope failed: CommunicationError"):
        open_instrument("pyro5://127.0.0.1:1", fov_nm=64.0)
    with pytest.raises(InstrumentError, match=r"initialize_microscope failed: .*unknown object"):
        open_instrument(f"{uri}/somebody.else", fov_nm=64.0)
    refusal = r"initialize_microscope failed: (Timeout|Communication)Error"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InstrumentError, match=refusal):
        open_instrument(f"pyro5://127.0.0.1:{silent.getsockname()[1]}", fov_nm=64.0, timeout_s=0.2)


@pytest.mark.parametrize(
    ("rest", "options", "message"),
    [
        ("//127.0.0.1", {}, "expected pyro5://HOST:PORT/OBJECT"),
        ("127.0.0.1:9091", {}, "expected pyro5://HOST:PORT/OBJECT"),
        ("//127.0.0.1:70000", {}, "expected pyro5://HOST:PORT/OBJECT"),
        ("//127.0.0.1:1", {"fov_nm": 0.0}, "fov_nm is 0.0"),
        ("//127.0.0.1:1", {"fov_nm": float("nan")}, "fov_nm is nan"),
        ("//127.0.0.1:1", {"timeout_s": -1.0}, "timeout_s is -1.0"),
    ],
)
def test_wrong_addresses_and_options_are_named(rest, options, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        open_instrument(f"pyro5:{rest}", **{"fov_nm": 64.0, **options})


def test_without_pyro_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "Pyro5.api", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'probewise[pyro]'")):
        open_instrument("pyro5://127.0.0.1:1", fov_nm=64.0)


def test_the_pages_script_runs(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    assert script.count("\n") <= 25
    names = {}
    script = script.replace("pyro5://127.0.0.1:9091", uri).replace("data/test_stem.h5", "pictures")
    exec(compile(script, str(PAGE), "exec"), names)  # noqa: S102  the page's own text
    assert names["summary"]["measured"] == 14
    assert names["summary"]["time_s"]["beam_duty"] is None  # nothing is scanned in real time
