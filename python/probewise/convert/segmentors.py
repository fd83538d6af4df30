# SPDX-License-Identifier: BSD-3-Clause
"""The fully convolutional networks of AtomAI 0.8.1, rebuilt so that their weights can be loaded.

The attributes are called as in its state dictionaries; the layouts are those of Ziatdinov et al., Nat. Mach. Intell. 4
(2022) 1101, and of the state dictionaries themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probewise.errors import ModelError

SLOPE = 0.01  # of the leaky rectifiers


def layers(
    count: int,
    before: int,
    after: int,
    *,
    batch_norm: bool,
    dropout: bool = False,
    slope: float = SLOPE,
    dilated: bool = False,
) -> list[nn.Module]:
    """`count` convolutions of 3 x 3, each with its rectifier, then its normalisation."""
    found: list[nn.Module] = []
    for index in range(count):
        reach = 2 * (index + 1) if dilated else 1
        found.append(nn.Conv2d(after if index else before, after, 3, padding=reach, dilation=reach))
        if dropout:
            found.append(nn.Identity())  # it has no part in inference but counts in the numbering
        found.append(nn.LeakyReLU(slope))
        if batch_norm:
            found.append(nn.BatchNorm2d(after))
    return found


class Block(nn.Module):
    def __init__(self, count: int, before: int, after: int, **options: Any) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers(count, before, after, **options))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class Cascade(nn.Module):
    """Dilated convolutions; the result is the sum after every single layer, rectifiers and normalisations included."""

    def __init__(self, count: int, before: int, after: int, **options: Any) -> None:
        super().__init__()
        self.atrous_module = nn.Sequential(*layers(count, before, after, dilated=True, **options))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: Any = 0
        for layer in self.atrous_module:
            x = layer(x)
            total = total + x
        return total


class Residual(nn.Module):
    def __init__(self, before: int, after: int, batch_norm: bool) -> None:
        super().__init__()
        self.c0 = nn.Conv2d(before, after, 1)
        self.c1 = nn.Conv2d(after, after, 3, padding=1)
        self.c2 = nn.Conv2d(after, after, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(after) if batch_norm else nn.Identity()
        self.bn2 = nn.BatchNorm2d(after) if batch_norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.c0(x)
        x = functional.leaky_relu(self.bn1(self.c1(kept)), SLOPE)
        return functional.leaky_relu(self.bn2(self.c2(x)) + kept, SLOPE)


class Residuals(nn.Module):
    def __init__(self, count: int, before: int, after: int, batch_norm: bool) -> None:
        super().__init__()
        self.res_module = nn.Sequential(
            *(Residual(after if index else before, after, batch_norm) for index in range(count))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_module(x)


class Grow(nn.Module):
    """Twice the size, then a 1 x 1 convolution."""

    def __init__(self, before: int, after: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2, mode=self.mode))


def halved(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, 2)


def joined(*parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, dim=1)


class UNet(nn.Module):
    MULTIPLE = 8

    def __init__(self, classes: int, n: int, counts: Sequence[int], mode: str, options: Mapping[str, bool]) -> None:
        super().__init__()
        norm, drop = options["batch_norm"], options["dropout"]
        first, second, third, last = counts
        self.c1 = Block(first, 1, n, batch_norm=norm)
        self.c2 = Block(second, n, 2 * n, batch_norm=norm)
        self.c3 = Block(third, 2 * n, 4 * n, batch_norm=norm, dropout=drop)
        deepest = Cascade if options["with_dilation"] else Block
        self.bn = deepest(last, 4 * n, 8 * n, batch_norm=norm, dropout=drop)
        self.upsample_block1 = Grow(8 * n, 4 * n, mode)
        self.c4 = Block(third, 8 * n, 4 * n, batch_norm=norm, dropout=drop)
        self.upsample_block2 = Grow(4 * n, 2 * n, mode)
        self.c5 = Block(second, 4 * n, 2 * n, batch_norm=norm)
        self.upsample_block3 = Grow(2 * n, n, mode)
        self.c6 = Block(first, 2 * n, n, batch_norm=norm)
        self.px = nn.Conv2d(n, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.c1(x)
        two = self.c2(halved(one))
        three = self.c3(halved(two))
        x = self.upsample_block1(self.bn(halved(three)))
        x = self.upsample_block2(self.c4(joined(three, x)))
        x = self.upsample_block3(self.c5(joined(two, x)))
        return self.px(self.c6(joined(one, x)))


class DilNet(nn.Module):
    MULTIPLE = 2

    def __init__(self, classes: int, n: int, counts: Sequence[int], mode: str, options: Mapping[str, bool]) -> None:
        super().__init__()
        norm, drop = options["batch_norm"], options["dropout"]
        self.c1 = Block(counts[0], 1, n, batch_norm=norm)
        self.at1 = Cascade(counts[1], n, 2 * n, batch_norm=norm, dropout=drop)
        self.at2 = Cascade(counts[2], 2 * n, 2 * n, batch_norm=norm, dropout=drop)
        self.up1 = Grow(2 * n, n, mode)
        self.c2 = Block(counts[3], 2 * n, n, batch_norm=norm)
        self.px = nn.Conv2d(n, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.c1(x)
        return self.px(self.c2(joined(one, self.up1(self.at2(self.at1(halved(one)))))))


class SegResNet(nn.Module):
    MULTIPLE = 4

    def __init__(self, classes: int, n: int, counts: Sequence[int], mode: str, options: Mapping[str, bool]) -> None:
        super().__init__()
        norm = options["batch_norm"]
        self.c1 = Block(1, 1, n, batch_norm=norm)
        self.c2 = Residuals(counts[0], n, 2 * n, norm)
        self.bn = Residuals(counts[1], 2 * n, 4 * n, norm)
        self.upsample_block1 = Grow(4 * n, 2 * n, mode)
        self.c3 = Residuals(counts[2], 4 * n, 2 * n, norm)
        self.upsample_block2 = Grow(2 * n, n, mode)
        self.c4 = Block(1, 2 * n, n, batch_norm=norm)
        self.px = nn.Conv2d(n, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.c1(x)
        two = self.c2(halved(one))
        x = self.upsample_block1(self.bn(halved(two)))
        x = self.upsample_block2(self.c3(joined(two, x)))
        return self.px(self.c4(joined(one, x)))


class ResHedNet(nn.Module):
    MULTIPLE = 4

    def __init__(self, classes: int, n: int, counts: Sequence[int], mode: str, options: Mapping[str, bool]) -> None:
        super().__init__()
        self.mode = mode
        self.net1 = Residuals(counts[0], 1, n, True)
        self.net2 = nn.Sequential(nn.MaxPool2d(2), Residuals(counts[1], n, 2 * n, True))
        self.net3 = nn.Sequential(nn.MaxPool2d(2), Residuals(counts[2], 2 * n, 4 * n, True))
        self.net1score = nn.Sequential(nn.Conv2d(n, classes, 1), nn.BatchNorm2d(classes))
        self.net2score = nn.Sequential(nn.Conv2d(2 * n, classes, 1), nn.BatchNorm2d(classes))
        self.net3score = nn.Sequential(nn.Conv2d(4 * n, classes, 1), nn.BatchNorm2d(classes))
        self.out = nn.Conv2d(3 * classes, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.net1(x)
        two = self.net2(one)
        three = self.net3(two)
        grown = [
            functional.interpolate(score, scale_factor=factor, mode=self.mode)
            for score, factor in ((self.net2score(two), 2), (self.net3score(three), 4))
        ]
        return self.out(joined(self.net1score(one), *grown))


NETWORKS: Mapping[str, tuple[Any, int]] = {  # with the number of layer counts each takes
    "Unet": (UNet, 4), "dilnet": (DilNet, 4), "SegResNet": (SegResNet, 3), "ResHedNet": (ResHedNet, 3),
}  # fmt: skip


class Probabilities(nn.Module):
    """A network with its last step: sigmoid for one class, softmax for several (the last is the background)."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.network(x)
        return torch.sigmoid(x) if self.classes == 1 else torch.softmax(x, dim=1)


def build(meta: Mapping[str, Any]) -> nn.Module:
    """The network that a Segmentor's metadata describes, without weights; ModelError names the entry."""

    def whole(name: str, value: Any, high: int) -> int:
        if type(value) is not int or not 1 <= value <= high:
            raise ModelError(f"{name} is {value!r}, expected a whole number from 1 to {high}")
        return value

    name = str(meta.get("model"))
    if name not in NETWORKS:
        raise ModelError(f"model is {name!r}, expected one of {', '.join(NETWORKS)}")
    network, counted = NETWORKS[name]
    counts = meta.get("layers")
    if not isinstance(counts, list) or len(counts) < counted:
        raise ModelError(f"layers is {counts!r}, expected a list of {counted} numbers")
    mode = meta.get("upsampling", "bilinear")
    if mode not in ("bilinear", "nearest"):
        raise ModelError(f"upsampling is {mode!r}, expected bilinear or nearest")
    options = {key: bool(meta.get(key)) for key in ("batch_norm", "dropout", "with_dilation")}
    built: nn.Module = network(
        whole("nb_classes", meta.get("nb_classes"), 64),
        whole("nb_filters", meta.get("nb_filters"), 256),
        [whole("layers", count, 16) for count in counts[:counted]],
        mode,
        options,
    )
    return built
