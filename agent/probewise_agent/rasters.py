# SPDX-License-Identifier: BSD-3-Clause
"""What every driver of a vendor that scans rectangles refuses, and where a rectangle lies."""

from __future__ import annotations

import math
from typing import Any, Sequence

EDGE = 1e-9  # of the frame


def check_raster(
    scan: dict[str, Any], context: dict[str, Any], channels: Sequence[str], limits: dict[str, Any], rotates: bool
) -> None:
    """raises  ValueError naming the field, what came and what was expected"""
    if scan["kind"] != "raster":
        raise ValueError("scan is a list of positions, expected a raster: the vendor scans rectangles only")
    known = limits["channels"]
    if not channels or len(set(channels)) != len(channels) or not set(channels) <= set(known):
        raise ValueError(f"channels is {list(channels)}, expected some of {', '.join(known)}, each once")
    rows, cols = scan["shape"]
    samples = (rows + scan["discard_lines"]) * cols
    if not 1 <= samples <= limits["max_points"]:
        raise ValueError(f"shape is {(rows, cols)}, {samples} samples, expected 1 to {limits['max_points']}")
    _check_dwell(scan["dwell_ns"], limits)
    if scan["flyback_ns"] != limits["flyback_ns"]:
        raise ValueError(f"flyback_ns is {scan['flyback_ns']}, expected {limits['flyback_ns']}: the vendor sets it")
    for centre, size in zip(scan["centre_yx"], scan["size_yx"]):
        if not (size > 0 and centre - size / 2 >= -EDGE and centre + size / 2 <= 1 + EDGE):  # also refuses NaN
            raise ValueError(
                f"centre_yx {scan['centre_yx']} with size_yx {scan['size_yx']} leaves the frame, expected within 0..1"
            )
    for side in context["fov_nm"]:
        if not 0 < side <= limits["max_fov_nm"]:
            raise ValueError(f"fov_nm is {context['fov_nm']}, expected above 0 and at most {limits['max_fov_nm']:g}")
    if not all(math.isfinite(value) for value in (*context["shift_nm"], context["rotation_rad"])):
        raise ValueError(
            f"shift_nm is {context['shift_nm']}, rotation_rad {context['rotation_rad']}, expected finite numbers"
        )
    if context["rotation_rad"] != 0 and not rotates:
        raise ValueError(f"rotation_rad is {context['rotation_rad']}, expected 0: this driver does not rotate scans")


def _check_dwell(dwell_ns: int, limits: dict[str, Any]) -> None:
    least, most, step = limits["dwell_min_ns"], limits["dwell_max_ns"], limits["dwell_step_ns"]
    if not least <= dwell_ns <= most or dwell_ns % step:
        raise ValueError(f"dwell_ns is {dwell_ns}, expected {least} to {most} in steps of {step}")


def check_park(yx: Sequence[float]) -> None:
    if not all(0 <= value <= 1 for value in yx):
        raise ValueError(f"yx is {tuple(yx)}, expected fractions of the survey field from 0 to 1")


def pixel_nm(scan: dict[str, Any], context: dict[str, Any]) -> tuple[float, float]:
    """(y, x) size of a pixel."""
    y, x = (fov * size / count for fov, size, count in zip(context["fov_nm"], scan["size_yx"], scan["shape"]))
    return y, x


def turned(yx: tuple[float, float], angle: float) -> tuple[float, float]:
    """A vector turned as a context's rotation_rad turns its field."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * yx[0] - sine * yx[1], sine * yx[0] + cosine * yx[1]


def centre_nm(scan: dict[str, Any], context: dict[str, Any]) -> tuple[float, float]:
    """(y, x) of the rectangle's centre from the centre of the survey field."""
    y, x = ((centre - 0.5) * fov for centre, fov in zip(scan["centre_yx"], context["fov_nm"]))
    moved = turned((y, x), context["rotation_rad"])
    return moved[0] + context["shift_nm"][0], moved[1] + context["shift_nm"][1]


def check_inside(scan: dict[str, Any], context: dict[str, Any], survey_nm: tuple[float, float]) -> None:
    """raises  ValueError when the rectangle, turned as its context says, leaves the survey field"""
    half = [length * count / 2 for length, count in zip(pixel_nm(scan, context), scan["shape"])]
    cosine, sine = abs(math.cos(context["rotation_rad"])), abs(math.sin(context["rotation_rad"]))
    reach = (cosine * half[0] + sine * half[1], sine * half[0] + cosine * half[1])
    for name, centre, extent, side in zip("yx", centre_nm(scan, context), reach, survey_nm):
        if abs(centre) + extent > side / 2 * (1 + EDGE):
            raise ValueError(
                f"the rectangle reaches {abs(centre) + extent:g} nm in {name} from the centre of the survey field, "
                f"expected at most {side / 2:g} nm"
            )


def duration_ns(scan: dict[str, Any]) -> int:
    rows, cols = scan["shape"]
    lines: int = rows + scan["discard_lines"]
    line_ns: int = cols * scan["dwell_ns"] + scan["flyback_ns"]
    return lines * line_ns
