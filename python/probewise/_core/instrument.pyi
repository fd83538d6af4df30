# SPDX-License-Identifier: BSD-3-Clause
"""Compiled part of the room; see the Python wrappers for shapes, units and errors. Lengths in nm, pairs (y, x)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from probewise.types import Float32Array, FloatArray, IntArray

_Pair = tuple[float, float]

class Specimen:
    def __init__(self, seed: int) -> None: ...
    def add_lattice(
        self,
        origin: _Pair,
        a: _Pair,
        b: _Pair,
        columns: FloatArray,
        *,
        region: str = "everywhere",
        blob: int = -1,
        normal: _Pair = (0.0, 0.0),
        band_origin: _Pair = (0.0, 0.0),
        low: float = 0.0,
        high: float = 0.0,
        margin: float = 0.0,
        dome: bool = False,
    ) -> int: ...
    def add_blob(
        self, centre: _Pair, radius: float, ripple: float = 0.0, fold: float = 4.0, phase: float = 0.0
    ) -> int: ...
    def substitute(self, lattice: int, i: int, j: int, column: int, species: int) -> None: ...
    def add_domain(self, at: _Pair, displacement: _Pair) -> None: ...
    def add_patch(self, kind: str, centre: _Pair, radius: float, amount: float = 0.0, edge: float = 0.0) -> None: ...
    def set_wall_width(self, width: float) -> None: ...
    def set_mistilt(self, at_origin: _Pair, per_y: _Pair, per_x: _Pair) -> None: ...
    def atoms(self, box: Sequence[float]) -> tuple[FloatArray, npt.NDArray[np.int32], Float32Array]: ...

class Distortions:
    jitter_nm: _Pair
    mains_nm: _Pair
    scale: _Pair
    drift_nm_per_s: _Pair
    jumps: list[tuple[int, _Pair]]
    settle: Sequence[_Pair]
    slot_ns: float
    mains_hz: float
    shear: float
    flicker_rms: float
    flicker_ns: float
    contamination_per_s: float
    def __init__(self) -> None: ...

class Detector:
    noise: bool
    quantise: bool
    excess_variance: float
    gain: float
    offset: float
    read_noise: float
    afterglow_share: float
    afterglow_ns: float
    saturation: float
    def __init__(self) -> None: ...

class Field:
    def __init__(self, fov: _Pair, centre: _Pair, rotation: float) -> None: ...

class Raster:
    def __init__(
        self,
        rows: int,
        cols: int,
        discard_lines: int,
        dwell_ns: int,
        flyback_ns: int,
        centre: _Pair,
        size: _Pair,
    ) -> None: ...

class Microscope:
    def __init__(
        self,
        specimen: Specimen,
        tables: Float32Array,
        *,
        reach_nm: float,
        focus_step_nm: float,
        defocus_nm: float,
        slope: _Pair,
        centre: _Pair,
        distortions: Distortions,
        detector: Detector,
        seed: int,
    ) -> None: ...
    def raster(
        self,
        raster: Raster,
        field: Field,
        sequence: int,
        clock_ns: int,
        electrons_per_ns: float,
        out: Float32Array,
    ) -> None: ...
    def path(
        self,
        yx: FloatArray,
        dwell_ns: IntArray,
        field: Field,
        sequence: int,
        clock_ns: int,
        electrons_per_ns: float,
        out: Float32Array,
    ) -> None: ...
    def raster_positions(self, raster: Raster, field: Field, sequence: int, clock_ns: int) -> FloatArray: ...
    def path_positions(
        self, yx: FloatArray, dwell_ns: IntArray, field: Field, sequence: int, clock_ns: int
    ) -> FloatArray: ...
