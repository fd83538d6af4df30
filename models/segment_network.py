# SPDX-License-Identifier: BSD-3-Clause
"""The segmenter's network: three scales, dilated at the coarsest, output at a quarter of the input's resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NATIVE_NM = 0.04
STRIDE = 4
FAINT = 0.03  # of the range of a frame: half way up the second input, which shows films beside particles
SMALL = (5e-4, 1e-3)  # lengths of the moments that count as half an arrow; BiFeO3 has 2e-3, graphene 4e-3
MULTIPLE_OF = 8
DILATIONS = (1, 2, 4)  # at stride 8: 5.8 nm are seen


def _unit(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch normalisation, ReLU."""
    convolve = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(outputs), nn.ReLU())


HALF_NM = 2 * NATIVE_NM
_RING_REACH = 5  # half-resolution pixels
_APART = 2  # output pixels of the moments: jumps are taken over 1.28 nm


def _ring(radius_px: float, width_px: float, fold: int) -> Tensor:
    """cos and sin of `fold` times the angle on a soft ring, (2, 1, k, k); of unit absolute sum."""
    steps = torch.arange(-_RING_REACH, _RING_REACH + 1.0)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    weight = torch.exp(-((torch.hypot(y, x) - radius_px) ** 2) / (2 * width_px**2))
    weight[_RING_REACH, _RING_REACH] = 0
    angle = fold * torch.atan2(y, x)
    return torch.stack([torch.cos(angle) * weight, torch.sin(angle) * weight])[:, None] / weight.sum()


def _soft() -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25])
    return torch.outer(line, line)[None, None]


class _Mean(nn.Module):
    """Gaussian mean of 0.45 nm, at every fourth pixel: narrower, a lattice would beat with these steps."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.exp(-(torch.arange(-6, 7.0) ** 2) / (2 * (0.45 / (2 * HALF_NM)) ** 2))
        self.register_buffer("line", (line / line.sum())[None, None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        single = F.avg_pool2d(maps, 2).flatten(0, 1)[:, None]
        down = F.conv2d(single, self.line.mT, stride=(2, 1), padding=(6, 0))
        across = F.conv2d(down, self.line, stride=(1, 2), padding=(0, 6))
        return across[:, 0].unflatten(0, (-1, maps.shape[1]))


class Texture(nn.Module):
    """Logarithms of the local energy at three scales, (n, 3, H/8, W/8): fixed filters, nothing is trained.

    The finest, and the two coarser ones relative to it: noise is white, films and lattices are not, at any contrast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = _Mean()
        self.register_buffer("soft", _soft(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        picture = F.avg_pool2d(frames, 2)
        energies = [torch.ones_like(picture)]
        for apart in (1, 2, 4):
            smooth = F.conv2d(F.pad(picture, (apart,) * 4, mode="replicate"), self.soft, dilation=apart)
            energies.append((picture - smooth) ** 2)
            picture = smooth
        covered, fine, middle, coarse = self.mean(torch.cat(energies, dim=1)).split(1, dim=1)
        log = [torch.log(energy / covered + 1e-7) for energy in (fine, middle, coarse)]
        return torch.cat([0.2 * log[0] + 2.0, 0.5 * (log[1] - log[0]), 0.5 * (log[2] - log[0])], dim=1)


class LatticeMoments(nn.Module):
    """How the surroundings of bright columns are arranged, (n, 6, H/8, W/8): fixed filters, nothing is trained.

    Squared intensity picks the bright columns; rings about them, weighted with the angle, add up to the shift of the
    fainter columns between them (order 1: picometres of polarisation) and to the direction of the second neighbours
    in graphene (order 6). Covariances of the two over about 0.5 nm, relative to the columns' own intensity, as arrows
    of a length up to 1 (4 channels); and how much the two change nearby (2 channels).
    """

    def __init__(self) -> None:
        super().__init__()
        rings = torch.cat([_ring(0.20 / HALF_NM, 0.06 / HALF_NM, 1), _ring(0.246 / HALF_NM, 0.05 / HALF_NM, 6)])
        self.register_buffer("rings", rings, persistent=False)
        self.register_buffer("soft", _soft(), persistent=False)
        self.mean = _Mean()
        self.register_buffer("small", torch.tensor(SMALL)[:, None, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        reach = _RING_REACH
        picture = F.avg_pool2d(frames, 2)
        level = picture
        for apart in (1, 2, 4):
            level = F.conv2d(F.pad(level, (apart,) * 4, mode="replicate"), self.soft, dilation=apart)
        picture = picture - level  # what lies on, under or over the columns shall not count as columns
        rings = F.conv2d(picture, self.rings)  # only where the whole ring lies in the frame
        inner = picture[..., reach:-reach, reach:-reach]
        bright = F.relu(F.conv2d(picture, self.soft))[..., reach - 1 : 1 - reach, reach - 1 : 1 - reach] ** 2
        parts = torch.cat([torch.ones_like(bright), bright, bright * inner, rings, bright * rings], dim=1)
        means = self.mean(F.pad(parts, (reach,) * 4))
        covered, weight, own, plain, joint = means.split([1, 1, 1, 4, 4], dim=1)
        moments = (joint - weight * plain / (covered + 1e-3)) / (F.relu(own) + 1e-3 * covered + 1e-6)
        pairs = moments.unflatten(1, (2, 2))
        length = (pairs**2).sum(dim=2, keepdim=True)
        arrows = (pairs / torch.sqrt(length + self.small**2)).flatten(1, 2)
        wide = F.pad(arrows, (_APART,) * 4, mode="replicate")
        down = wide[..., 2 * _APART :, _APART:-_APART] - wide[..., : -2 * _APART, _APART:-_APART]
        across = wide[..., _APART:-_APART, 2 * _APART :] - wide[..., _APART:-_APART, : -2 * _APART]
        jumps = (down**2 + across**2).unflatten(1, (2, 2)).sum(dim=2) / 4
        return torch.cat([arrows, jumps], dim=1)


class SegmentNetwork(nn.Module):
    """Frames (n, 1, H, W), H and W multiples of 8, to class scores and polarisation at H/4, W/4.

    The second output, the direction of the projected polarisation (n, 2, H/4, W/4), is a task for training only: it
    teaches the picometre displacements that domain walls are made of.
    """

    def __init__(self, classes: int, width: int = 12) -> None:
        super().__init__()
        fine, coarse = 2 * width, 4 * width
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2), _unit(8, width), _unit(width, fine, stride=2), _unit(fine, fine)
        )
        self.moments = LatticeMoments()
        self.texture = Texture()
        self.down = _unit(fine, coarse, stride=2)
        self.join = _unit(coarse + 9, coarse)
        self.deep = nn.ModuleList([_unit(coarse, coarse, dilation=d) for d in DILATIONS])
        self.up = nn.Conv2d(coarse, fine, 1)
        self.fuse = _unit(fine, fine)
        self.scores = nn.Conv2d(fine, classes, 1)
        self.polarisation = nn.Conv2d(fine, 2, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            fixed = torch.cat([self.moments(frames), self.texture(frames)], dim=1)
            positive = F.relu(frames)
            lifted = torch.cat([frames, positive / (positive + FAINT)], dim=1)
        near = self.stem(lifted)
        far = self.join(torch.cat([self.down(near), fixed], dim=1))
        for unit in self.deep:
            far = far + unit(far)
        both = self.fuse(near + F.interpolate(self.up(far), scale_factor=2.0, mode="nearest"))
        return self.scores(both), self.polarisation(both)


class Probabilities(nn.Module):
    """What is exported: probabilities of the classes."""

    def __init__(self, network: SegmentNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> Tensor:
        return F.softmax(self.network(frame)[0], dim=1)
