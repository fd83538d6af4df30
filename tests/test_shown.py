# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import probewise as pw
from probewise.experiment import Step, open_run
from probewise.experiment.states import SiteState
from probewise.shown import table
from tiny_experiment import tiny


@pytest.fixture(autouse=True)
def closed_figures(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("shown") / "<r>"
    tiny(directory, surrogate={"refine": 2}, budget={"steps": 8}).run()
    return directory


def frame() -> pw.Frame:
    context, scan = pw.Context((4.0, 2.0), (1.0, -3.0)), pw.RasterROI((8, 4), 1000)
    return pw.Frame(np.ones((1, 8, 4), dtype=np.float32), ("<HAADF>",), context, scan, 0, 0, 32_000, 32)


def process() -> pw.GaussianProcess:
    gp = pw.GaussianProcess(pw.Lattice((5, 7), (2.0, 1.0)), lengthscale=2.0)
    gp.tell(3, 1.0)
    return gp


def test_a_table_is_escaped() -> None:
    assert table("<b>", {"a&b": "<script>"}) == (
        "<table><caption>&lt;b&gt;</caption><tbody>"
        "<tr><th scope='row'>a&amp;b</th><td>&lt;script&gt;</td></tr></tbody></table>"
    )


def test_every_object_shows_what_it_is(ran: Path) -> None:
    spectra = np.random.default_rng(0).uniform(size=(9, 5)).astype(np.float32)
    with open_run(ran) as run:
        objects = {
            "Frame": (frame(), ("8 x 4", "0.5 x 0.5", "&lt;HAADF&gt;")),
            "GaussianProcess": (process(), ("matern52", "5 x 7", "told")),
            "Unmixing": (pw.Unmixing("pca", 2).fit(spectra), ("pca", "5 features")),
            "Experiment": (pw.Experiment("simulated:bfo", run={"seed": 5}), ("simulated:bfo", "not started", ">5<")),
            "Run": (run, ("&lt;r&gt;", "budget: steps", ">8<")),
        }
        for name, (thing, parts) in objects.items():
            shown = thing._repr_html_()
            assert shown.startswith(f"<table><caption>{name}</caption>")
            assert all(part in shown for part in parts), shown
            assert repr(thing).startswith(f"{name}(")
            assert "\n" not in repr(thing)


def test_a_step_is_escaped() -> None:
    assert "&lt;p&gt;" in Step(0, 1, SiteState.MEASURED, 1.0, "<p>", None, None, {})._repr_html_()


def test_maps_and_frames_are_drawn_where_they_lie(ran: Path) -> None:
    axes = frame().plot()
    assert axes.images[0].get_extent() == [0.0, 2.0, 4.0, 0.0]
    assert frame().plot(axes=axes) is axes
    gp = process()
    drawn = gp.plot("std")
    assert drawn.images[0].get_extent() == [-0.5, 6.5, 9.0, -1.0]
    np.testing.assert_array_equal(drawn.images[0].get_array(), gp.std.reshape(5, 7))
    assert [line.get_xydata().tolist() for line in drawn.lines] == [[[3.0, 0.0]]]
    with open_run(ran) as run:
        shown = run.plot()
        assert shown.images[0].get_extent() == pytest.approx([0.0, 100.0, 100.0, 0.0])
        assert shown.images[0].get_array().shape == (20, 20)
        np.testing.assert_allclose(shown.lines[0].get_xydata()[:, ::-1], run.sites.centres_nm[run.visited])
        with pytest.raises(ValueError, match="which is 'men', expected 'mean' or 'std'"):
            run.plot("men")  # type: ignore[arg-type]


def test_points_are_drawn_as_dots_and_only_in_two_axes() -> None:
    points = np.random.default_rng(1).uniform(size=(6, 2))
    axes = pw.GaussianProcess(points, lengthscale=1.0).plot()
    np.testing.assert_allclose(axes.collections[0].get_offsets()[:, ::-1], points)
    with pytest.raises(ValueError, match="candidates have 3 axes, expected 2"):
        pw.GaussianProcess(np.ones((2, 3)), lengthscale=1.0).plot()
    with pytest.raises(ValueError, match="which is 'max'"):
        process().plot("max")  # type: ignore[arg-type]


def test_matplotlib_is_loaded_by_plot_only() -> None:
    code = (
        "import sys, probewise as pw\nrepr(pw.GaussianProcess(pw.Lattice((3, 3)), lengthscale=1.0)); pw.Frame\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
