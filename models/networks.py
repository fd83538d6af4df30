# SPDX-License-Identifier: BSD-3-Clause
"""Networks that find atoms: frames (N, 1, H, W) in, logits of the site (stride 1) and the class (stride 2) out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from probewise.training.atom_network import MULTIPLE_OF as MULTIPLE_OF
from probewise.training.atom_network import AtomNet as AtomNet
from probewise.training.atom_network import Exported as Exported


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
