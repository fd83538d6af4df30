# SPDX-License-Identifier: BSD-3-Clause
"""Fitting the autoencoder: the evidence lower bound, expected over all directions of every patch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probewise.training.autoencoder import Decoder, Encoder, Invariances, Pose, rotate
from probewise.training.harmonics import generators, seen_of_drawn
from probewise.types import Float32Array

_MANY_DIRECTIONS = 0.25  # part of the training in which half of all directions of a patch, at random, are tried
_ALIGNING = 0.2  # part of the training with one pattern for all patches
_SMALL = 0.3  # rms of a small rotation, rad
_SERIES = 12  # terms of the exponential of a shift; its norm is about 4 at the farthest shift of 0.2
_TRIED = 4  # most likely directions that are tried later


@dataclass(frozen=True, eq=False)
class Fitted:
    """An autoencoder after training; `noise` is the rms residual of a pixel, `minutes` the time that it took."""

    encoder: Encoder
    decoder: Decoder
    noise: float
    minutes: float
    losses: tuple[float, ...]


def train(
    patches: Float32Array,
    invariances: Invariances,
    *,
    steps: int = 3000,
    batch: int = 128,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Fit encoder and decoder to patches (n, side, side).

    steps     of Adam, `batch` patches each
    progress  called with the step and the loss, about 20 times
    raises    TypeError, ValueError for wrong patches or counts
    """
    check_patches(patches, invariances.side_px)
    if steps < 1 or batch < 2:
        raise ValueError(f"steps is {steps}, batch {batch}, expected at least 1 and 2")
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, decoder = Encoder(invariances), Decoder(invariances)
    data = torch.from_numpy(patches)
    _standardise(encoder, decoder, data)
    coefficients = torch.cat([encoder.coefficients(part) for part in data.split(4096)])
    loss_of = _Loss(encoder, decoder, generator)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=4e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    losses = []
    for step in range(steps):
        index = torch.randint(len(data), (batch,), generator=generator)
        loss = loss_of(coefficients[index], step / steps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 20.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % max(1, steps // 20) == 0:
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(step + 1, losses[-1])
    assert loss_of.variance is not None
    noise = math.sqrt(float(loss_of.variance)) / float(encoder.coefficient_scale)
    return Fitted(encoder.eval(), decoder.eval(), noise, (time.monotonic() - started) / 60, tuple(losses))


def _rate(done: float) -> float:
    """Learning rate relative to its peak: up over a tenth of the training, down as a cosine."""
    return done / 0.1 + 0.01 if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9)) + 1e-3


def check_patches(patches: object, side_px: int) -> None:
    """Refuse what is not (n, side, side) finite float32 with something in it."""
    if not isinstance(patches, np.ndarray) or patches.dtype != np.float32:
        came = patches.dtype if isinstance(patches, np.ndarray) else type(patches).__name__
        raise TypeError(f"patches is {came}, expected float32 (n, {side_px}, {side_px})")
    if patches.ndim != 3 or patches.shape[1:] != (side_px, side_px) or len(patches) < 2:
        raise ValueError(f"patches has shape {patches.shape}, expected (at least 2, {side_px}, {side_px})")
    if not np.isfinite(patches).all():
        raise ValueError("patches holds values that are not finite, expected none")
    if not np.ptp(patches) > 0:
        raise ValueError("patches is constant, nothing to learn")


class _Loss:
    """Negative bound of a batch, with the noise's variance followed as the training goes."""

    def __init__(self, encoder: Encoder, decoder: Decoder, generator: torch.Generator) -> None:
        self.encoder, self.decoder, self.generator = encoder, decoder, generator
        chosen = encoder.invariances
        seen, drawn = chosen.seen, chosen.drawn
        self.freedom = float(np.count_nonzero(np.abs(seen.analysis).sum(axis=0) > 1e-9))
        # What the encoder's harmonics see of a picture in the decoder's, and of that picture shifted.
        self.seen_of_drawn = torch.tensor(seen_of_drawn(seen, drawn), dtype=torch.float32)
        self.moves = torch.tensor(generators(drawn, 1 + chosen.margin), dtype=torch.float32)
        self.variance: Tensor | None = None

    def __call__(self, coefficients: Tensor, done: float) -> Tensor:
        encoder, chosen = self.encoder, self.encoder.invariances
        n = len(coefficients)
        if encoder.directions == 1:
            log_q = coefficients.new_zeros(n, 1)
            tried = coefficients.new_zeros(n, 1)
        else:
            log_q = torch.log_softmax(encoder.scores(coefficients), dim=1)
            if done < _MANY_DIRECTIONS:
                best = torch.rand(log_q.shape, generator=self.generator).topk(encoder.directions // 2, dim=1).indices
            else:
                best = log_q.topk(_TRIED, dim=1).indices
            log_q = log_q.gather(1, best)
            log_q = log_q - torch.logsumexp(log_q, 1, keepdim=True)
            tried = encoder.angles[best]
        q = log_q.exp()
        repeated = coefficients[:, None].expand(-1, tried.shape[1], -1)
        pose = encoder.pose(repeated, tried)
        if done < _ALIGNING and encoder.directions > 1:
            # One pattern for all patches first: what could be said by angle or by content is then said by the angle.
            pose = dataclasses.replace(pose, z=pose.z * 0, z_log_std=pose.z_log_std * 0 - 20)
        left = self._left(repeated, pose)
        mean_left = (q * left).sum(1)
        measured = (mean_left.mean() / self.freedom).detach()
        self.variance = measured if self.variance is None else 0.98 * self.variance + 0.02 * measured
        bound = (q * (left / (2 * self.variance) + self._divergence(pose))).sum(1)
        # Without this, content may tell which of several like directions was taken.
        centre = (q[..., None] * pose.z).sum(1, keepdim=True)
        bound = bound + (q[..., None] * (pose.z - centre) ** 2).sum((1, 2))
        if chosen.rotation == "small":
            bound = bound + (pose.angle[:, 0] / _SMALL) ** 2 / 2
        return bound.mean()

    def _left(self, coefficients: Tensor, pose: Pose) -> Tensor:
        """(n, hypotheses) squared residuals, in units of scaled coefficients."""
        chosen, encoder, decoder = self.encoder.invariances, self.encoder, self.decoder
        z = pose.z + self._noise(pose.z) * pose.z_log_std.exp()
        angle = pose.angle
        if chosen.rotation != "none":
            angle = angle + self._noise(angle) * pose.log_std.exp()
        drawn = decoder.pattern(z) + decoder.coefficient_mean * decoder.coefficient_scale
        if chosen.translation:
            drawn = self._shifted(drawn, pose.shift + self._noise(pose.shift) * pose.shift_log_std.exp())
        drawn = rotate(drawn, angle, decoder.order) @ self.seen_of_drawn.T
        return ((coefficients + encoder.coefficient_mean * encoder.coefficient_scale - drawn) ** 2).sum(-1)

    def _shifted(self, drawn: Tensor, shift: Tensor) -> Tensor:
        """exp(shift . moves) drawn, by its series."""
        total = term = drawn
        for order in range(1, _SERIES + 1):
            moved = shift[..., :1] * (term @ self.moves[0].T) + shift[..., 1:] * (term @ self.moves[1].T)
            term = moved / order
            total = total + term
        return total

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)

    def _divergence(self, pose: Pose) -> Tensor:
        """Kullback-Leibler terms; the mean of the angle is free."""
        chosen = self.encoder.invariances
        total = _normal(pose.z, pose.z_log_std, 1.0).sum(-1)
        if chosen.rotation != "none":
            total = total + _normal(torch.zeros_like(pose.angle), pose.log_std, chosen.rotation_prior)
        if chosen.translation:
            total = total + _normal(pose.shift, pose.shift_log_std, chosen.shift_prior).sum(-1)
        return total


def _normal(mean: Tensor, log_std: Tensor, prior: float) -> Tensor:
    """Divergence of N(mean, std) from N(0, prior)."""
    return -log_std + math.log(prior) + (torch.exp(2 * log_std) + mean**2) / (2 * prior**2) - 0.5


@torch.no_grad()
def _standardise(encoder: Encoder, decoder: Decoder, data: Tensor) -> None:
    """Centre the orders 0, which keeps rotations what they are, and bring the rest to about 1."""
    raw = torch.cat([encoder.coefficients(part) for part in data.split(4096)])
    mean = raw.mean(0) * (torch.cat([encoder.order, encoder.order]) == 0)
    scale = 1.0 / (raw - mean).square().mean().sqrt().clamp(min=1e-6)
    encoder.coefficient_mean.copy_(mean)
    chosen = encoder.invariances
    # A wider picture that shows the mean on the disc.
    wider = np.linalg.pinv(seen_of_drawn(chosen.seen, chosen.drawn), rcond=0.05) @ mean.double().numpy()
    decoder.coefficient_mean.copy_(torch.from_numpy(wider))
    for module in (encoder, decoder):
        module.coefficient_scale.copy_(scale)
