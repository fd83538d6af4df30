# SPDX-License-Identifier: BSD-3-Clause
"""A rotationally invariant variational autoencoder in circular harmonics.

The encoder turns a patch into harmonics by one product, scores `directions` rotations of it, takes the best, refines
it, and reads the content from the patch turned back by the angle found: turning the patch changes the angle and, to
the accuracy of the harmonics, nothing else. Scoring whole sets of rotations follows Nasiri and Bepler (NeurIPS 2022).
The decoder is a function of coordinates, evaluated on the rotated and shifted grid of `harmonics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from probewise.training.harmonics import DiscBasis, disc_basis, patch_grid

Rotation = Literal["full", "small", "none"]
ROTATIONS: tuple[Rotation, ...] = ("full", "small", "none")
DIRECTIONS = 24
SMALL_REACH = math.pi / 4
_REFINEMENTS = 2  # with one, what is left of 15 degrees between directions is up to 5 degrees on noise-free patches


@dataclass(frozen=True)
class Invariances:
    """What the content should not tell, and how much content there is.

    side_px          of the patches
    rotation         "full": every angle alike; "small": angles about 0; "none": the angle is 0
    translation      whether the decoder may shift, by `shift_prior` (rms, in halves of a patch)
    content          latent variables
    detail           largest spatial frequency represented, rad per pixel
    """

    side_px: int
    rotation: Rotation = "full"
    translation: bool = False
    content: int = 3
    detail: float = 1.0
    shift_prior: float = 0.1
    rotation_prior: float = 0.1

    def __post_init__(self) -> None:
        if not 8 <= self.side_px <= 128:
            raise ValueError(f"side_px is {self.side_px}, expected 8 to 128")
        if self.rotation not in ROTATIONS:
            raise ValueError(f"rotation is {self.rotation!r}, expected one of {ROTATIONS}")
        if not 1 <= self.content <= 16:
            raise ValueError(f"content is {self.content}, expected 1 to 16")
        for name in ("detail", "shift_prior", "rotation_prior"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= 3):
                raise ValueError(f"{name} is {value}, expected above 0 and at most 3")

    @property
    def margin(self) -> float:
        """How far a shift may reach, in halves of a patch."""
        return 2 * self.shift_prior if self.translation else 0.0

    @property
    def seen(self) -> DiscBasis:
        """Harmonics that the encoder reads a patch in."""
        return disc_basis(self.side_px, detail=self.detail)

    @property
    def drawn(self) -> DiscBasis:
        """Harmonics that the decoder draws in; wider, so that something is there to be shifted in."""
        return disc_basis(self.side_px, detail=self.detail, margin=self.margin)


@dataclass
class Pose:
    """One hypothesis of the pose for each patch, (n,) or (n, hypotheses) in front of the last axes.

    angle, log_std       of the angle, rad
    shift, shift_log_std (..., 2)
    z, z_log_std         (..., content)
    """

    angle: Tensor
    log_std: Tensor
    shift: Tensor
    shift_log_std: Tensor
    z: Tensor
    z_log_std: Tensor


def _block(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Encoder(nn.Module):
    """Patches (n, side, side) to z_mean, z_logsd (n, 3 + content): angle, shift, content."""

    def __init__(self, invariances: Invariances, *, hidden: int = 64, filters: int = 8) -> None:
        super().__init__()
        self.invariances = invariances
        basis = invariances.seen
        self.register_buffer("analysis", torch.tensor(basis.analysis, dtype=torch.float32))
        self.register_buffer("order", torch.tensor(basis.order, dtype=torch.float32))
        self.register_buffer("coefficient_mean", torch.zeros(basis.size))
        self.register_buffer("coefficient_scale", torch.ones(()))
        self.directions = DIRECTIONS if invariances.rotation == "full" else 1
        self.reach = {"full": 1.2 * math.pi / DIRECTIONS, "small": SMALL_REACH, "none": 0.0}[invariances.rotation]
        angles = torch.arange(self.directions, dtype=torch.float32) * (2 * math.pi / self.directions)
        self.register_buffer("angles", angles)
        if invariances.rotation == "full":
            self.templates = nn.Linear(basis.size, filters)
            self.weights = nn.Linear(filters, 1, bias=False)
        if invariances.rotation != "none":
            self.refine = _block(basis.size, hidden // 2, 2)
        self.read = _block(basis.size, hidden, hidden, 2 * (2 + invariances.content))

    def coefficients(self, patches: Tensor) -> Tensor:
        """(n, 2 K), centred and scaled by what the training patches hold; the centre has order 0 only."""
        return (patches.flatten(1) @ self.analysis - self.coefficient_mean) * self.coefficient_scale

    def turn_back(self, coefficients: Tensor, angle: Tensor) -> Tensor:
        """Coefficients of the patch rotated by -angle; leading axes broadcast."""
        return rotate(coefficients, -angle, self.order)

    def scores(self, coefficients: Tensor) -> Tensor:
        """(n, directions): logarithm of how likely each direction is, not normalised."""
        # The templates are turned instead of the patch: one product for all directions.
        k, half = self.templates.weight, len(self.order)
        phase = self.angles[:, None, None] * self.order
        cosine, sine = torch.cos(phase), torch.sin(phase)
        turned = torch.cat([k[:, :half] * cosine + k[:, half:] * sine, k[:, half:] * cosine - k[:, :half] * sine], -1)
        answers = coefficients @ turned.reshape(-1, 2 * half).T
        answers = answers.reshape(-1, self.directions, k.shape[0]) + self.templates.bias
        return self.weights(torch.relu(answers)).squeeze(-1)

    def pose(self, coefficients: Tensor, direction: Tensor) -> Pose:
        """Refine a direction and read the rest from the patch turned back; coefficients (..., 2 K), direction (...)."""
        if self.invariances.rotation == "none":
            angle, log_std = direction, torch.zeros_like(direction)
            canonical = coefficients
        else:
            angle = direction
            for _ in range(_REFINEMENTS):
                raw = self.refine(self.turn_back(coefficients, angle))
                angle = angle + self.reach * torch.tanh(raw[..., 0])
            log_std = raw[..., 1] - 3.0
            canonical = self.turn_back(coefficients, angle)
        read = self.read(canonical)
        content = self.invariances.content
        shift, z, shift_log_std, z_log_std = read.split([2, content, 2, content], dim=-1)
        if self.invariances.translation:
            prior = self.invariances.shift_prior
            shift, shift_log_std = self.invariances.margin * torch.tanh(shift), shift_log_std + math.log(prior) - 2
        else:
            shift, shift_log_std = shift * 0, shift_log_std * 0
        return Pose(angle, log_std, shift, shift_log_std, z, z_log_std)

    def best_direction(self, coefficients: Tensor) -> Tensor:
        """(n,) angle of the direction of highest score."""
        if self.directions == 1:
            return coefficients[:, 0] * 0
        return self.scores(coefficients).argmax(1).to(coefficients.dtype) * (2 * math.pi / self.directions)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = self.coefficients(patches)
        pose = self.pose(coefficients, self.best_direction(coefficients))
        angle = pose.angle - 2 * math.pi * torch.floor(pose.angle / (2 * math.pi) + 0.5)
        mean = torch.cat([angle[:, None], pose.shift, pose.z], dim=1)
        spread = torch.cat([pose.log_std[:, None], pose.shift_log_std, pose.z_log_std], dim=1)
        return mean, spread


class Decoder(nn.Module):
    """Latents (n, 3 + content) to patches (n, side, side), 0 outside the disc."""

    def __init__(self, invariances: Invariances, *, hidden: int = 64) -> None:
        super().__init__()
        self.invariances = invariances
        basis = invariances.drawn
        for name, value in {
            "grid": patch_grid(invariances.side_px),
            "mask": basis.mask,
            "order": basis.order,
            "ring": basis.ring,
            "mix": basis.mix,
            "coefficient_mean": torch.zeros(basis.size),
            "coefficient_scale": torch.ones(()),
        }.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.width = basis.width
        self.highest = int(basis.order.max())
        self.pattern = _block(invariances.content, hidden, hidden, basis.size)

    def functions(self, angle: Tensor, shift: Tensor) -> Tensor:
        """(n, pixels, 2 K): the harmonics on x' = x R(angle) + shift."""
        cosine, sine = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
        x0 = self.grid[:, 0] * cosine - self.grid[:, 1] * sine + shift[:, :1]
        x1 = self.grid[:, 0] * sine + self.grid[:, 1] * cosine + shift[:, 1:]
        squared = x0 * x0 + x1 * x1
        radius = torch.sqrt(squared.clamp(min=1e-10))
        c, s = x0 / radius, x1 / radius
        cosines, sines = [torch.ones_like(c)], [torch.zeros_like(c)]
        for _ in range(self.highest):
            cosines.append(cosines[-1] * c - sines[-1] * s)
            sines.append(sines[-1] * c + cosines[-2] * s)
        order = self.order.long()
        rings = torch.exp(-((radius[..., None] - self.ring) ** 2) / (2 * self.width**2))
        fade = (squared / (squared + self.width**2))[..., None]
        radial = (rings @ self.mix) * torch.where(order > 0, fade, torch.ones_like(fade))
        return torch.cat(
            [radial * torch.stack(cosines, -1)[..., order], radial * torch.stack(sines, -1)[..., order]], dim=-1
        )

    def forward(self, latents: Tensor) -> Tensor:
        pattern = self.pattern(latents[:, 3:]) / self.coefficient_scale + self.coefficient_mean
        functions = self.functions(latents[:, 0], latents[:, 1:3])
        pixels = (functions @ pattern[:, :, None]).squeeze(-1) * self.mask
        return pixels.reshape(-1, self.invariances.side_px, self.invariances.side_px)


def rotate(coefficients: Tensor, angle: Tensor, order: Tensor) -> Tensor:
    """Coefficients (..., 2 K) of a patch rotated by angle (...)."""
    a, b = coefficients.chunk(2, dim=-1)
    phase = angle[..., None] * order
    cosine, sine = torch.cos(phase), torch.sin(phase)
    return torch.cat([a * cosine + b * sine, b * cosine - a * sine], dim=-1)
