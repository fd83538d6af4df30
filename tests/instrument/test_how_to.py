# SPDX-License-Identifier: BSD-3-Clause
import re
from pathlib import Path

import numpy as np
import pytest

from probewise.errors import ConfigurationError, ScanTimeout
from probewise.instrument import session
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
    image = frame.image()
    assert image.shape == (64, 64)
    expected = 100.0 * (np.add.outer(np.arange(64) // 16, np.arange(64) // 16) % 2)
    np.testing.assert_array_equal(image, expected)
    assert frame.pixel_nm == (0.25, 0.25)
    assert frame.duration_ns == 64 * (64 * 1000 + 30_000)


def test_the_example_is_an_instrument_that_ends_blanked(page):
    instrument = page["open_checkerboard"]("", dose=2.0)
    assert isinstance(instrument, Instrument)
    roi = RasterROI((8, 8), 1000, flyback_ns=30_000)
    with session(instrument) as opened:
        assert opened.acquire(roi, Context((8.0, 8.0), shift_nm=(4.0, 0.0)), ["HAADF"]).counts.max() == 2.0
        with pytest.raises(ConfigurationError, match="expected a raster"):
            opened.acquire(roi.path, Context((8.0, 8.0)), ["HAADF"])
        opened.abort()
        instrument.blank(False)
    assert instrument.beam == "blanked"


def test_the_example_raises_after_making_the_beam_safe(page):
    instrument = page["Checkerboard"](1.0)
    armed = instrument.arm(RasterROI((8, 8), 1000), Context((8.0, 8.0)), channels=["HAADF"])
    instrument.start(armed)
    with pytest.raises(ScanTimeout, match="no data within 0 s"):
        instrument.read_into(armed, np.empty((1, 64), dtype=np.float32), timeout_s=0)
    assert instrument.beam == "blanked"
