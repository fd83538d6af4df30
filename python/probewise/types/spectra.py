# SPDX-License-Identifier: BSD-3-Clause
"""Spectra at the pixels of a scan, and the instruments that measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from probewise.shown import Shown, axes_or_new
from probewise.types.arrays import Float32Array, FloatArray
from probewise.types.instruments import Armed, Frame
from probewise.types.scans import Context, RasterROI

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Shown):
    """What one scan with a spectrometer gave.

    counts     (rows, cols, energies) float32
    energy_eV  (energies,) float64 centres of the channels, rising
    frame      of the detectors, in the same scan
    """

    counts: Float32Array
    energy_eV: FloatArray
    frame: Frame

    @property
    def total(self) -> FloatArray:
        """(energies,) sum over the pixels."""
        return np.asarray(self.counts.sum(axis=(0, 1), dtype=np.float64))

    def share(self, low_eV: float, high_eV: float) -> float:
        """Counts from low to high, of all counts; NaN without any."""
        total = self.total
        window = (self.energy_eV >= low_eV) & (self.energy_eV <= high_eV)
        whole = float(total.sum())
        return float(total[window].sum()) / whole if whole > 0 else float("nan")

    def plot(self, *, axes: Axes | None = None) -> Axes:
        """Draw the sum over the pixels; returns the axes."""
        axes = axes_or_new(axes)
        axes.plot(self.energy_eV, self.total)
        axes.set(xlabel="energy loss, eV", ylabel="counts")
        return axes

    def _facts(self) -> dict[str, str]:
        rows, cols, energies = self.counts.shape
        return {
            "shape": f"{rows} x {cols} x {energies}",
            "energy_eV": f"{self.energy_eV[0]:.4g} to {self.energy_eV[-1]:.4g}",
            "duration_s": f"{self.frame.duration_ns * 1e-9:.4g}",
        }


@runtime_checkable
class SpectrumInstrument(Protocol):
    """An instrument that also measures spectra; on its owner thread, as the verbs of `Instrument`."""

    def arm_spectrum(self, scan: RasterROI, context: Context, *, channels: Sequence[str]) -> Armed:
        """As `arm`, `dwell_ns` being the exposure of one spectrum: what will be executed, the beam does not move."""
        ...

    def measure_spectrum(self, armed: Armed, *, timeout_s: float) -> Spectrum:
        """Scan and read, in one call that `abort` ends; ScanError after making the beam safe."""
        ...
