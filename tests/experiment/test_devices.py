# SPDX-License-Identifier: BSD-3-Clause
"""What a run does with `run.device`: refused, taken, lost in mid-run."""

from pathlib import Path

import numpy as np
import pytest

from fake_cuda import FakeCuda
from probewise.app import plan
from probewise.device import choice
from probewise.errors import ConfigurationError
from probewise.experiment import devices, open_run
from probewise.experiment.loading import load
from probewise.inference import runtime
from probewise.surrogate import gaussian_process
from tiny_experiment import fake, tiny


def lend(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda | None) -> None:
    monkeypatch.setattr(choice, "cuda_module", lambda: cuda)
    monkeypatch.setattr(gaussian_process, "cuda_module", lambda: cuda)


def test_a_device_that_is_not_there_is_refused_before_the_beam_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend(monkeypatch, None)
    instrument = fake()
    with pytest.raises(ConfigurationError, match=r"run\.device is 'cuda', but this installation has no CUDA code"):
        tiny(tmp_path / "r", instrument, run={"device": "cuda"}).run()
    assert instrument.closed
    assert not (tmp_path / "r" / "run.sqlite").exists()


def test_a_policy_that_draws_is_refused_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lend(monkeypatch, FakeCuda())
    with pytest.raises(ConfigurationError, match=r"acquisition\.policy is 'thompson' with run\.device 'cuda'"):
        tiny(tmp_path / "r", run={"device": "cuda"}, acquisition={"policy": "thompson"}).run()


def test_a_run_whose_device_is_lost_goes_on_with_the_same_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = tiny(tmp_path / "cpu").run()
    lend(monkeypatch, cuda := FakeCuda())
    whole = tiny(tmp_path / "whole", run={"device": "cuda"}).run()
    assert (cpu["device"], whole["device"], whole["notices"]) == ("cpu", "cuda", cpu["notices"])
    lend(monkeypatch, FakeCuda(cuda.calls // 2))
    lost = tiny(tmp_path / "lost", run={"device": "cuda"}).run()
    assert lost["device"] == "cpu"
    moved = [text for text in lost["notices"] if "the surrogate moved to the CPU after an error on the device" in text]
    assert len(moved) == 1
    assert [text for text in lost["notices"] if text not in moved] == cpu["notices"]
    lend(monkeypatch, None)  # a finished run is read on any machine
    with open_run(tmp_path / "cpu") as first, open_run(tmp_path / "lost") as second:
        np.testing.assert_array_equal(second.visited, first.visited)
        np.testing.assert_allclose(second.mean, first.mean, rtol=1e-12)


def test_the_journal_tells_in_which_step_the_device_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lend(monkeypatch, FakeCuda(12))
    tiny(tmp_path / "r", run={"device": "cuda"}).run()
    with open_run(tmp_path / "r") as run:
        assert any("moved to the CPU" in text for text in run.notices)


@pytest.mark.parametrize(
    ("device", "providers", "expected"),
    [
        ("auto", (runtime.CPU,), "cpu"),
        ("auto", (runtime.CUDA, runtime.CPU), "auto"),
        ("cpu", (runtime.CUDA,), "cpu"),
        ("cuda:1", (runtime.CPU,), "cuda:1"),
    ],
)
def test_what_networks_are_opened_for(
    device: str, providers: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "providers", lambda: providers)
    assert devices.network_device(load(sets=[f"run.device={device}"])) == expected


def test_a_dry_run_says_what_is_taken_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    lend(monkeypatch, None)
    monkeypatch.setattr(runtime, "providers", lambda: (runtime.CPU,))
    text = "\n".join(plan.as_text(plan.prediction(load())))
    assert "device     cpu, as run.device is 'auto' and no onnxruntime that knows CUDA is installed" in text
    with pytest.raises(ConfigurationError, match=r"run\.device is 'cuda'"):
        plan.prediction(load(sets=["run.device=cuda"]))
    lend(monkeypatch, FakeCuda())
    assert "device     cuda:0, asked for: stand-in 0" in "\n".join(
        plan.as_text(plan.prediction(load(sets=["run.device=cuda"])))
    )
    monkeypatch.setattr(runtime, "providers", lambda: (runtime.CUDA, runtime.CPU))
    assert "networks on CUDA" in devices.taken(load())
