# SPDX-License-Identifier: BSD-3-Clause
import re
from pathlib import Path

import numpy as np
import pytest

from probewise.errors import ConfigurationError, ScanTimeout
from probewise.instrument import session
from probewise.instrument.conformance import check
from probewise.types import Context, Instrument, RasterROI

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"


@pytest.fixture(scope="module")
def page():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  the page's own text
    return names


def test_the_example_scans(page):
    frame = page["frame"]
    y, x = np.meshgrid(*[(np.arange(64) + 0.5) / 4 - 8.0] * 2, indexing="ij")
    expected = 100.0 * (2 + np.sin(0.02 * y + 0.001 * x * y) + np.sin(0.1 * x))
    np.testing.assert_allclose(frame.image(), expected, rtol=1e-6)  # float32
    assert frame.pixel_nm == (0.25, 0.25)
    assert frame.duration_ns == 64 * (64 * 1000 + 30_000)


def test_the_example_passes_the_suite(page):
    assert page["failed"] == []
    results = check(page["open_waves"](""))
    assert {result.name for result in results if result.outcome == "not applicable"} == {
        "orientation of a frame",
        "rotation",
        "list of positions",
        "abort in mid-scan",
    }


def test_the_example_is_an_instrument_that_ends_blanked(page):
    instrument = page["open_waves"]("", dose=2.0)
    assert isinstance(instrument, Instrument)
    roi = RasterROI((8, 8), 1000, flyback_ns=30_000)
    with session(instrument) as opened:
        assert opened.acquire(roi, Context((8.0, 8.0), shift_nm=(4.0, 0.0)), ["HAADF"]).counts.max() < 8.0
        with pytest.raises(ConfigurationError, match="expected a raster"):
            opened.acquire(roi.path, Context((8.0, 8.0)), ["HAADF"])
        opened.abort()
        instrument.blank(False)
    assert instrument.beam == "blanked"


def test_the_example_raises_after_making_the_beam_safe(page):
    instrument = page["Waves"](1.0)
    armed = instrument.arm(RasterROI((8, 8), 1000, flyback_ns=30_000), Context((8.0, 8.0)), channels=["HAADF"])
    instrument.start(armed)
    with pytest.raises(ScanTimeout, match="no data within 0 s"):
        instrument.read_into(armed, np.empty((1, 64), dtype=np.float32), timeout_s=0)
    assert instrument.beam == "blanked"
