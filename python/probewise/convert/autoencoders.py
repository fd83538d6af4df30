# SPDX-License-Identifier: BSD-3-Clause
"""The rotationally invariant autoencoder of AtomAI 0.8.1, rebuilt so that its weights can be loaded.

The spatial decoder is that of Bepler et al., arXiv:1909.11663. The attributes are called as in AtomAI's state
dictionaries. Both networks here speak of all three variables of the pose, also where the model knows the angle only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from probewise.convert.segmentors import Block
from probewise.errors import ModelError
from probewise.inference.card import POSE

_CONVOLUTION_SLOPE = 0.1


class Encoder(nn.Module):
    """(N, h, w) -> mean and log of the deviation, (N, 3 + k) each: angle, shift y, shift x, content."""

    def __init__(self, side: int, meta: Mapping[str, Any]) -> None:
        super().__init__()
        count, width = meta["numlayers_encoder"], meta["numhidden_encoder"]
        self.pose = meta["coord"]
        self.convolves = bool(meta["conv_encoder"])
        if self.convolves:
            self.conv = Block(count, 1, width, batch_norm=False, slope=_CONVOLUTION_SLOPE)
        else:
            self.dense = _dense(count, side * side, width)
        variables = self.pose + meta["latent_dim"]
        inner = width * side * side if self.convolves else width
        self.fc11 = nn.Linear(inner, variables)
        self.fc12 = nn.Linear(inner, variables)
        self.last = nn.Softplus() if meta.get("softplus_out") else nn.Identity()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.conv(x.unsqueeze(1)).flatten(1) if self.convolves else self.dense(x.flatten(1))
        return self._filled(self.fc11(x)), self._filled(self.last(self.fc12(x)))

    def _filled(self, z: torch.Tensor) -> torch.Tensor:
        """Zeros for the shifts where the model has none."""
        if self.pose == POSE:
            return z
        return torch.cat([z[:, :1], torch.zeros_like(z[:, :1]).expand(-1, 2), z[:, 1:]], dim=1)


class CoordinatesAndContent(nn.Module):
    def __init__(self, content: int, width: int) -> None:
        super().__init__()
        self.fc_coord = nn.Linear(2, width)
        self.fc_latent = nn.Linear(content, width, bias=False)

    def forward(self, grid: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
        return self.fc_coord(grid) + self.fc_latent(content).unsqueeze(1)


class Decoder(nn.Module):
    """(N, 3 + k) -> (N, h, w); shifts are multiplied by `translation_prior` as they were in training."""

    def __init__(self, side: int, meta: Mapping[str, Any], translation_prior: float) -> None:
        super().__init__()
        count, width = meta["numlayers_decoder"], meta["numhidden_decoder"]
        self.side = side
        self.prior = translation_prior if meta["coord"] == POSE else 0.0
        self.skip = bool(meta["skip"])
        self.sigmoid = bool(meta["sigmoid_out"])
        self.coord_latent = CoordinatesAndContent(meta["latent_dim"], width)
        self.fc_decoder = _dense(count, width, width)
        self.out = nn.Linear(width, 1)
        down, right = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(1, -1, side), indexing="ij")
        self.register_buffer("grid", torch.stack([down.flatten(), right.flatten()], dim=1), persistent=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        cosine, sine = torch.cos(z[:, 0]), torch.sin(z[:, 0])
        turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
        grid = self.grid @ turn + self.prior * z[:, 1:POSE].unsqueeze(1)
        first = hidden = self.coord_latent(grid, z[:, POSE:])
        if self.skip:
            for index in range(0, len(self.fc_decoder), 2):
                hidden = self.fc_decoder[index + 1](self.fc_decoder[index](hidden)) + first
        else:
            hidden = self.fc_decoder(torch.tanh(hidden))
        x = self.out(hidden).reshape(-1, self.side, self.side)
        return torch.sigmoid(x) if self.sigmoid else x


def _dense(count: int, before: int, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index in range(count):
        parts += [nn.Linear(width if index else before, width), nn.Tanh()]
    return nn.Sequential(*parts)


def check(meta: Mapping[str, Any]) -> int:
    """Side of the patches; ModelError where the metadata is not that of a plain rVAE."""
    shape = meta.get("in_dim")
    if not isinstance(shape, (tuple, list)) or len(shape) != 2 or shape[0] != shape[1] or type(shape[0]) is not int:
        raise ModelError(f"in_dim is {shape!r}, expected (h, h), square patches of one channel")
    if not 4 <= shape[0] <= 512:
        raise ModelError(f"in_dim is {shape!r}, expected 4 to 512")
    if meta.get("coord") not in (1, POSE):
        raise ModelError(f"coord is {meta.get('coord')!r}, expected 1 or {POSE} (an rVAE)")
    for name in ("nb_classes", "discrete_dim"):
        if meta.get(name):
            raise ModelError(f"{name} is {meta[name]!r}, expected none: it is conditional or has discrete variables")
    for name, high in {
        "latent_dim": 64, "numlayers_encoder": 16, "numlayers_decoder": 16,
        "numhidden_encoder": 4096, "numhidden_decoder": 4096,
    }.items():  # fmt: skip
        if type(meta.get(name)) is not int or not 1 <= meta[name] <= high:
            raise ModelError(f"{name} is {meta.get(name)!r}, expected a whole number from 1 to {high}")
    for name in ("conv_encoder", "skip", "sigmoid_out"):
        if type(meta.get(name)) is not bool:
            raise ModelError(f"{name} is {meta.get(name)!r}, expected True or False")
    return shape[0]
