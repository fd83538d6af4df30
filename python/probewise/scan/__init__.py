# SPDX-License-Identifier: BSD-3-Clause
"""Where the probe goes, in which order and how fast: compiled patterns, coil limits, travel order."""

from probewise.scan.limits import check_dac_resolution as check_dac_resolution
from probewise.scan.lists import ordered as ordered
from probewise.scan.lists import tour as tour
from probewise.scan.patterns import PATTERNS as PATTERNS
from probewise.scan.patterns import fermat as fermat
from probewise.scan.patterns import hilbert as hilbert
from probewise.scan.patterns import jittered as jittered
from probewise.scan.patterns import lissajous as lissajous
from probewise.scan.patterns import make_scan as make_scan
from probewise.scan.patterns import raster as raster
from probewise.scan.patterns import serpentine as serpentine
from probewise.scan.patterns import spiral as spiral

__all__ = [
    "PATTERNS",
    "check_dac_resolution",
    "fermat",
    "hilbert",
    "jittered",
    "lissajous",
    "make_scan",
    "ordered",
    "raster",
    "serpentine",
    "spiral",
    "tour",
]
