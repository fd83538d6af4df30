# SPDX-License-Identifier: BSD-3-Clause
"""A microscope that fails on request, and measures spectra: a line at 20 eV, stronger where the bump is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fakes import FakeInstrument
from probewise.types import Armed, Context, Frame, RasterROI, Spectrum
from tiny_experiment import bump

ENERGY_EV = np.arange(-20.0, 60.0, 2.0)
FLYBACK_EXPOSURES = 2


class FakeSpectrometer(FakeInstrument):
    """`spoil(spectrum)` is what comes instead of each spectrum."""

    def __init__(self, *arguments: Any, spoil: Callable[[Spectrum], Spectrum] | None = None, **options: Any) -> None:
        super().__init__(*arguments, counts=bump, **options)
        self.spoil = spoil

    def arm_spectrum(self, scan: RasterROI, context: Context, *, channels: Sequence[str]) -> Armed:
        return self.arm(replace(scan, flyback_ns=FLYBACK_EXPOSURES * scan.dwell_ns), context, channels=channels)

    def measure_spectrum(self, armed: Armed, *, timeout_s: float) -> Spectrum:
        self.start(armed)
        frame: Frame = self.read_into(
            armed, np.empty((len(armed.channels), armed.scan.shape[0] * armed.scan.shape[1]), "f4"), timeout_s=timeout_s
        )
        line = np.exp(-(((ENERGY_EV - 20.0) / 4.0) ** 2) / 2)
        counts = (100.0 + frame.image()[:, :, None] * line).astype(np.float32)
        spectrum = Spectrum(counts, ENERGY_EV, frame)
        return spectrum if self.spoil is None else self.spoil(spectrum)
