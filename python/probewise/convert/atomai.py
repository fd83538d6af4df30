# SPDX-License-Identifier: BSD-3-Clause
"""AtomAI checkpoints (Segmentor, rVAE) as ONNX models with cards."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probewise.convert import autoencoders, original, segmentors
from probewise.convert.checkpoint import read_checkpoint
from probewise.convert.export import OPSET, Run, export_model, in_torch, largest_difference
from probewise.errors import ModelError
from probewise.inference import Card, LatentLayout, ModelInput, ModelOutput
from probewise.inference.card import POSE

_PROVISIONAL: dict[str, Any] = {
    "sha256": "0" * 64,
    "size_bytes": 1,
    "opset": OPSET,
    "pixel_nm": None,
    "ood": None,
    "metrics": {},
}
_LICENCE = "that of the checkpoint"


def import_atomai(file: Path, folder: Path, *, translation_prior: float = 0.1) -> list[Path]:
    """Convert a checkpoint that AtomAI 0.8 saved ("..._metadict...tar"); the .onnx files written.

    A Segmentor gives one model, an rVAE NAME-encoder and NAME-decoder. `translation_prior` is what the rVAE was trained
    with: AtomAI does not save it, and only the decoder's shifts depend on it.

    raises  ConfigurationError when the file is missing or a model is there already, ModelError for anything else
    """
    meta = read_checkpoint(file)
    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:56] or "atomai"
    recipe = {
        "command": "probewise models import-atomai",
        "source": file.name,
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    try:
        kind = meta.get("model_type")
        if kind == "seg":
            return [_segmentor(meta, name, recipe, folder)]
        if kind == "vae":
            return _autoencoder(meta, name, {**recipe, "translation_prior": translation_prior}, folder)
        raise ModelError(f"model_type is {kind!r}, expected seg (Segmentor) or vae (rVAE)")
    except ModelError as problem:
        raise ModelError(f"{file}: {problem}") from problem


def _segmentor(meta: Mapping[str, Any], name: str, recipe: Mapping[str, Any], folder: Path) -> Path:
    network = segmentors.build(meta)
    _fill(network, meta, "weights")
    count = meta["nb_classes"]
    multiple = type(network).MULTIPLE
    card = Card(
        name=name,
        kind="atoms",
        input=ModelInput("image", "N1HW", multiple, None),
        outputs=(ModelOutput("probability", "sigmoid" if count == 1 else "softmax", 1),),
        classes=("atom",) if count == 1 else tuple(f"class-{index}" for index in range(count - 1)),
        background="absent" if count == 1 else "last",
        normalisation="minmax",
        latent=None,
        licence=_LICENCE,
        recipe={**recipe, "network": meta["model"]},
        **_PROVISIONAL,
    )
    module = segmentors.Probabilities(network, count)
    return _written(module, original.segmentor(meta), card, [(2, 1, 64, 96), (1, 1, 128, 64 + multiple)], folder)


def _autoencoder(meta: Mapping[str, Any], name: str, recipe: Mapping[str, Any], folder: Path) -> list[Path]:
    side = autoencoders.check(meta)
    encoder = autoencoders.Encoder(side, meta)
    decoder = autoencoders.Decoder(side, meta, recipe["translation_prior"])
    _fill(encoder, meta, "encoder")
    _fill(decoder, meta, "decoder")
    originals = original.autoencoder(meta, decoder.prior)
    content = meta["latent_dim"]
    shared: dict[str, Any] = {
        "classes": (),
        "background": "absent",
        "normalisation": "none",
        "latent": LatentLayout("full", meta["coord"] == POSE, content, None),
        "licence": _LICENCE,
        "recipe": {**recipe, "network": "rVAE"},
        **_PROVISIONAL,
    }
    means = Card(
        name=f"{name}-encoder",
        kind="encoder",
        input=ModelInput("patches", "NHW", 1, side),
        outputs=(ModelOutput("z_mean", "none", 1), ModelOutput("z_logsd", "none", 1)),
        **shared,
    )
    pictures = Card(
        name=f"{name}-decoder",
        kind="decoder",
        input=ModelInput("z", "NF", 1, side),
        outputs=(ModelOutput("patches", "none", 1),),
        **shared,
    )
    return [
        _written(encoder, originals[0], means, [(3, side, side), (1, side, side)], folder),
        _written(decoder, originals[1], pictures, [(3, POSE + content), (1, POSE + content)], folder),
    ]


def _fill(network: torch.nn.Module, meta: Mapping[str, Any], entry: str) -> None:
    """Load the weights under `entry`; ModelError where one is missing, left over or of another shape."""
    weights = meta.get(entry)
    arrays = isinstance(weights, dict) and all(isinstance(array, np.ndarray) for array in weights.values())
    if not arrays or not weights:
        raise ModelError(f"{entry} holds no table of tensors (an ensemble?), expected the weights of one network")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ModelError(f"{entry} holds non-finite numbers")
    try:
        network.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    except RuntimeError as problem:
        raise ModelError(f"{entry} does not fit the network: {' '.join(str(problem).split())[:200]}") from problem


def _written(
    module: torch.nn.Module, reference: Run | None, card: Card, shapes: Sequence[tuple[int, ...]], folder: Path
) -> Path:
    inputs = [np.random.default_rng(0).random(shape, dtype=np.float32) for shape in shapes]
    if reference is not None:
        difference = largest_difference(in_torch(module), reference, inputs)
        card = dataclasses.replace(card, metrics={"difference_from_atomai": difference})
    return export_model(module, card, inputs, folder)
