# SPDX-License-Identifier: BSD-3-Clause
"""The patterns, each a function of the image's shape and the dwell.

All positions are fractions of the context's frame. `limits` applies what coils and DAC allow: a path that steps from
pixel to pixel is joined by masked samples where it must be, a smooth one is refused with the dwell that it would need.
"""

from __future__ import annotations

import math
from typing import Literal

from probewise.errors import ConfigurationError
from probewise.scan.arguments import (
    MOST_NS,
    MOST_POINTS,
    check_integer,
    check_number,
    check_pair,
    check_points,
    check_shape,
    check_turns,
)
from probewise.scan.generated import Recipe
from probewise.scan.limits import check_dac_resolution, check_dwell, check_size, smooth_path, stepped_path
from probewise.types import Limits, RasterROI, Scan, ScanPath

MOST_LINES = (1 << 31) - 1
MOST_SEED = (1 << 64) - 1

PATTERNS = (
    "raster",
    "serpentine",
    "spiral",
    "archimedean",
    "fermat",
    "vogel",
    "hilbert",
    "lissajous",
    "jittered",
)


def raster(
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    centre_yx: tuple[float, float] = (0.5, 0.5),
    size_yx: tuple[float, float] = (1.0, 1.0),
    discard_lines: int = 0,
    flyback_ns: int | None = None,
    limits: Limits | None = None,
) -> RasterROI:
    """Line by line in one direction.

    shape          (rows, cols) pixels
    dwell_ns       per pixel
    discard_lines  scanned first and thrown away: above the first line where the frame has room, along it otherwise
    flyback_ns     per line; None is the least that `limits` allow, 0 without limits
    raises         ConfigurationError for what the limits forbid
    """
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    discard_lines = check_integer("discard_lines", discard_lines, 0, MOST_LINES)
    centre_yx, size_yx = check_pair("centre_yx", centre_yx), check_pair("size_yx", size_yx)
    if flyback_ns is not None:
        flyback_ns = check_integer("flyback_ns", flyback_ns, 0, MOST_NS)
    least_ns = 0 if limits is None else _flyback_ns(size_yx[1], limits)
    roi = RasterROI(
        shape=shape,
        dwell_ns=dwell_ns,
        centre_yx=centre_yx,
        size_yx=size_yx,
        discard_lines=discard_lines,
        flyback_ns=least_ns if flyback_ns is None else flyback_ns,
    )
    if limits is None:
        return roi
    if roi.flyback_ns < least_ns:
        raise ConfigurationError(f"flyback_ns is {roi.flyback_ns}, expected at least {least_ns}")
    check_size((shape[0] + discard_lines) * shape[1], limits)
    check_dac_resolution(shape, limits.dac_bits, size_yx=size_yx)
    speed_per_s = size_yx[1] / shape[1] / (dwell_ns * 1e-9)
    if speed_per_s > limits.max_velocity_per_s:
        raise ConfigurationError(
            f"dwell_ns is {dwell_ns}, a line at {speed_per_s:g} fields/s, "
            f"expected at most {limits.max_velocity_per_s:g} fields/s"
        )
    return roi


def serpentine(
    shape: tuple[int, int], dwell_ns: int, *, discard_lines: int = 0, limits: Limits | None = None
) -> ScanPath:
    """Line by line, forwards and backwards in turn; each pixel once. Discarded lines run along the first one."""
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    discard_lines = check_integer("discard_lines", discard_lines, 0, MOST_LINES)
    points = (shape[0] + discard_lines) * shape[1]
    return stepped_path(Recipe("serpentine", shape, points, float(discard_lines)), dwell_ns, limits)


def spiral(
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    kind: Literal["constant-velocity", "archimedean"] = "constant-velocity",
    points: int | None = None,
    turns: float | None = None,
    limits: Limits | None = None,
) -> ScanPath:
    """From the centre outwards at a constant distance between turns, within the inscribed circle.

    kind    "archimedean" turns at constant angular velocity (dose falls as 1/r); "constant-velocity" moves at constant
            speed outside a core, within which `limits` cap the angular velocity
    points  samples, as many as pixels by default
    turns   half the shorter side in pixels by default: turns are a pixel apart
    raises  ConfigurationError for what the limits forbid, with the dwell that would do
    source  Sang et al., Adv. Struct. Chem. Imaging 2 (2016) 6
    """
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    points, turns = check_points(points, shape), check_turns(turns, shape)
    if kind == "archimedean":
        return smooth_path(Recipe("archimedean", shape, points, turns), dwell_ns, limits)
    if kind != "constant-velocity":
        raise ValueError(f"kind is {kind!r}, expected constant-velocity or archimedean")
    cap = math.inf if limits is None else _angular_cap(points, turns, dwell_ns, limits)
    return smooth_path(Recipe("constant-velocity", shape, points, turns, cap), dwell_ns, limits)


def fermat(
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    kind: Literal["continuous", "vogel"] = "continuous",
    points: int | None = None,
    turns: float | None = None,
    limits: Limits | None = None,
) -> ScanPath:
    """A spiral of equal area, hence equal dose, per sample: radius as the square root of time.

    kind    "continuous" turns at constant angular velocity; "vogel" steps by the golden angle, 137.508 degrees, which
            spreads the samples most evenly and jumps across the field between them
    turns   of the continuous one, half the shorter side in pixels by default
    source  Vogel, Math. Biosci. 44 (1979) 179
    """
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    points = check_points(points, shape)
    if kind == "vogel":
        if turns is not None:
            raise ValueError(f"turns is {turns}, expected None for a golden-angle spiral")
        return stepped_path(Recipe("vogel", shape, points), dwell_ns, limits)
    if kind != "continuous":
        raise ValueError(f"kind is {kind!r}, expected continuous or vogel")
    return smooth_path(Recipe("fermat", shape, points, check_turns(turns, shape)), dwell_ns, limits)


def hilbert(shape: tuple[int, int], dwell_ns: int, *, limits: Limits | None = None) -> ScanPath:
    """The Hilbert curve: each pixel once, neighbours only. `shape` is a square, its side a power of two."""
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    return stepped_path(Recipe("hilbert", shape, shape[0] * shape[1]), dwell_ns, limits)


def lissajous(
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    cycles: tuple[int, int] | None = None,
    points: int | None = None,
    limits: Limits | None = None,
) -> ScanPath:
    """Sines along y and x.

    cycles  along (y, x), without a common divisor; half the rows and one more by default
    points  samples, as many as pixels by default
    """
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    along_y, along_x = (max(1, shape[0] // 2), max(1, shape[0] // 2) + 1) if cycles is None else _cycles(cycles)
    points = check_points(points, shape)
    return smooth_path(Recipe("lissajous", shape, points, along_y, along_x), dwell_ns, limits)


def jittered(
    shape: tuple[int, int], dwell_ns: int, *, jitter_px: float = 1.0, seed: int = 0, limits: Limits | None = None
) -> ScanPath:
    """Each pixel once, at a random place within the middle `jitter_px` of it, in serpentine order."""
    shape = check_shape(shape)
    check_dwell(dwell_ns, limits)
    jitter_px, seed = check_number("jitter_px", jitter_px), check_integer("seed", seed, 0, MOST_SEED)
    recipe = Recipe("jittered", shape, shape[0] * shape[1], jitter_px, 0.0, seed)
    return stepped_path(recipe, dwell_ns, limits)


def make_scan(
    name: str,
    shape: tuple[int, int],
    dwell_ns: int,
    *,
    limits: Limits | None = None,
    discard_lines: int = 0,
    seed: int = 0,
) -> Scan:
    """The scan that a configuration names, over the whole frame.

    name           one of PATTERNS
    discard_lines  of raster and serpentine; the other patterns have no lines that settling distorts
    seed           of jittered
    raises         ConfigurationError for an unknown name
    """
    match name:
        case "raster":
            return raster(shape, dwell_ns, discard_lines=discard_lines, limits=limits)
        case "serpentine":
            return serpentine(shape, dwell_ns, discard_lines=discard_lines, limits=limits)
        case "spiral":
            return spiral(shape, dwell_ns, limits=limits)
        case "archimedean":
            return spiral(shape, dwell_ns, kind="archimedean", limits=limits)
        case "fermat":
            return fermat(shape, dwell_ns, limits=limits)
        case "vogel":
            return fermat(shape, dwell_ns, kind="vogel", limits=limits)
        case "hilbert":
            return hilbert(shape, dwell_ns, limits=limits)
        case "lissajous":
            return lissajous(shape, dwell_ns, limits=limits)
        case "jittered":
            return jittered(shape, dwell_ns, seed=seed, limits=limits)
    raise ConfigurationError(f"path is {name!r}, expected one of {', '.join(PATTERNS)}")


def _cycles(cycles: object) -> tuple[int, int]:
    if not (isinstance(cycles, tuple) and len(cycles) == 2):
        raise TypeError(f"cycles is {cycles!r}, expected two integers (along y, along x)")
    along_y, along_x = (check_integer("cycles", value, 1, MOST_POINTS) for value in cycles)
    if math.gcd(along_y, along_x) != 1:
        raise ValueError(f"cycles is {cycles!r}, expected positive integers without a common divisor")
    return along_y, along_x


def _flyback_ns(width: float, limits: Limits) -> int:
    """Fastest move from rest to rest over a line's width, settling included, or the instrument's own flyback."""
    speed, acceleration = limits.max_velocity_per_s, limits.max_acceleration_per_s2
    if math.isinf(acceleration):
        travel_s = width / speed
    elif width * acceleration >= speed**2:
        travel_s = width / speed + speed / acceleration
    else:
        travel_s = 2 * math.sqrt(width / acceleration)
    return max(limits.flyback_ns, math.ceil(travel_s * 1e9) + (limits.settle_ns if travel_s > 0 else 0))


def _angular_cap(points: int, turns: float, dwell_ns: int, limits: Limits) -> float:
    """Largest angular velocity of the core, in turns per pattern, that the coils allow; at least `turns`.

    With r = b theta and theta theta' = k outside the core, |a| = b theta'^2 sqrt((theta + 1/theta)^2 + 1) falls with
    theta; in the core |a| = b omega^2 sqrt(theta^2 + 4) and |v| = b omega sqrt(1 + theta^2) grow with it, so that
    both peak where core and shell meet.
    """
    duration_s = points * dwell_ns * 1e-9
    pitch = 0.5 / (2 * math.pi * turns)

    def allowed(cap: float) -> bool:
        ratio = turns / cap
        omega = 2 * math.pi * cap / duration_s
        theta = 2 * math.pi * turns * ratio / (1 + math.sqrt(1 - ratio * ratio))
        speed = pitch * omega * math.hypot(1, theta)
        bend = pitch * omega**2 * max(math.hypot(theta, 2), math.hypot(theta + 1 / theta, 1))
        return speed <= limits.max_velocity_per_s and bend <= limits.max_acceleration_per_s2

    if math.isinf(limits.max_velocity_per_s) and math.isinf(limits.max_acceleration_per_s2):
        return math.inf
    low, high = turns, turns * points  # one turn a sample is as good as no cap
    if allowed(high):
        return high
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
