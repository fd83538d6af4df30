# SPDX-License-Identifier: BSD-3-Clause
"""AtomAI's own networks with the weights of a checkpoint, where AtomAI is installed: what ours are compared with.

Only its networks are asked, never its loader, which would run what the file names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from probewise.convert.export import Run, in_torch
from probewise.inference.card import POSE
from probewise.types import Float32Array


def segmentor(meta: Mapping[str, Any]) -> Run | None:
    """Probabilities of the original, None where AtomAI is not installed."""
    nets = _module("atomai.nets")
    if nets is None:
        return None
    options = {
        key: meta[key]
        for key in ("batch_norm", "dropout", "upsampling", "with_dilation", "nb_filters", "layers")
        if key in meta
    }
    network, _ = nets.init_fcnn_model(meta["model"], meta["nb_classes"], **options)
    _load(network, meta["weights"])
    last = torch.nn.Sigmoid() if meta["nb_classes"] == 1 else torch.nn.Softmax(dim=1)
    return in_torch(torch.nn.Sequential(network, last))


def autoencoder(meta: Mapping[str, Any], translation_prior: float) -> tuple[Run | None, Run | None]:
    """Encoder and decoder of the original, with zeros for the shifts where it has none."""
    nets, coords = _module("atomai.nets"), _module("atomai.utils.coords")
    if nets is None or coords is None:
        return None, None
    names = (
        "conv_encoder",
        "numlayers_encoder",
        "numlayers_decoder",
        "numhidden_encoder",
        "numhidden_decoder",
        "skip",
        "softplus_out",
    )
    options = {key: meta[key] for key in names if key in meta}
    encoder, decoder, _ = nets.init_VAE_nets(tuple(meta["in_dim"]), meta["latent_dim"], meta["coord"], **options)
    _load(encoder, meta["encoder"])
    _load(decoder, meta["decoder"])
    grid = coords.imcoordgrid(tuple(meta["in_dim"]))

    def encode(x: Float32Array) -> tuple[Float32Array, ...]:
        with torch.no_grad():
            parts = encoder.eval()(torch.from_numpy(x))
        if meta["coord"] != POSE:
            parts = [torch.cat([part[:, :1], torch.zeros(len(part), 2), part[:, 1:]], dim=1) for part in parts]
        return tuple(part.numpy() for part in parts)

    def decode(z: Float32Array) -> tuple[Float32Array, ...]:
        pose, content = torch.from_numpy(z[:, :POSE]), torch.from_numpy(z[:, POSE:])
        shift = (pose[:, 1:] * translation_prior).unsqueeze(1)
        with torch.no_grad():
            moved = coords.transform_coordinates(grid.expand(len(z), *grid.shape), pose[:, 0], shift)
            picture = decoder.eval()(moved, content)
        return ((torch.sigmoid(picture) if meta["sigmoid_out"] else picture).numpy(),)

    return encode, decode


def _load(network: torch.nn.Module, weights: Mapping[str, Any]) -> None:
    network.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001  its dependencies fail in many ways; without it there is no comparison
        return None
