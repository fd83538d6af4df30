# SPDX-License-Identifier: BSD-3-Clause
"""`probewise models train rvae`."""

import importlib.util
import json

import numpy as np
import pytest

from probewise.app.cli import status
from probewise.errors import ConfigurationError
from probewise.inference import load_model

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="training needs torch (extra train)")


@pytest.fixture
def picture(tmp_path):
    rows, cols = np.mgrid[:90, :80]
    lattice = np.cos(2 * np.pi * rows / 9) * np.cos(2 * np.pi * cols / 9) + 0.1 * np.random.default_rng(0).random(
        (90, 80)
    )
    path = tmp_path / "My Lattice 7.npy"
    np.save(path, (100 * lattice + 200).astype(np.float32))
    return path


def command(picture, out, *options):
    return status(
        [
            "models",
            "train",
            "rvae",
            "--image",
            str(picture),
            "--out",
            str(out),
            "--window-px",
            "16",
            "--steps",
            "2",
            *options,
        ]
    )


@needs_torch
def test_a_picture_becomes_an_encoder_and_a_decoder(picture, tmp_path, capsys):
    out = tmp_path / "models"
    assert command(picture, out, "--content", "2", "--rotation", "small", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["encoder"] == str(out / "my-lattice-7-encoder.onnx")
    assert found["windows"] == 74 * 64
    encoder, decoder = load_model(found["encoder"]), load_model(found["decoder"])
    mean, _ = encoder.run(np.random.default_rng(0).random((5, 16, 16), dtype=np.float32))
    assert decoder.run(mean)[0].shape == (5, 16, 16)
    card = encoder.card
    assert (card.latent.rotation, card.latent.translation, card.latent.content) == ("small", True, 2)
    assert card.pixel_nm is None
    assert card.recipe["command"].startswith("probewise models train rvae --image 'My Lattice 7.npy' --window-px 16")
    assert str(tmp_path) not in card.to_json()
    # The same name is not written over.
    assert command(picture, out) == 2
    assert "is there already, expected a new name" in capsys.readouterr().err


@needs_torch
def test_what_was_trained_on_spectra_goes_straight_into_a_run(picture, tmp_path, capsys):
    assert command(picture, tmp_path / "models", "--input", "spectrum", "--window-px", "32", "--name", "spots") == 0
    capsys.readouterr()
    path = tmp_path / "models" / "spots-encoder.onnx"
    card = load_model(path).card
    assert (card.normalisation, card.input.patch_px, card.latent.symmetry) == ("spectrum", 15, 2)
    assert not card.latent.translation
    out = tmp_path / "run"
    models = f'descriptor.models=["{path}"]'
    code = status(
        ["run", "--replay", "--image", str(picture), "--workflow", "rvae", "--set", models, "--set",
         "sites.window_px=48", "--set", "start.sites=4", "--steps", "5", "--json", "--out", str(out)]
    )  # fmt: skip
    assert code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["models"][0]["sha256"] == card.sha256


@needs_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input", "spectrum", "--translation"), "--translation: got it with --input spectrum"),
        (
            ("--input", "spectrum", "--window-px", "18"),
            "--window-px: got 18 with --input spectrum, expected a multiple",
        ),
        (("--window-px", "75"), "--window-px: got 75 for a picture of 90 x 80 pixels, expected at most 71"),
        (("--window-px", "7"), "side_px is 7, expected 8 to 128"),
        (("--name", "Caps"), "--name: got 'Caps'"),
        (("--steps", "0"), "--steps: got 0, expected at least 1"),
        (("--image", "nowhere.npy"), "nowhere.npy"),
    ],
)
def test_wrong_options_are_refused_in_one_line(picture, tmp_path, capsys, options, message):
    assert command(picture, tmp_path / "models", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_without_torch_the_extra_is_named(picture, tmp_path, monkeypatch):
    from probewise.app import training

    find = importlib.util.find_spec
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(
        ConfigurationError, match=r"needs torch, which is not installed: pip install 'probewise\[train\]'"
    ):
        training.train_rvae(
            picture, tmp_path, name=None, window_px=16, spectrum=False, rotation="full", translation=True, content=2,
            steps=1, seed=0, as_json=False,
        )  # fmt: skip
