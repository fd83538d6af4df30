# SPDX-License-Identifier: BSD-3-Clause
"""Whole experiments against the server of the tests, by the command line and by the page of the docs."""

import json
import re
from pathlib import Path

import pytest

import probewise as pw
from open_beam_server import OpenBeamServer, specimen
from probewise.app import cli

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "open-beam-interface.md"
SITES = {"shape": (9, 9), "side_nm": 6.4, "pixel_nm": 0.1}
SETTINGS = {
    "instrument.beam_current_pA": 50,
    "instrument.options.fov_nm": 60,
    "survey.shape": [64, 64],
    "sites.shape": [9, 9],
    "sites.side_nm": 6.4,
    "sites.pixel_nm": 0.1,
    "descriptor.window_px": 32,
    "descriptor.step_px": 16,
    "descriptor.components": 2,
    "scan.dwell_ns": 2000,
    "start.sites": 6,
    "budget.steps": 8,
}


def mean(frame):
    return float(frame.counts.mean())


@pytest.fixture
def server():
    with OpenBeamServer(specimen("particles", fov_nm=60.0, seed=3)) as made:
        yield made


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("probewise.instrument.open_beam.control.SAFE_S", 20.0)  # a busy machine may take long to answer
    return tmp_path


def run(uri, **changes):
    words = [f"{key}={json.dumps(value)}" for key, value in {**SETTINGS, **changes}.items() if value is not None]
    return cli.status(
        ["run", "--instrument", uri, "--out", "run", *(part for word in words for part in ("--set", word))]
    )


def test_a_run_measures_its_sites_and_leaves_the_beam_blanked(server, here):
    assert run(server.uri) == 0
    assert (here / "run" / "report.png").stat().st_size > 10_000
    state = server.state
    assert state.blanked
    assert server.connections == 1
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert summary["steps"] == 8
    lines = 64 + 2
    expected_ns = 64 * 64 * 1000 + 8 * lines * 64 * 2000  # survey, then sites with two discarded lines each
    assert server.exposed_ns == expected_ns


@pytest.mark.parametrize("path", ["spiral", "hilbert"])
def test_an_experiment_over_lists_of_positions(server, path):
    microscope = pw.open_instrument(server.uri, fov_nm=60.0)
    tables = {"survey": {"shape": "none"}, "scan": {"path": path}, "sites": SITES, "budget": {"steps": 2}}
    with pw.Experiment(microscope, out="run", measure={"scalarize": mean}, start={"sites": 2}, **tables) as experiment:
        summary = experiment.run()
    assert (summary["steps"], summary["rejected"]) == (2, 0)
    assert server.exposed_ns == round(summary["time_s"]["beam"] * 1e9) > 0
    assert server.state.blanked


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"instrument.options.fov_nm": None}, "instrument.options.fov_nm is None, expected the nm of sample that"),
        ({"instrument.options.fov_nm": "60 nm"}, "instrument.options.fov_nm is '60 nm', expected"),
        ({"instrument.options.fov_um": 0.06}, "option fov_um = 0.06 is unknown to obi:, expected fov_nm, flip"),
        ({"scan.dwell_ns": 1010}, "scan.dwell_ns is 1010, expected a multiple of 125 on this instrument, such as 1000"),
        ({"sites.pixel_nm": 0.01}, "codes a pixel"),
    ],
)
def test_wrong_units_options_and_sites_are_exit_code_2(server, capsys, changes, expected):
    assert run(server.uri, **changes) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert expected in error
    assert server.exposed_ns <= 64 * 64 * 1000  # of the survey, where only the site's own field is too fine
    assert server.state.blanked


def test_a_wrong_host_is_exit_code_3(server, capsys):
    host, port = server.address.split(":")
    server._stop_listening()
    assert run(f"obi://{host}:{port}") == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"obi://{host}:{port} cannot be reached" in error


def test_a_connection_cut_for_good_is_exit_code_3(server, capsys):
    server.fault = ("gone", 3000)
    assert run(server.uri) == 3
    assert "may be on" in capsys.readouterr().err


def test_the_script_of_the_page_runs(server, here, monkeypatch):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(script.splitlines()) <= 25
    server.counts = specimen("particles", fov_nm=200.0, seed=3)
    names = {}
    exec(compile(script.replace("192.168.1.20:2224", server.address), str(PAGE), "exec"), names)  # noqa: S102
    assert names["summary"]["steps"] == 8
    assert server.state.blanked


def test_doctor_lists_it(capsys):
    assert cli.status(["doctor", "--json"]) == 0
    assert "obi" in json.loads(capsys.readouterr().out.splitlines()[-1])["instruments"]
