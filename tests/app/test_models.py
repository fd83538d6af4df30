# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json

import pytest

pytest.importorskip("onnx", reason="the extra test is not installed: onnx writes the small models")
pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

import tiny_models as tiny
from probewise import models
from probewise.app import cli


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A package with one model."""
    card = tiny.segmenter_card(metrics={"f1": 0.98765, "table": {"snr 8": 0.99}})
    path = tiny.write(tmp_path, tiny.as_model(tiny.segmenter_graph()), card)
    monkeypatch.setattr(models, "_HERE", tmp_path)
    return path


def test_the_list_says_what_each_model_is(shipped, capsys):
    assert cli.status(["models", "list"]) == 0
    out = capsys.readouterr().out
    for word in ("tiny", "segments", "grain", "0.01-0.05", "f1 0.9877"):
        assert word in out
    assert cli.status(["models", "list", "--json"]) == 0
    (card,) = json.loads(capsys.readouterr().out)
    assert card == json.loads(shipped.with_suffix(".json").read_text())
    assert card["sha256"][:12] in out


def test_an_empty_list_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "_HERE", tmp_path)
    assert cli.status(["models", "list"]) == 0
    assert capsys.readouterr().out == "no models are shipped with this version\n"


@pytest.mark.parametrize("by_path", [True, False])
def test_a_model_is_shown_after_it_ran_once(by_path, shipped, capsys):
    model = str(shipped) if by_path else "tiny"
    assert cli.status(["models", "show", model]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["outputs[0].activation"] == "softmax"
    assert lines["pixel_nm.native"] == "0.02"
    assert lines["provider"] == "CPUExecutionProvider"
    assert cli.status(["models", "show", model, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"] == 18
    assert shown["operators"] == {"Conv": 1, "Identity": 1, "Softmax": 1}
    assert shown["name"] == "tiny"


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("nothing", 2, "model is 'nothing', expected a shipped one (tiny)"),
        ("absent.onnx", 2, "absent.onnx: no such file"),
    ],
)
def test_a_model_that_is_not_there_is_a_usage_error(model, code, says, shipped, capsys):
    assert cli.status(["models", "show", model]) == code
    assert says in capsys.readouterr().err
