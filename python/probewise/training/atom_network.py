# SPDX-License-Identifier: BSD-3-Clause
"""The network that finds atoms, and the way back from its ONNX file to torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probewise.errors import ModelError
from probewise.inference import Card, load_model
from probewise.inference.model import locate, read_model

MULTIPLE_OF = 8
AGREEMENT = 1e-4  # of probabilities: ONNX Runtime and torch sum in different orders
_PREFIX = "network."  # of `Exported`


def _block(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class AtomNet(nn.Module):
    """16, 32 and 64 channels from half the frame's resolution on, added (not concatenated) on the way up.

    Frames (N, 1, H, W) in, logits of the site (stride 1) and the class (stride 2) out. Widths are multiples of the 16
    lanes of a 512-bit register. Receptive field: 155 pixels, 3.1 nm at the native pixel.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        # 3 x 3 on the 2 x 2 pixel-unshuffled frame is 6 x 6 at stride 2
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 6, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(_block(16, 32, stride=2), _block(32, 32))
        self.deep = nn.Sequential(
            _block(32, 64, stride=2), _block(64, 64), _block(64, 64, dilation=2), _block(64, 64, dilation=4)
        )
        self.lift_deep, self.merge_middle = nn.Conv2d(64, 32, 1), _block(32, 32)
        self.lift_middle, self.merge_stem = nn.Conv2d(32, 16, 1), _block(16, 16)
        self.site = nn.Sequential(nn.Conv2d(16, 4, 1), nn.PixelShuffle(2))
        self.kind = nn.Conv2d(16, classes, 1)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(frame)
        middle = self.middle(fine)
        deep = self.lift_deep(self.deep(middle))
        middle = self.merge_middle(middle + functional.interpolate(deep, scale_factor=2.0))
        fine = self.merge_stem(fine + functional.interpolate(self.lift_middle(middle), scale_factor=2.0))
        return self.site(fine), self.kind(fine)


class Exported(nn.Module):
    """The network as it is shipped: probabilities of the site and of the class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        site, kind = self.network(frame)
        return torch.sigmoid(site), torch.softmax(kind, dim=1)


def without_normalisation(network: AtomNet) -> AtomNet:
    """The same network with a bias in place of each batch normalisation, as it is after folding; untrained."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            convolution = module[0]
            convolution.bias = nn.Parameter(torch.zeros(convolution.out_channels))
            module[1] = nn.Identity()
    return network


def from_onnx(model: str | Path) -> tuple[AtomNet, Card]:
    """The network of a shipped model, or of NAME.onnx with its card, its weights read from the file.

    raises  ModelError when the file is refused, or is not an `AtomNet`
    """
    import onnx
    from onnx import numpy_helper

    path = locate(model)
    card, content, _ = read_model(path)
    held = {one.name: one for one in onnx.load_model_from_string(content).graph.initializer}
    network = without_normalisation(AtomNet(len(card.classes)))
    weights = {}
    for name, value in network.state_dict().items():
        given = held.get(_PREFIX + name)
        shape = None if given is None else tuple(given.dims)
        if given is None or shape != tuple(value.shape):
            raise ModelError(
                f"{path}: {_PREFIX + name} is {shape or 'missing'}, expected {tuple(value.shape)}: only the atom "
                f"finders of this project can be trained on"
            )
        weights[name] = torch.from_numpy(numpy_helper.to_array(given).copy())
    network.load_state_dict(weights)
    _compare(network.eval(), path)
    return network, card


def _compare(network: AtomNet, path: Path) -> None:
    """Equal weights in another graph are another network."""
    frame = np.random.default_rng(0).random((1, 1, 64, 72), dtype=np.float32)
    with torch.inference_mode():
        expected = Exported(network)(torch.from_numpy(frame))
    apart = [float(np.abs(got - want.numpy()).max())
             for got, want in zip(load_model(path).run(frame), expected, strict=True)]  # fmt: skip
    if not max(apart) <= AGREEMENT:
        raise ModelError(f"{path}: differs from its weights in torch by {max(apart):.2g}, expected at most {AGREEMENT}")
