# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import dataclasses
import itertools
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.standin_run import standin
from probewise.app import curves, panels, report
from probewise.app.files import write_atomically
from probewise.errors import StorageError

CASES = {
    "full": {"notices": ("site 231 was rejected: 12 % of its samples were not finite",) * 9},
    "no survey, no truth, no dose": {"survey": False, "truth": False, "dose": False},
    "replay": {"shape": (12, 14), "replay": True, "survey": False, "steps": 40},
    "told map": {"shape": (9, 9), "replay": True, "told": True, "survey": False, "steps": 20},
    "one site": {"shape": (1, 1), "steps": 1, "survey": False},
    "no step": {"steps": 0},
    "2,000 sites": {"shape": (50, 50), "steps": 2000, "frame_px": 8},
    "stopped before a basis": {"steps": 9, "rejected": 3, "refine": 2, "based": False},
}


def pieces(axes):
    """Boxes, in pixels, of what an axes draws: its frame and each of its texts and legends."""
    if not axes.axison:
        return []
    drawn = [axes.patch, axes.title, *axes.texts, *([axes.get_legend()] if axes.get_legend() else [])]
    boxes = [artist.get_window_extent() for artist in drawn if getattr(artist, "get_text", lambda: "frame")()]
    return boxes + [box for axis in (axes.xaxis, axes.yaxis) if (box := axis.get_tightbbox()) is not None]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_nothing_overlaps_at_the_default_size(case, tmp_path):
    with matplotlib.rc_context(report.STYLE):
        figure = report.overview(standin(tmp_path, **case)).figure
        figure.draw_without_rendering()
    page = figure.bbox
    every = [*figure.axes, *(child for axes in figure.axes for child in axes.child_axes)]
    drawn = [(axes, box) for axes in every for box in pieces(axes)]
    assert len(drawn) > 30
    for axes, box in drawn:
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert inside, (axes.get_title() or axes.get_ylabel(), box)
    for (one, a), (two, b) in itertools.combinations(drawn, 2):
        # a pixel of shared edge is rounding
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert one is two or apart, (one.get_title() or one.get_ylabel(), two.get_title() or two.get_ylabel(), a, b)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_says_what_its_pictures_show(tmp_path):
    hostile = "notice with <script>alert(1)</script> & quotes \" '"
    (tmp_path / "components.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    png, html = report.draw_report(standin(tmp_path, notices=(hostile,), frame_px=16), tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = html.read_text()
    page = _Page()
    page.feed(text)
    assert not page.open, "unclosed tags"
    names = [name for name, _ in page.tags]
    assert "script" not in names
    assert "link" not in names
    images = [attributes for name, attributes in page.tags if name == "img"]
    assert len(images) == 9 + 1 + 1  # panels, frames, components
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in images)
    assert all(len(attributes["alt"]) > 20 for attributes in images)
    assert "http" not in text.replace("data:image/png;base64", "")[: text.index("base64")]
    assert ("html", {"lang": "en"}) in page.tags
    assert "&lt;script&gt;" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["components.png", "report.html", "report.png"]


def test_an_unwritable_folder_is_a_storage_error_that_names_the_file(tmp_path):
    with pytest.raises(StorageError, match=r"report\.png: got .*, expected a writable place"):
        write_atomically(tmp_path / "absent" / "report.png", b"")


def test_colours_of_measured_and_predicted_values_mean_the_same(tmp_path):
    run = standin(tmp_path, frame_px=8)
    low, high = panels.value_bounds(run)
    assert low == min(run.values.min(), run.mean.min())
    assert high == max(run.values.max(), run.mean.max())


def test_unmeasured_sites_stay_blank(tmp_path):
    from matplotlib.figure import Figure

    run = standin(tmp_path, steps=9, frame_px=8)
    axes = Figure().subplots()
    panels.values(run, axes)
    shown = axes.images[0].get_array()
    assert np.flatnonzero(~np.ma.getmaskarray(shown).ravel()).tolist() == sorted(run.visited.tolist())


def test_a_list_of_sites_is_drawn_as_squares(tmp_path):
    from matplotlib.figure import Figure

    run = standin(tmp_path, steps=9, frame_px=8)
    scattered = np.random.default_rng(0).uniform(8, 190, (625, 2))

    @dataclasses.dataclass(frozen=True)
    class Listed:
        shape = (625, 1)
        size = 625
        side_nm = 8.0
        fov_nm = (200.0, 200.0)
        pitch_nm = (8.0, 8.0)
        centres_nm = scattered

    listed = dataclasses.replace(run, sites=Listed())
    axes = Figure().subplots()
    panels.mean(listed, axes)
    assert not axes.images
    assert len(axes.collections[0].get_paths()) == 625
    assert panels.lattice_extent(listed) is None
    assert panels.lattice_extent(run) == pytest.approx((0, 200, 200, 0))


@given(free=st.integers(1, 9), data=st.data())
@settings(deadline=None, max_examples=25)
def test_the_random_band_is_that_of_all_orders(free, data):
    reachable = data.draw(st.integers(0, free))
    interesting = data.draw(st.integers(max(reachable, 1), free + 3))
    visits = data.draw(st.integers(0, free))
    every = [sum(site < reachable for site in order) for order in itertools.combinations(range(free), visits)]
    mean, low, high = curves.random_band(interesting, reachable, free, np.array([visits]))[0] * interesting
    # hypergeometric tables are sums of a few ratios of factorials
    assert mean == pytest.approx(np.mean(every), abs=1e-12)
    assert np.mean(np.array(every) <= low + 1e-9) >= 0.025 - 1e-12
    assert np.mean(np.array(every) <= high + 1e-9) >= 0.975 - 1e-12
    assert np.mean(np.array(every) < low - 1e-9) <= 0.025 + 1e-12


def test_the_random_band_of_a_large_field_is_scipys():
    from scipy.stats import hypergeom

    visits = np.arange(0, 530, 7)
    found = hypergeom(529, 66, visits)
    expected = np.stack([visits * 66 / 529, found.ppf(0.025), found.ppf(0.975)], axis=1) / 69
    # factorials of some hundreds as sums of logarithms keep about twelve digits
    np.testing.assert_allclose(curves.random_band(69, 66, 529, visits), expected, rtol=1e-10)


def test_extreme_sites_are_never_shown_twice(tmp_path):
    for steps in (0, 1, 5, 8, 30):
        run = standin(tmp_path, steps=steps, frame_px=8)
        high, low = curves.extreme_sites(run)
        both = [*high, *low]
        assert len(set(both)) == len(both) == min(steps, 8)
        if steps > 8:
            assert run.values[high].min() >= run.values[low].max()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (999.4, "999"),
        (52100.0, "5.21e4"),
        (1234.4, "1234"),
        (3e-5, "3.00e-5"),
        (1e12, "1.00e12"),
    ],
)
def test_numbers_are_short(value, text):
    assert panels.number(value) == text


def test_limits_of_a_constant_map_have_a_width():
    assert panels.limits(np.full(3, 2.0)) == (1.0, 3.0)
    assert panels.limits(np.zeros(3)) == (-0.5, 0.5)
    assert panels.limits(np.full(3, np.nan)) == (0.0, 1.0)
    assert panels.limits(np.array([np.nan, 1.0, 4.0])) == (1.0, 4.0)
