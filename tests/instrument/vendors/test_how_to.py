# SPDX-License-Identifier: BSD-3-Clause
"""The lab scripts of the vendors' pages, run against the fakes."""

import re
from pathlib import Path

import pytest

from instrument.vendors import autoscript, digitalmicrograph, pyjem
from instrument.vendors.column import Column

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


@pytest.mark.parametrize(
    ("page", "fake", "flyback_ns"),
    [("autoscript", autoscript, 100_000), ("jeol", pyjem, 100_000), ("digitalmicrograph", digitalmicrograph, 500_000)],
)
def test_the_lab_script_scans_and_ends_blanked(monkeypatch, capsys, page, fake, flyback_ns):
    column = Column()
    fake.install(monkeypatch, column, flyback_ns=flyback_ns)
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    script = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    assert len(script.splitlines()) <= 25
    # the fake is known to this process alone, a keeper would be another
    script = script.replace(", fov_nm=200.0", ', fov_nm=200.0, keeper="in-process"')
    names = {}
    exec(compile(script, page, "exec"), names)  # noqa: S102  the page's own text
    assert names["frame"].shape == (64, 64)
    assert names["frame"].image().mean() > names["survey"].image().mean()  # the brightest place of the field
    assert column.beam == "blanked"
    assert "Frame" in capsys.readouterr().out
