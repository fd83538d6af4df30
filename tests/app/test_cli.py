# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from probewise.app import cli, commands
from probewise.experiment import Experiment, load

SMALL = (
    "survey.shape=[64,64]", "sites.shape=[9,9]", "instrument.fov_nm=36", "sites.side_nm=4", "sites.pixel_nm=0.0625",
    "descriptor.window_px=32", "descriptor.step_px=16", "descriptor.components=2", "start.sites=6",
)  # fmt: skip


def small() -> list[str]:
    return [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: str | Path) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def one_line(capsys, code: int, arguments: list[str]) -> str:
    """Run a command that must fail with `code` and say why in one line on stderr, nothing on stdout."""
    assert cli.status(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return err.removeprefix("error: ").strip()


BAD_USAGE = {
    "unknown option": (["run", "--bogus"], "--bogus: got an unknown option"),
    "not a number": (["run", "--steps", "abc"], "--steps: got 'abc', expected a valid integer"),
    "unknown command": (["frobnicate"], "frobnicate"),
    "missing argument": (["survey"], "URI: got nothing"),
    "unknown key": (["run", "--set", "sites.side_mm=2"], "sites.side_mm is unknown, did you mean sites.side_nm"),
    "unit in a value": (["run", "--set", "instrument.fov_nm='20 um'"], "instrument.fov_nm is '20 um', expected"),
    "negative size": (["run", "--set", "sites.side_nm=-2"], "sites.side_nm is -2, expected"),
    "zero size": (["run", "--set", "survey.shape=[0,64]"], "survey.shape"),
    "site outside the field": (["run", "--set", "sites.list=[[500,3]]"], "sites.list holds [500, 3] nm, expected"),
    "unknown specimen": (["run", "--specimen", "nope"], "specimen is 'nope', expected one of nio-lsmo"),
    "unknown scheme": (["run", "--instrument", "foo:bar"], "instrument.uri is 'foo:bar', expected a URI"),
    "two sources": (["run", "--specimen", "bfo", "--image", "a.npy"], "got --specimen and --image, expected one"),
    "unknown workflow": (["run", "--workflow", "telepathy"], "descriptor.workflow is 'telepathy', expected"),
    "unknown policy": (["run", "--policy", "best"], "acquisition.policy is 'best', expected"),
    "negative steps": (["run", "--steps", "-1"], "budget.steps is -1, expected"),
    "nobody to ask": (["run", "--component", "ask"], "component.by: got ask without a terminal to answer at, expected"),
    "missing template": (["run", "--component", "absent.npy"], "absent.npy"),
    "no array": (["run", "--component", "text.npy"], "component.by: 'text.npy' holds no template, expected an array"),
    "empty template": (["run", "--component", "empty.npy"], "component.by: 'empty.npy' holds no template, expected"),
    "objects": (["run", "--component", "objects.npy"], "component.by: 'objects.npy' holds no template, expected"),
    "template with gaps": (["run", "--component", "gaps.npy"], "component.by: template 'gaps.npy' is not finite"),
    "tiny pixels": (["run", "--set", "sites.pixel_nm=1e-9"], "sites.pixel_nm gives a scan of 8000000000 x 8000000000"),
    "large survey": (["run", "--set", "survey.shape=[99999,9999]"], "survey.shape gives a scan of 99999 x 9999 pixels"),
    "short dwell": (["run", "--set", "scan.dwell_ns=1"], "scan.dwell_ns is 1, expected"),
    "missing picture": (["run", "--image", "absent.png", "--set", "sites.side_nm=1"], "absent.png: no such file"),
    "corrupt picture": (["run", "--image", "corrupt.png"], "corrupt.png: cannot be read"),
    "missing configuration": (["run", "absent.toml"], "absent.toml"),
    "broken configuration": (["run", "broken.toml"], "broken.toml is not TOML"),
    "folder in use": (["run", "--out", "used"], "run.out is 'used'"),
    "folder is a file": (["run", "--out", "corrupt.png"], "run.out is 'corrupt.png', a file, expected"),
    "survey into a folder in use": (["survey", "simulated:bfo", "--out", "used"], "run.out is 'used'"),
    "resume without a journal": (["resume", "used"], "used holds no journal"),
    "report without a journal": (["report", "absent"], "absent holds no journal"),
    "export without a journal": (["export", "absent", "a.hspy"], "absent holds no journal"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), BAD_USAGE.values(), ids=BAD_USAGE.keys())
def test_bad_input_is_one_line_and_exit_code_2(arguments, expected, here, capsys):
    (here / "used").mkdir()
    (here / "used" / "something").touch()
    (here / "corrupt.png").write_bytes(b"not a picture")
    (here / "broken.toml").write_text("x = [")
    (here / "text.npy").write_text("not an array")
    (here / "empty.npy").touch()
    np.save(here / "objects.npy", np.array([{}], dtype=object))
    np.save(here / "gaps.npy", np.array([1.0, np.nan]))
    assert expected in one_line(capsys, 2, arguments)


@pytest.mark.parametrize("made", [False, True], ids=["new folder", "empty folder"])
@pytest.mark.parametrize(
    "wrong",
    [["--specimen", "nope"], ["--instrument", "foo:bar"], ["--image", "absent.png"], ["--component", "absent.npy"]],
    ids=lambda wrong: wrong[0],
)
def test_a_refused_run_leaves_its_folder_to_the_corrected_one(wrong, made, here, capsys):
    if made:
        (here / "r").mkdir()
    one_line(capsys, 2, ["run", *small(), *wrong, "--steps", "0", "--out", "r"])
    assert (here / "r").exists() == made
    assert cli.status(["run", *small(), "--steps", "0", "--out", "r"]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place_is_exit_code_5(here, capsys):
    here.chmod(0o555)
    try:
        assert "run.out" in one_line(capsys, 5, ["run", "--out", "new"])
    finally:
        here.chmod(0o755)


def test_a_place_that_cannot_be_made_is_exit_code_5(here, capsys):
    assert "run.out '/proc/new' cannot be made" in one_line(capsys, 5, ["run", "--out", "/proc/new"])


def test_an_internal_error_keeps_its_traceback_in_the_folder(here, capsys, monkeypatch):
    def broken(directory):
        raise ZeroDivisionError("nobody expects this")

    monkeypatch.setattr(commands, "draw", broken)
    assert cli.status(["run", *small(), "--steps", "0", "--out", "r"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: internal: ZeroDivisionError: nobody expects this; traceback: {Path('r/traceback.txt')}"
    assert "in broken" in Path("r/traceback.txt").read_text()


def test_a_run_is_drawn_summarised_resumed_and_exported(here, capsys):
    assert cli.status(["run", *small(), "--steps", "9", "--out", "r", "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out.splitlines()[-1])
    assert summary == json.loads(Path("r/summary.json").read_text())
    assert (summary["steps"], summary["source"]) == (9, "simulated:nio-lsmo")
    lines = err.splitlines()
    assert sum(line.startswith("step ") for line in lines) == 9
    assert lines[-1] == str(Path("r/report.png"))
    assert {"config.toml", "run.sqlite", "summary.json", "report.png", "report.html"} <= names("r")
    Path("r/report.png").unlink()
    Path("r/report.html").unlink()

    assert cli.status(["resume", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
    assert {"report.png", "report.html"} <= names("r")

    assert cli.status(["export", "r", "r.hspy"]) == 0
    from rsciio.hspy import file_reader

    titles = {signal["metadata"]["General"]["title"]: signal for signal in file_reader("r.hspy")}
    assert titles["sites"]["data"].shape == (9, 64, 64)
    capsys.readouterr()
    assert "OUT: got r.h5, expected" in one_line(capsys, 2, ["export", "r", "r.h5"])


def test_a_dry_run_moves_and_writes_nothing(here, capsys):
    assert cli.status(["run", *small(), "--steps", "5", "--dry-run", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert predicted["steps"] == 5
    assert (predicted["sites"], predicted["free"]) == (81, 49)
    assert predicted["extent"] == {"y": [6.0, 30.0], "x": [6.0, 30.0]}  # one ring of 4 nm left out of 36 nm
    beam = predicted["beam_s"]
    assert beam["all"] == pytest.approx(beam["survey"] + 5 * beam["site"])
    assert names(here) == set()
    assert cli.status(["run", *small(), "--steps", "5", "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize("dry", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["scan.path=hilbert", "sites.pixel_nm=0.05"], "sites.pixel_nm = 0.0625 (64 px) or 0.03125 (128 px)"),
        (["instrument.idle=park", "sites.border=0"], "instrument.park is not set"),
        (["sites.exclude=[" + ",".join(map(str, range(81))) + "]"], "leave no site free"),
    ],
)
def test_what_only_the_instrument_can_refuse_is_one_line_too(here, capsys, dry, settings, says):
    sets = [word for setting in settings for word in ("--set", setting)]
    assert says in one_line(capsys, 2, ["run", *small(), *sets, *dry])


def test_a_dry_run_predicts_what_the_run_then_costs(here, capsys):
    assert cli.status(["run", *small(), "--steps", "3", "--dry-run", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    summary = Experiment(configuration=load(None, [*SMALL, "budget.steps=3", "run.out=r"])).run()
    assert predicted["electrons"] == pytest.approx(summary["dose"]["electrons"])
    assert predicted["max_e_per_A2"] == pytest.approx(summary["dose"]["max_e_per_A2"])
    assert predicted["raster_equivalents"] == pytest.approx(summary["exposure"]["raster_equivalents"])
    assert predicted["beam_s"]["all"] == pytest.approx(summary["time_s"]["beam"])


def test_a_survey_leaves_its_frame_masks_and_components(here, capsys):
    assert cli.status(["survey", "simulated:nio-lsmo", *small(), "--set", "survey.shape=[256,256]", "--out", "s"]) == 0
    assert "256 x 256 px" in capsys.readouterr().out
    assert names("s") == {"components.png", "config.toml", "survey.npz", "survey.png"}
    with np.load("s/survey.npz") as kept:
        assert kept["counts"].shape == kept["class_map"].shape == (256, 256)
        assert kept["vacuum"].shape == (81,)
        np.testing.assert_allclose(kept["pixel_nm"], 36 / 256)


def test_the_configuration_is_printed_and_read_back(here, capsys):
    assert cli.status(["config", "--set", "acquisition.beta=2.5", "--set", "run.seed=7"]) == 0
    text = capsys.readouterr().out
    Path("again.toml").write_text(text)
    assert cli.status(["config", "again.toml"]) == 0
    assert capsys.readouterr().out == text
    for line in ("beta = 2.5", "fov_nm = 200.0", 'policy = "ucb"', "border = 1", "# steps = 60, and the stop rule"):
        assert f"\n{line}" in text
    assert cli.status(["config", "--schema"]) == 0
    assert "instrument" in json.loads(capsys.readouterr().out)["properties"]


def test_help_and_version(capsys):
    import probewise

    assert cli.status(["--version"]) == 0
    assert capsys.readouterr().out.strip() == probewise.__version__
    assert cli.status(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("run", "survey", "resume", "report", "export", "config", "models", "doctor"):
        assert f"\n  {command} " in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom probewise.app import cli\ncli.status(['--help'])\n"
        "heavy = {'matplotlib', 'scipy', 'sklearn', 'skimage', 'h5py', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_step_with_its_exit_code_and_the_run_goes_on(number, code, here, capsys):
    command = [sys.executable, "-m", "probewise", "run", *small(), "--steps", "8", "--out", "r", "--json"]
    command += ["--set", "instrument.realtime=true", "--set", "scan.dwell_ns=60000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("step 2/"):
            break
    running.send_signal(number)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == code
    stopped = json.loads(out.splitlines()[-1])
    assert 2 <= stopped["steps"] < 8
    Path("r/report.png").unlink()
    assert cli.status(["report", "r"]) == 0  # of a run that has not ended
    assert capsys.readouterr().out.strip() == str(Path("r/report.png"))
    assert Path("r/report.png").exists()
    assert Experiment.resume("r").run()["steps"] == 8


def test_a_second_signal_aborts_at_once(here):
    command = [sys.executable, "-m", "probewise", "run", *small(), "--steps", "8", "--out", "r"]
    command += ["--set", "instrument.realtime=true", "--set", "scan.dwell_ns=5000000"]  # 20 s a site
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("survey"):
            break
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=15)  # far less than the step's 20 s
    assert running.returncode == 130
    assert "aborted: " in said
    assert not Path("r/report.png").exists()
