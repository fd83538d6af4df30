# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from probewise import _core, models
from probewise.app import ask, cli, doctor
from probewise.app.progress import Progress, line
from probewise.errors import ConfigurationError
from probewise.inference import runtime


def answers(*given):
    left = list(given)

    def read():
        if not left:
            raise EOFError
        return left.pop(0)

    return read


def test_a_component_is_asked_for_until_it_is_one(capsys):
    assert ask.choose(Path("c.png"), 3, read=answers("", "three", "3", "-1", " 2 ")) == 2
    out, err = capsys.readouterr()
    assert out == ""  # stdout is for results
    assert "c.png" in err
    assert err.count("expected a number from 0 to 2") == 4


def test_a_column_is_named_or_counted(capsys):
    names = ("C", "angle discord")
    assert ask.choose(Path("c.png"), 2, names, read=answers("gold", "angle discord")) == 1
    assert ask.choose(Path("c.png"), 2, names, read=answers("0")) == 0
    assert "got 'gold', expected a number from 0 to 1 or one of C, angle discord" in capsys.readouterr().err


def test_no_answer_is_refused_with_what_to_pass():
    with pytest.raises(
        ConfigurationError, match=r"got no answer, expected a number from 0 to 2 \(or --component INDEX\)"
    ):
        ask.choose(Path("c.png"), 3, read=answers("x"))


def test_nobody_is_asked_without_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    with pytest.raises(ConfigurationError, match="without a terminal to answer at, expected rare, max-variance"):
        ask.check_answerable()


def test_a_run_asks_once_with_a_picture_of_its_components(tmp_path, monkeypatch, capsys):
    from app.test_cli import small

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ask, "_input", lambda: "1")
    monkeypatch.setattr(ask, "check_answerable", lambda read=None: None)
    assert cli.status(["run", *small(), "--steps", "8", "--component", "ask", "--out", "r"]) == 0
    assert capsys.readouterr().err.count("component to follow") == 1
    assert Path("r/components.png").read_bytes().startswith(b"\x89PNG")
    assert "Components." in Path("r/report.html").read_text()


class Talker:
    """An experiment's events, spoken on demand."""

    def __init__(self):
        self.callbacks = {}

    def on(self, event, callback):
        self.callbacks.setdefault(event, []).append(callback)

    def say(self, event, value):
        for callback in self.callbacks[event]:
            callback(value)


def step(index, value=1.23456):
    return SimpleNamespace(
        index=index,
        site=7,
        value=value,
        policy="ucb",
        state=SimpleNamespace(name="MEASURED"),
        timings_ms={"decision": 4.2},
    )


def test_progress_is_one_plain_line_a_step_where_there_is_no_terminal():
    stream, talker = io.StringIO(), Talker()
    with Progress(3, stream) as progress:
        progress.listen(talker)
        talker.say("survey", None)
        talker.say("step", step(0))
        talker.say("notice", "a [bold] notice")
        talker.say("step", step(1, None))
    assert stream.getvalue().splitlines() == [
        "survey done",
        "step 1/3  site 7  measured  value 1.235  ucb  decision 4.2 ms",
        "notice: a [bold] notice",
        "step 2/3  site 7  measured  ucb  decision 4.2 ms",
    ]
    assert line(step(4), None).startswith("step 5  site 7")


def test_progress_is_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream, talker = Terminal(), Talker()
    with Progress(2, stream) as progress:
        progress.listen(talker)
        talker.say("step", step(0))
        talker.say("notice", "a [bold] notice")
        talker.say("step", step(1, None))
    assert "a [bold] notice" in stream.getvalue()
    assert "2/2" in stream.getvalue()


def test_doctor_finds_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEWISE_THREADS", "2")
    found = doctor.examine(tmp_path)
    assert found["cores"] >= 1
    assert found["simd"] in ("base", "avx2", "avx512")
    assert found["environment"]["PROBEWISE_THREADS"] == "2"
    assert set(found["instruments"]) >= {"simulated", "image"}
    assert all(found["packages"].values())
    assert found["disk"]["writable"]
    assert list(tmp_path.iterdir()) == []
    text = "\n".join(doctor.as_text(found))
    assert "simulated" in text
    assert "PROBEWISE_THREADS 2" in text
    assert found["threads"]["networks"] == 2
    assert found["threads"]["core"] == _core.threads()
    assert f"core {_core.threads()}, networks 2" in text
    assert set(found["threads"]["affinity"] or []) <= set(range(os.cpu_count() or 1))
    assert "networks 2 (sleep while waiting)" in text
    assert set(found["models"].values()) <= {"ok"}
    assert "CPUExecutionProvider" in text or found["onnxruntime"]["onnxruntime"] is None


def test_doctor_names_a_number_of_threads_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEWISE_THREADS", "many")
    found = doctor.examine(tmp_path)
    assert any("PROBEWISE_THREADS is 'many'" in text for text in found["problems"])
    assert doctor.as_text(found)


def test_doctor_names_a_model_that_is_not_what_its_card_says(tmp_path, monkeypatch):
    (tmp_path / "tiny.json").write_text("{}")
    (tmp_path / "tiny.onnx").write_bytes(b"")
    monkeypatch.setattr(models, "_HERE", tmp_path)
    found = doctor.examine(tmp_path)
    assert any(text.startswith("model tiny: ") and "schema is missing" in text for text in found["problems"])


def test_doctor_says_what_to_type_when_two_runtimes_conflict(tmp_path, monkeypatch):
    for module in (doctor, runtime):
        monkeypatch.setattr(module, "version", lambda package: None if package == "scipy" else "1.0")
    problems = doctor.examine(tmp_path)["problems"]
    assert any("overwrite each other; type: pip uninstall" in text for text in problems)
    assert any(text == "scipy is missing; type: pip install scipy" for text in problems)


def test_doctor_says_so_when_no_journal_can_be_kept(tmp_path):
    found = doctor.examine(tmp_path / "absent")
    assert not found["disk"]["writable"]
    assert any("cannot hold a journal" in text for text in found["problems"])
    assert any("not writable" in text for text in doctor.as_text(found))


def test_doctor_as_json(capsys):
    assert cli.status(["doctor", "--json"]) == 0
    assert "problems" in json.loads(capsys.readouterr().out)
