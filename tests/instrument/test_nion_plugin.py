# SPDX-License-Identifier: BSD-3-Clause
"""The panel in Swift, without a display: loaded by Swift's own plug-in manager, over Nion's simulator."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nion.usim_device", reason="nionswift is not installed: pip install 'probewise[nion]'")

import nionswift_plugin
from nion.swift import Facade, Panel
from nion.swift.model import PlugInManager
from nion.swift.test import TestContext

from probewise.experiment import open_run
from probewise.instrument.nion.swift import simulator

ROOT = Path(__file__).parents[2] / "nionswift_plugin"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def swift():
    """The simulated microscope; Swift's plug-ins come from the repository alone."""
    microscope = simulator("flakes")
    before = nionswift_plugin.__path__
    nionswift_plugin.__path__ = [str(ROOT)]
    Facade.initialize()
    yield microscope
    nionswift_plugin.__path__ = before
    microscope.release()


@pytest.fixture
def panel(swift, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TestContext.create_memory_context() as context:
        controller = context.create_document_controller_with_application()
        PlugInManager.load_plug_ins(None, None, None)
        (extension,) = PlugInManager.extensions
        delegate = extension.panel
        Panel.PanelManager().create_panel_content(
            controller, delegate.panel_id, delegate.panel_name, ["left", "right"], "right", None
        )
        told = {"steps": 10, "sites": 6, "side_nm": 12, "pixel_nm": 0.2, "dwell_us": 1, "survey_px": 64}
        for name, value in {**told, "blanker": "C_Blank"}.items():
            delegate.edits[name].text = str(value)
        delegate.controller = controller
        yield delegate
        PlugInManager.unload_plug_ins()
        Panel.PanelManager().unregister_panel(delegate.panel_id)


def press(panel, name):
    panel.buttons[name]._widget.on_clicked()


def until(panel, reached):
    """Swift's own loop, as the window's timer runs it, until what is waited for."""
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end, panel.status.text
        panel.controller.periodic()
        time.sleep(0.002)
    panel.controller.periodic()


def done(panel):
    return lambda: not panel.worker.busy


def titles(panel):
    return {item.title: item for item in panel.controller.document_model.data_items}


def runs():
    return sorted(Path("probewise-runs").iterdir())


def test_ten_steps(panel, swift):
    seen = set()
    begun = swift.source.scan_device.start_frame
    swift.source.scan_device.start_frame = lambda *a: seen.add(threading.current_thread()) or begun(*a)
    press(panel, "Start")
    until(panel, done(panel))
    assert threading.main_thread() not in seen  # nothing scans on the thread of the windows
    assert len(seen) == 1
    assert panel.status.text.startswith("10 sites measured (budget: steps)")
    with open_run(runs()[0]) as run:
        assert run.source == "nion:"
        assert len(run.steps) == 10
        items = titles(panel)
        assert items["probewise survey"].data.shape == (64, 64)
        np.testing.assert_array_equal(items["probewise mask"].data, run.excluded.reshape(6, 6))
        components = [title for title in items if title.startswith("probewise component")]
        assert len(components) == len(panel.combos["follow"].items) > 1
        shown = items["probewise values"].data
        told = [step.site for step in run.steps if step.value is not None]
        assert set(np.flatnonzero(np.isfinite(shown))) == set(told)
    assert swift.stem.GetVal("C_Blank") == 1.0


def test_a_survey_alone(panel):
    press(panel, "Survey")
    until(panel, done(panel))
    assert panel.status.text == "16 of 36 sites are left"  # a ring of 20 is the border
    assert set(titles(panel)) == {"probewise survey", "probewise mask"}
    assert not Path("probewise-runs").exists()


def test_pause_go_on_and_stop(panel, swift):
    panel.edits["steps"].text = "1000"
    press(panel, "Start")
    until(panel, lambda: panel.status.text.startswith("step"))
    press(panel, "Pause")
    until(panel, lambda: panel.status.text == "paused")
    until(panel, lambda: swift.stem.GetVal("C_Blank") == 1.0 and not swift.device.is_scanning)
    assert panel.worker.busy
    press(panel, "Start")
    until(panel, lambda: panel.status.text == "busy: stop it first")
    press(panel, "Go on")
    until(panel, lambda: panel.status.text.startswith("step"))
    press(panel, "Stop")
    until(panel, done(panel))
    assert "stopped in Swift" in panel.status.text


def test_a_person_chooses_the_component(panel):
    panel.combos["component"].current_item = "ask"
    panel.edits["steps"].text = "24"
    press(panel, "Start")
    until(panel, lambda: not panel.worker.busy or panel.status.text.startswith("which component is followed"))
    panel.combos["follow"].current_index = 1
    press(panel, "Follow")
    until(panel, done(panel))
    assert panel.status.text.startswith("16 sites measured (every site was visited)")


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("side_nm", "wide", "side of a site, nm is 'wide', expected a number"),
        ("blanker", "C_Nothing", "blanker = 'C_Nothing' is no control of usim_scan_device"),
        ("side_nm", "40", "sites.side_nm is 40, expected at most the pitch"),
    ],
)
def test_what_is_wrong_is_said_in_the_panel(panel, field, text, says):
    panel.edits[field].text = text
    press(panel, "Start")
    until(panel, done(panel))
    assert says in panel.status.text
    assert not titles(panel)


def test_closing_the_window_stops_the_run(panel, swift):
    press(panel, "Start")
    until(panel, lambda: panel.status.text.startswith("step"))
    PlugInManager.unload_plug_ins()
    assert not panel.worker.busy
    assert swift.stem.GetVal("C_Blank") == 1.0
