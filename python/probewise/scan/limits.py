# SPDX-License-Identifier: BSD-3-Clause
"""What real coils and converters allow: a path is refused, slowed by masked samples, or left as it is."""

from __future__ import annotations

import math

import numpy as np

from probewise._core import scan as _scan
from probewise.errors import ConfigurationError
from probewise.scan.arguments import MOST_NS, check_integer
from probewise.scan.generated import GeneratedPath, Recipe
from probewise.types import FloatArray, Limits, ScanPath

MIN_CODES_PER_PIXEL = 4  # fewer, and rounding to the DAC moves a pixel by more than an eighth of itself
NEAR_PX = 2.0  # a move within two pixels is no jump and needs no settling


def check_dac_resolution(shape: tuple[int, int], dac_bits: int, *, size_yx: tuple[float, float] = (1.0, 1.0)) -> None:
    """Refuse a scan whose pixels are finer than four codes of the DAC.

    shape    (rows, cols)
    size_yx  of the scanned rectangle, fractions of the field that the DAC spans
    raises   ConfigurationError naming the codes per pixel
    """
    for name, pixels, size in zip(("rows", "cols"), shape, size_yx, strict=True):
        codes = size * ((1 << dac_bits) - 1) / pixels
        if not codes >= MIN_CODES_PER_PIXEL:
            raise ConfigurationError(
                f"{pixels} {name} over {size:g} of the field are {codes:.2f} codes of {dac_bits} bits a pixel, "
                f"expected at least {MIN_CODES_PER_PIXEL}: choose a smaller field or larger pixels"
            )


def check_dwell(dwell_ns: int, limits: Limits | None) -> None:
    """Refuse a dwell that is no positive integer, or outside the range or between the steps of the instrument."""
    check_integer("dwell_ns", dwell_ns, 1, MOST_NS)
    if limits is None:
        return
    if not isinstance(limits, Limits):
        raise TypeError(f"limits is {limits!r}, expected Limits or None")
    if not limits.dwell_min_ns <= dwell_ns <= limits.dwell_max_ns:
        raise ConfigurationError(f"dwell_ns is {dwell_ns}, expected {limits.dwell_min_ns} to {limits.dwell_max_ns}")
    if dwell_ns % limits.dwell_step_ns:
        raise ConfigurationError(f"dwell_ns is {dwell_ns}, expected a multiple of {limits.dwell_step_ns}")


def check_size(points: int, limits: Limits | None) -> None:
    if limits is not None and points > limits.max_points:
        raise ConfigurationError(f"the scan has {points} samples, expected at most max_points = {limits.max_points}")


def smooth_path(recipe: Recipe, dwell_ns: int, limits: Limits | None) -> ScanPath:
    """A path without jumps, refused where its speed or bends exceed the coils."""
    if limits is not None:
        _check_request(recipe, limits)
        if math.isfinite(limits.max_velocity_per_s) or math.isfinite(limits.max_acceleration_per_s2):
            _check_speed(recipe, dwell_ns, limits)
    return GeneratedPath.of(recipe, dwell_ns)


def stepped_path(recipe: Recipe, dwell_ns: int, limits: Limits | None) -> ScanPath:
    """A path from pixel to pixel, joined by masked samples where the coils or their settling ask for them."""
    if limits is None:
        return GeneratedPath.of(recipe, dwell_ns)
    _check_request(recipe, limits)
    if not needs_joining(limits):
        return GeneratedPath.of(recipe, dwell_ns)
    return joined_path(recipe.yx(), recipe.pixel(), recipe.shape, dwell_ns, limits)


def needs_joining(limits: Limits) -> bool:
    return limits.settle_ns > 0 or math.isfinite(min(limits.max_velocity_per_s, limits.max_acceleration_per_s2))


def joined_path(
    yx: FloatArray,
    pixel: np.ndarray[tuple[int], np.dtype[np.int32]],
    shape: tuple[int, int],
    dwell_ns: int,
    limits: Limits,
) -> ScanPath:
    """Every waypoint once and in order; samples put between them are masked (active False, pixel -1)."""
    dwell_s = dwell_ns * 1e-9
    try:
        joined, source = _scan.join(
            yx,
            limits.max_velocity_per_s * dwell_s,
            limits.max_acceleration_per_s2 * dwell_s**2,
            (NEAR_PX / shape[0], NEAR_PX / shape[1]),
            -(-limits.settle_ns // dwell_ns),
            limits.max_points,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    owner = np.where(source >= 0, pixel[source], np.int32(-1)).astype(np.int32)
    return ScanPath(
        yx=joined,
        dwell_ns=np.full(len(joined), dwell_ns, dtype=np.int64),
        active=owner >= 0,
        pixel=owner,
        shape=shape,
    )


def _check_request(recipe: Recipe, limits: Limits) -> None:
    check_size(recipe.points, limits)
    check_dac_resolution(recipe.shape, limits.dac_bits)


def _check_speed(recipe: Recipe, dwell_ns: int, limits: Limits) -> None:
    step, bend = recipe.extremes()
    needed_s = max(step / limits.max_velocity_per_s, math.sqrt(bend / limits.max_acceleration_per_s2))
    if needed_s > dwell_ns * 1e-9:
        needed_ns = math.ceil(needed_s * 1e9 / limits.dwell_step_ns) * limits.dwell_step_ns
        raise ConfigurationError(
            f"dwell_ns is {dwell_ns}, expected at least {needed_ns} for this {recipe.kind} path under "
            f"{limits.max_velocity_per_s:g} fields/s and {limits.max_acceleration_per_s2:g} fields/s^2"
        )
