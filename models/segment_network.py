# SPDX-License-Identifier: BSD-3-Clause
"""The segmenter's network: three scales, dilated at the coarsest, output at a quarter of the input's resolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

NATIVE_NM = 0.04
STRIDE = 4
MULTIPLE_OF = 8
DILATIONS = (1, 2, 4, 1)  # at stride 8: about 300 pixels of the input are seen


class _Unit(nn.Module):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.normalise = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.normalise(self.convolve(x)))

    def fold(self) -> None:
        """Put the normalisation into the convolution, for inference."""
        self.convolve = nn.utils.fuse_conv_bn_eval(self.convolve, self.normalise)
        self.normalise = nn.Identity()


def _ring(radius_px: float, width_px: float, fold: int) -> Tensor:
    """cos and sin of `fold` times the angle on a soft ring, (2, 1, k, k); of unit absolute sum."""
    reach = math.ceil(radius_px + 2 * width_px)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1, dtype=torch.float32)] * 2, indexing="ij")
    weight = torch.exp(-((torch.hypot(y, x) - radius_px) ** 2) / (2 * width_px**2))
    weight[reach, reach] = 0
    angle = fold * torch.atan2(y, x)
    pair = torch.stack([torch.cos(angle) * weight, torch.sin(angle) * weight])[:, None]
    return pair / weight.sum()


class LatticeMoments(nn.Module):
    """How the surroundings of bright columns are arranged, (n, 4, H/8, W/8): fixed filters, nothing is trained.

    Squared intensity picks the bright columns; rings about them, weighted with the angle, add up to the shift of the
    fainter columns between them (the moments of order 1: picometres of polarisation) and to the direction of the
    second neighbours in graphene (order 6). Means over about 0.5 nm, relative to the columns' own intensity.
    """

    def __init__(self) -> None:
        super().__init__()
        half_px = 2 * NATIVE_NM
        self.register_buffer("shift", _ring(0.20 / half_px, 0.06 / half_px, 1), persistent=False)
        self.register_buffer("turn", _ring(0.246 / half_px, 0.05 / half_px, 6), persistent=False)
        reach = 8
        line = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * (0.5 / half_px) ** 2))
        blur = torch.outer(line, line)
        self.register_buffer("blur", (blur / blur.sum())[None, None], persistent=False)
        fine = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25]))
        self.register_buffer("fine", fine[None, None], persistent=False)

    def _rings(self, picture: Tensor, kernels: Tensor) -> Tensor:
        reach = kernels.shape[-1] // 2
        return F.conv2d(F.pad(picture, (reach,) * 4, mode="replicate"), kernels)

    def _mean(self, maps: Tensor) -> Tensor:
        """Blurred and thinned to every fourth pixel."""
        channels, reach = maps.shape[1], self.blur.shape[-1] // 2
        padded = F.pad(maps, (reach - 1, reach, reach - 1, reach), mode="replicate")
        return F.conv2d(padded, self.blur.expand(channels, 1, -1, -1), stride=4, groups=channels)

    def forward(self, frames: Tensor) -> Tensor:
        picture = F.avg_pool2d(frames, 2)
        bright = F.relu(self._rings(picture, self.fine)) ** 2
        rings = torch.cat([self._rings(picture, self.shift), self._rings(picture, self.turn)], dim=1)
        means = self._mean(torch.cat([bright, bright * picture, rings, bright * rings], dim=1))
        weight, own, plain, joint = means.split([1, 1, 4, 4], dim=1)
        return 8.0 * (joint - weight * plain) / (F.relu(own) + 1e-3)


class SegmentNetwork(nn.Module):
    """Frames (n, 1, H, W), H and W multiples of 8, to class scores and polarisation at H/4, W/4.

    The second output, the direction of the projected polarisation (n, 2, H/4, W/4), is a task for training only: it
    teaches the picometre displacements that domain walls are made of.
    """

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        fine, coarse = 2 * width, 4 * width
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _Unit(4, width), _Unit(width, fine, stride=2), _Unit(fine, fine))
        self.moments = LatticeMoments()
        self.down = _Unit(fine, coarse, stride=2)
        self.join = _Unit(coarse + 4, coarse)
        self.deep = nn.ModuleList([_Unit(coarse, coarse, dilation=d) for d in DILATIONS])
        self.up = nn.Conv2d(coarse, fine, 1)
        self.fuse = _Unit(fine, fine)
        self.scores = nn.Conv2d(fine, classes, 1)
        self.polarisation = nn.Conv2d(fine, 2, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            moments = self.moments(frames)
        near = self.stem(frames)
        far = self.join(torch.cat([self.down(near), moments], dim=1))
        for unit in self.deep:
            far = far + unit(far)
        both = self.fuse(near + F.interpolate(self.up(far), scale_factor=2.0, mode="nearest"))
        return self.scores(both), self.polarisation(both)


class Exported(nn.Module):
    """What is exported: probabilities of the classes, normalisations folded."""

    def __init__(self, network: SegmentNetwork) -> None:
        super().__init__()
        self.network = network.eval()
        for unit in network.modules():
            if isinstance(unit, _Unit):
                unit.fold()

    def forward(self, image: Tensor) -> Tensor:
        return F.softmax(self.network(image)[0], dim=1)
