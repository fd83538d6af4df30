# SPDX-License-Identifier: BSD-3-Clause
"""Networks that find atoms: frames (N, 1, H, W) in, logits of the site (stride 1) and the class (stride 2) out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MULTIPLE_OF = 8


def _block(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class AtomNet(nn.Module):
    """16, 32 and 64 channels from half the frame's resolution on, added (not concatenated) on the way up.

    Widths are multiples of the 16 lanes of a 512-bit register. Receptive field: 155 pixels, 3.1 nm at the native pixel.
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


class ReferenceUNet(nn.Module):
    """U-Net of 16, 32, 64 and 128 channels, skips concatenated: the shape of AtomAI's default, with our heads."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths, depths = (16, 32, 64, 128), (1, 2, 2, 3)
        inputs = (1, *widths[:-1])
        self.down = nn.ModuleList(self._level(i, o, n) for i, o, n in zip(inputs, widths, depths, strict=True))
        self.lift = nn.ModuleList(nn.Conv2d(o, o // 2, 1) for o in widths[:0:-1])
        self.up = nn.ModuleList(self._level(o, o // 2, n) for o, n in zip(widths[:0:-1], (2, 2, 1), strict=True))
        self.site, self.kind = nn.Conv2d(16, 1, 1), nn.Conv2d(16, classes, 1)

    @staticmethod
    def _level(inputs: int, outputs: int, count: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for number in range(count):
            layers += [
                nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1),
                nn.LeakyReLU(0.01),
                nn.BatchNorm2d(outputs),
            ]
        return nn.Sequential(*layers)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        skips: list[Tensor] = []
        out = frame
        for number, level in enumerate(self.down):
            out = level(functional.max_pool2d(out, 2) if number else out)
            skips.append(out)
        for number, (lift, level) in enumerate(zip(self.lift, self.up, strict=True)):
            larger = functional.interpolate(lift(out), scale_factor=2.0, mode="bilinear", align_corners=False)
            out = level(torch.cat([skips[-2 - number], larger], dim=1))
        return self.site(out), functional.avg_pool2d(self.kind(out), 2)


class Exported(nn.Module):
    """The network as it is shipped: probabilities of the site and of the class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        site, kind = self.network(frame)
        return torch.sigmoid(site), torch.softmax(kind, dim=1)
