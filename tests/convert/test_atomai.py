# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")
pytest.importorskip("onnxscript", reason="the extra train is not installed")
pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

import torch

from probewise.app import cli
from probewise.convert import atomai, autoencoders, original, segmentors
from probewise.convert.checkpoint import read_checkpoint
from probewise.convert.export import in_torch, largest_difference
from probewise.errors import ConfigurationError, ModelError
from probewise.inference import Card, load_model

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and AtomAI themselves

UNET = {
    "model_type": "seg", "model": "Unet", "nb_classes": 3, "batch_norm": True, "dropout": False,
    "upsampling": "bilinear", "with_dilation": False, "nb_filters": 4, "layers": [1, 2, 2, 3],
}  # fmt: skip
RVAE = {
    "model_type": "vae", "in_dim": (12, 12), "latent_dim": 2, "coord": 3, "conv_encoder": False,
    "numlayers_encoder": 2, "numlayers_decoder": 2, "numhidden_encoder": 16, "numhidden_decoder": 16, "skip": False,
    "nb_classes": 0, "discrete_dim": None, "sigmoid_out": False, "softplus_out": None,
}  # fmt: skip
SEGMENTORS = {
    "Unet": {},
    "Unet, one class": {"nb_classes": 1},
    "Unet, nearest, no norm": {"upsampling": "nearest", "batch_norm": False},
    "Unet, dilated, dropout": {"with_dilation": True, "dropout": True},
    "dilnet": {"model": "dilnet", "layers": [1, 3, 3, 1], "dropout": True},
    "SegResNet": {"model": "SegResNet", "layers": [2, 2, 2], "dropout": None},
    "ResHedNet": {"model": "ResHedNet", "layers": [3, 4, 5]},
}
AUTOENCODERS = {
    "default": {},
    "rotation only": {"coord": 1},
    "convolutions, skip": {"conv_encoder": True, "skip": True},
    "sigmoid, softplus, deep": {"sigmoid_out": True, "softplus_out": True, "numlayers_decoder": 3, "latent_dim": 5},
}


def stirred(network):
    """Weights and statistics that differ from their initial values everywhere."""
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if name.endswith("running_var") else value.normal_(0, 0.3)
    return network


def with_optimiser(network):
    """Adam with a state, as AtomAI leaves it in its files."""
    optimiser = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    return optimiser


@pytest.fixture(scope="module")
def atomai_nets():
    """AtomAI's own networks; torchvision, which they do not use, may be missing or not load."""
    if importlib.util.find_spec("atomai") is None:
        pytest.skip("AtomAI is not installed (pip install atomai==0.8.1)")
    try:
        import torchvision  # noqa: F401
    except Exception:  # noqa: BLE001  it fails in many ways beside another build of torch
        names = {
            "torchvision": (),
            "torchvision.models": ("mobilenet_v2", "resnet50", "vgg16"),
            "torchvision.utils": ("make_grid",),
        }
        for name, contents in names.items():
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            for content in contents:
                setattr(module, content, None)
            sys.modules[name] = module
    return pytest.importorskip("atomai.nets", reason="AtomAI is installed but does not load")


@pytest.mark.parametrize("changes", SEGMENTORS.values(), ids=SEGMENTORS.keys())
def test_a_rebuilt_segmentor_equals_the_original(changes, atomai_nets):
    meta = {**UNET, **changes}
    options = {key: value for key, value in meta.items() if key not in ("model_type", "model", "nb_classes")}
    theirs, described = atomai_nets.init_fcnn_model(meta["model"], meta["nb_classes"], **options)
    weights = {name: value.numpy() for name, value in stirred(theirs).state_dict().items()}
    ours = segmentors.build(described)
    atomai._fill(ours, {"weights": weights}, "weights")
    with torch.no_grad():
        x = torch.rand(2, 1, 32, 48)
        expected = theirs.eval()(x)
        np.testing.assert_allclose(ours.eval()(x), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("changes", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_a_rebuilt_autoencoder_equals_the_original(changes, atomai_nets):
    meta = {**RVAE, **changes}
    encoder = stirred(autoencoders.Encoder(12, meta))
    decoder = stirred(autoencoders.Decoder(12, meta, 0.3))
    for entry, network in (("encoder", encoder), ("decoder", decoder)):
        meta[entry] = {name: value.numpy() for name, value in network.state_dict().items()}
    encode, decode = original.autoencoder(meta, decoder.prior)
    generator = np.random.default_rng(1)
    patches = generator.random((5, 12, 12), dtype=np.float32)
    z = generator.normal(size=(5, 3 + meta["latent_dim"])).astype(np.float32)
    assert largest_difference(in_torch(encoder), encode, [patches]) <= 1e-5
    assert largest_difference(in_torch(decoder), decode, [z]) <= 1e-5
    shift = encode(patches)[0][:, 1:3]
    assert np.any(shift) == (meta["coord"] == 3)


def test_a_segmentor_becomes_a_model_of_probabilities(tmp_path, capsys):
    meta = {**UNET, "layers": [1, 1, 1, 1]}  # the exporter's time goes with the number of layers
    network = stirred(segmentors.build(meta))
    checkpoint = {**meta, "weights": network.state_dict(), "optimizer": with_optimiser(network)}
    torch.save(checkpoint, tmp_path / "G_MD metadict.tar")
    assert (
        cli.status(["models", "import-atomai", str(tmp_path / "G_MD metadict.tar"), "--out", str(tmp_path / "m")]) == 0
    )
    path = tmp_path / "m" / "g-md-metadict.onnx"
    assert str(path) in capsys.readouterr().out
    model = load_model(path)
    card = model.card
    assert (card.kind, card.classes, card.background) == ("atoms", ("class-0", "class-1"), "last")
    assert (card.input.multiple_of, card.normalisation) == (8, "minmax")
    assert card.metrics["difference_from_torch"] <= 1e-5
    x = np.random.default_rng(2).random((1, 1, 40, 56), dtype=np.float32)
    with torch.no_grad():
        expected = torch.softmax(network.eval()(torch.from_numpy(x)), dim=1).numpy()
    np.testing.assert_allclose(model.run(x)[0], expected, atol=1e-5)
    assert b"/site-packages/" not in path.read_bytes()  # no trace of the machine it was made on
    with pytest.raises(ConfigurationError, match=r"g-md-metadict\.onnx exists"):
        atomai.import_atomai(tmp_path / "G_MD metadict.tar", tmp_path / "m")


def test_an_autoencoder_becomes_an_encoder_and_a_decoder(tmp_path):
    encoder, decoder = stirred(autoencoders.Encoder(12, RVAE)), stirred(autoencoders.Decoder(12, RVAE, 0.3))
    content = {
        **RVAE,
        "encoder": encoder.state_dict(),
        "decoder": decoder.state_dict(),
        "optimizer": with_optimiser(encoder),
    }
    torch.save(content, tmp_path / "rvae.tar")
    paths = atomai.import_atomai(tmp_path / "rvae.tar", tmp_path, translation_prior=0.3)
    assert [path.name for path in paths] == ["rvae-encoder.onnx", "rvae-decoder.onnx"]
    z_mean, _ = load_model(paths[0]).run(np.random.default_rng(3).random((7, 12, 12), dtype=np.float32))
    (pictures,) = load_model(paths[1]).run(z_mean)
    np.testing.assert_allclose(pictures, in_torch(decoder)(z_mean)[0], atol=1e-5)
    card = Card.load(paths[1].with_suffix(".json"))
    assert card.recipe["translation_prior"] == 0.3
    assert (card.latent.rotation, card.latent.translation, card.latent.content) == ("full", True, 2)


BAD = {
    "another type": ({**UNET, "model_type": "imspec"}, "model_type is 'imspec'"),
    "another network": ({**UNET, "model": "custom"}, "model is 'custom', expected one of Unet"),
    "wrong width": ({**UNET, "nb_filters": 8}, "weights does not fit the network"),
    "huge width": ({**UNET, "nb_filters": 1 << 20}, "nb_filters is 1048576"),
    "too few layers": ({**UNET, "layers": [1, 2]}, r"layers is \[1, 2\]"),
    "an ensemble": ({**UNET, "weights": {0: {}}}, "weights holds no table of tensors"),
    "conditional": ({**RVAE, "nb_classes": 3}, "nb_classes is 3, expected none"),
    "no rotation": ({**RVAE, "coord": 0}, "coord is 0"),
    "channels": ({**RVAE, "in_dim": (12, 12, 3)}, r"in_dim is \(12, 12, 3\)"),
    "not square": ({**RVAE, "in_dim": (12, 14)}, r"in_dim is \(12, 14\)"),
    "no weights": (RVAE, "encoder holds no table of tensors"),
}


@pytest.mark.parametrize(("meta", "says"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_converted_is_refused_by_name(meta, says, tmp_path):
    content = {"weights": segmentors.build(UNET).state_dict(), **meta}
    torch.save(content, tmp_path / "a.tar")
    with pytest.raises(ModelError, match=says) as refusal:
        atomai.import_atomai(tmp_path / "a.tar", tmp_path / "out")
    assert str(refusal.value).startswith(f"{tmp_path / 'a.tar'}: ")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    weights = segmentors.build(UNET).state_dict()
    weights["px.bias"].fill_(float("nan"))
    torch.save({**UNET, "weights": weights}, tmp_path / "a.tar")
    with pytest.raises(ModelError, match="weights holds non-finite numbers"):
        atomai.import_atomai(tmp_path / "a.tar", tmp_path)


def test_a_command_in_the_checkpoint_does_not_run(tmp_path, monkeypatch):
    class Attack:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'hurt'}",)

    torch.save({**UNET, "weights": {}, "optimizer": Attack()}, tmp_path / "a.tar")
    with pytest.raises(ModelError, match="weights holds no table"):
        atomai.import_atomai(tmp_path / "a.tar", tmp_path)
    assert not (tmp_path / "hurt").exists()
    torch.load(tmp_path / "a.tar", weights_only=False)
    assert (tmp_path / "hurt").exists()  # so that it was an attack


def test_what_torch_wrote_is_read_as_torch_reads_it(tmp_path):
    tensors = {
        "whole": torch.arange(12.0).reshape(3, 4),
        "view": torch.arange(12.0).reshape(3, 4).T[1:],
        "half": torch.ones(3, dtype=torch.float16),
        "count": torch.tensor(7),
        "truth": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    torch.save({"weights": tensors}, tmp_path / "a.tar")
    found = read_checkpoint(tmp_path / "a.tar")["weights"]
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value.detach().numpy())


def test_without_torch_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("probewise.convert")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("probewise.convert", raising=False)
    assert cli.status(["models", "import-atomai", str(tmp_path / "a.tar"), "--out", str(tmp_path)]) == 2
    assert "torch is missing, expected the extra train; type: pip install" in capsys.readouterr().err
