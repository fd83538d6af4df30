# SPDX-License-Identifier: BSD-3-Clause
"""Scans, contexts and limits as the plain dictionaries of `probewise_agent.driver`, and back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from probewise.errors import InstrumentError
from probewise.types import Capability, Context, Limits, RasterROI, Scan, ScanPath


def plain_scan(scan: Scan) -> dict[str, Any]:
    """raises  TypeError for a scan of another type"""
    if isinstance(scan, RasterROI):
        return {
            "kind": "raster",
            "shape": [int(side) for side in scan.shape],
            "dwell_ns": int(scan.dwell_ns),
            "centre_yx": [float(value) for value in scan.centre_yx],
            "size_yx": [float(value) for value in scan.size_yx],
            "discard_lines": int(scan.discard_lines),
            "flyback_ns": int(scan.flyback_ns),
        }
    if isinstance(scan, ScanPath):
        return {
            "kind": "path",
            "yx": np.ascontiguousarray(scan.yx),
            "dwell_ns": np.ascontiguousarray(scan.dwell_ns),
            "active": np.ascontiguousarray(scan.active),
            "pixel": np.ascontiguousarray(scan.pixel),
            "shape": [int(side) for side in scan.shape],
        }
    raise TypeError(f"scan is a {type(scan).__name__}, expected RasterROI or ScanPath")


def typed_scan(plain: dict[str, Any]) -> Scan:
    """raises  ValueError, KeyError or TypeError for anything but a scan"""
    rows, cols = plain["shape"]
    if plain["kind"] == "path":
        return ScanPath(plain["yx"], plain["dwell_ns"], plain["active"], plain["pixel"], (rows, cols))
    if plain["kind"] != "raster":
        raise ValueError(f"kind is {plain['kind']!r}, expected raster or path")
    centre_y, centre_x = plain["centre_yx"]
    height, width = plain["size_yx"]
    return RasterROI(
        shape=(rows, cols),
        dwell_ns=plain["dwell_ns"],
        centre_yx=(centre_y, centre_x),
        size_yx=(height, width),
        discard_lines=plain["discard_lines"],
        flyback_ns=plain["flyback_ns"],
    )


def plain_context(context: Context) -> dict[str, Any]:
    return {
        "fov_nm": [float(side) for side in context.fov_nm],
        "shift_nm": [float(value) for value in context.shift_nm],
        "rotation_rad": float(context.rotation_rad),
    }


def typed_context(plain: dict[str, Any]) -> Context:
    """raises  ValueError, KeyError or TypeError for anything but a context"""
    fov_y, fov_x = plain["fov_nm"]
    shift_y, shift_x = plain["shift_nm"]
    return Context((fov_y, fov_x), (shift_y, shift_x), plain["rotation_rad"])


def plain_description(capability: Capability, limits: Limits) -> dict[str, Any]:
    """Capabilities and limits as a driver's `describe` gives them; infinite limits are left out."""
    values = {field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)}
    finite = {name: value for name, value in values.items() if not (isinstance(value, float) and math.isinf(value))}
    return {
        "capabilities": [str(flag.name) for flag in capability],
        "limits": {**finite, "channels": list(limits.channels)},
    }


def typed_description(plain: dict[str, Any]) -> tuple[Capability, Limits]:
    """What a driver's `describe` gave; fields of Limits that it leaves out have their default.

    raises  InstrumentError naming what is wrong with it: a driver is not the caller's argument
    """
    try:
        capability = Capability.NONE
        for name in plain["capabilities"]:
            capability |= Capability[name]
        given = dict(plain["limits"])
    except (KeyError, TypeError, ValueError) as error:
        raise InstrumentError(f"describe gave {plain!r}: {type(error).__name__} {error}") from error
    known = {field.name: field.default for field in dataclasses.fields(Limits)}
    for name, value in given.items():
        if name not in known:
            raise InstrumentError(f"describe gave the limit {name!r}, expected names from {', '.join(known)}")
        if name == "channels":
            good = bool(value) and all(isinstance(channel, str) for channel in value) and not isinstance(value, str)
        else:
            kinds = int if isinstance(known[name], int) else (int, float)
            good = isinstance(value, kinds) and not isinstance(value, bool) and value >= 0  # also refuses NaN
        if not good:
            raise InstrumentError(f"describe gave {name} = {value!r}, expected what Limits.{name} holds")
    if "channels" in given:
        given["channels"] = tuple(given["channels"])
    return capability, Limits(**given)
