# SPDX-License-Identifier: BSD-3-Clause
"""What the simulated microscope's scan and detector do besides obeying; where the defaults come from is in
docs/simulation.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


def _require_finite(owner: object, names: Sequence[str], low: float, expected: str) -> None:
    for name in names:
        value = getattr(owner, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not (math.isfinite(number) and number >= low):
                raise ValueError(f"{name} is {value}, expected {expected}")


@dataclass(frozen=True)
class Distortions:
    """What the scan does besides obeying. Zero switches an effect off; pairs are (y, x).

    line_jitter_nm             rms offset of each line; of each millisecond of a vector path
    settle_share, settle_us    share of every move still to be done when it is commanded, and its decay: flyback lag
    slow_share, slow_us        the same, slower: bends the first lines after a jump
    mains_nm, mains_hz         amplitude of a sine locked to the instrument's clock
    scale_error                relative, of the scan's sides
    shear_deg                  x moves with y
    drift_nm_per_min           of the probe over the specimen, which moves the other way
    jumps                      (seconds on the instrument's clock, y, x nm): the same, all at once
    tilt_deg                   of the specimen about the x and the y axis: defocus changes over the field
    flicker_rms                of the beam current, band-limited to flicker_ms
    contamination_per_min      carbon atoms per nm^2 that beam time adds everywhere
    """

    line_jitter_nm: tuple[float, float] = (0.002, 0.004)
    settle_share: float = 0.005
    settle_us: float = 25.0
    slow_share: float = 0.002
    slow_us: float = 1500.0
    mains_nm: tuple[float, float] = (0.002, 0.004)
    mains_hz: float = 50.0
    scale_error: tuple[float, float] = (-0.01, 0.015)
    shear_deg: float = 0.5
    drift_nm_per_min: tuple[float, float] = (0.2, 0.3)
    tilt_deg: tuple[float, float] = (1.0, 0.5)
    flicker_rms: float = 0.01
    flicker_ms: float = 5.0
    contamination_per_min: float = 2.0
    jumps: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        _require_finite(
            self,
            ("line_jitter_nm", "mains_nm", "mains_hz", "flicker_rms", "contamination_per_min"),
            0.0,
            "finite numbers of at least 0",
        )
        _require_finite(self, ("settle_us", "slow_us", "flicker_ms"), 1e-6, "a positive finite number")
        _require_finite(self, ("drift_nm_per_min",), -math.inf, "finite numbers")
        for name, low, high in (
            ("settle_share", 0.0, 0.5),
            ("slow_share", 0.0, 0.5),
            ("scale_error", -0.2, 0.2),
            ("shear_deg", -10.0, 10.0),
            ("tilt_deg", -10.0, 10.0),
        ):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    raise ValueError(f"{name} is {value}, expected {low:g} to {high:g}")
        for jump in self.jumps:
            if not (all(math.isfinite(number) for number in jump) and 0 <= jump[0] < 1e9):
                raise ValueError(f"jumps holds {jump}, expected finite (seconds from 0 to 1e9, y nm, x nm)")
        if any(later[0] < jump[0] for jump, later in itertools.pairwise(self.jumps)):
            raise ValueError(f"jumps is {self.jumps}, expected them in the order of time")

    def drift_nm(self, clock_ns: int) -> tuple[float, float]:
        """(y, x) that drift and jumps have moved the probe over the specimen at a time of the instrument's clock."""
        gone = [jump for jump in self.jumps if round(jump[0] * 1e9) <= clock_ns]
        minutes = clock_ns / 6e10
        y, x = (rate * minutes + sum(jump[axis] for jump in gone) for axis, rate in enumerate(self.drift_nm_per_min, 1))
        return (y, x)

    @classmethod
    def none(cls) -> Distortions:
        """A perfect scan."""
        zero = (0.0, 0.0)
        return cls(zero, 0.0, 25.0, 0.0, 1500.0, zero, 50.0, zero, 0.0, zero, zero, 0.0, 5.0, 0.0)


@dataclass(frozen=True)
class Detector:
    """From electrons to counts: gain * (Poisson electrons with pulse-height spread) + offset + read noise.

    noise            False gives the expected counts
    excess_variance  of the pulse heights: variance of n electrons is n (1 + excess_variance)
    gain             counts per electron
    offset, read_noise  counts
    afterglow_share, afterglow_ns  light released late, and how late
    quantise         whole counts of at least 0
    saturation       counts; None for none
    """

    noise: bool = True
    excess_variance: float = 0.2
    gain: float = 10.0
    offset: float = 100.0
    read_noise: float = 3.0
    afterglow_share: float = 0.01
    afterglow_ns: float = 3000.0
    quantise: bool = True
    saturation: float | None = 65535.0

    def __post_init__(self) -> None:
        _require_finite(self, ("excess_variance", "offset", "read_noise"), 0.0, "a finite number of at least 0")
        _require_finite(self, ("gain", "afterglow_ns"), 1e-12, "a positive finite number")
        if not 0 <= self.afterglow_share <= 0.5:
            raise ValueError(f"afterglow_share is {self.afterglow_share}, expected 0 to 0.5")
        if self.saturation is not None and not self.saturation > 0:
            raise ValueError(f"saturation is {self.saturation}, expected a positive number or None")

    @classmethod
    def ideal(cls) -> Detector:
        """Expected electrons: no noise, offset or quantisation, one count per electron."""
        return cls(False, 0.0, 1.0, 0.0, 0.0, 0.0, 3000.0, False, None)
