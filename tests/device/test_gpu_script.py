# SPDX-License-Identifier: BSD-3-Clause
"""bench/gpu.sh and bench/gpu_step.py as far as they go without a GPU: arguments, refusals, the file of figures."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
_spec = importlib.util.spec_from_file_location("gpu_step", BENCH / "gpu_step.py")
assert _spec is not None
assert _spec.loader is not None
gpu_step = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gpu_step)


def run(tmp_path, *arguments):
    """With a driver that does not answer."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nexit 9\n")
    driver.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", BENCH / "gpu.sh", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no NVIDIA driver answers (nvidia-smi)"),
        (("--fast",), "'--fast' is not an option, expected --python"),
        (("--json",), "--json is without a value"),
        (("--emulated",), "--emulated needs another --json: gpu.json is for a GPU"),
        (("--python", "no-such-python"), "'no-such-python' is not there, expected a Python"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(arguments, says, tmp_path):
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"gpu.sh: {says}" in done.stderr


def test_help_names_every_option(tmp_path):
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for option in ("--python PYTHON", "--json FILE", "--keep-build", "--emulated"):
        assert option in done.stdout


class Stand:
    """What the script asks of the extension."""

    def __init__(self, emulated):
        self.emulated = lambda: emulated


def lend(monkeypatch, emulated):
    monkeypatch.setattr(gpu_step, "cuda_module", lambda: Stand(emulated))
    monkeypatch.setattr(gpu_step, "devices_found", lambda: (["Tester (sm_90)"], ""))
    monkeypatch.setattr(gpu_step, "choose_device", lambda device: gpu_step.pw.device.Chosen(device, "asked for"))
    monkeypatch.setattr(gpu_step, "measure", lambda device, sizes: {"gp_step": {"median_ms": sizes["told"]}})


def test_the_figures_name_device_commit_and_sizes(tmp_path, monkeypatch, capsys):
    lend(monkeypatch, emulated=False)
    path = tmp_path / "new" / "gpu.json"
    assert gpu_step.main(["--json", str(path), "--device", "cuda:0"]) == 0
    found = json.loads(path.read_text())
    assert (found["device"], found["emulated"], found["sizes"]) == ("Tester (sm_90)", False, gpu_step.SIZES)
    assert found["cells"]["gp_step"]["median_ms"] == 1024
    assert found["commit"]
    assert "gp_step median_ms 1024" in capsys.readouterr().out


@pytest.mark.parametrize(("emulated", "more"), [(True, []), (False, ["--quick"])])
def test_figures_that_say_nothing_of_a_gpu_are_kept_out_of_its_file(emulated, more, monkeypatch, capsys):
    lend(monkeypatch, emulated)
    before = gpu_step.RESULTS.read_bytes() if gpu_step.RESULTS.exists() else None
    assert gpu_step.main(["--json", str(gpu_step.RESULTS), *more]) == 2
    assert "gpu.json is for a GPU at full size" in capsys.readouterr().err
    assert before == (gpu_step.RESULTS.read_bytes() if gpu_step.RESULTS.exists() else None)


def test_times_are_of_the_steps_after_the_first(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 10.001, 20.0, 20.003, 30.0, 30.002])
    monkeypatch.setattr(gpu_step.time, "perf_counter", lambda: next(clock))
    found = gpu_step.milliseconds(lambda number: None, 3, 1)
    assert found["median_ms"] == pytest.approx(2.0)
