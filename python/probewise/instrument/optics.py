# SPDX-License-Identifier: BSD-3-Clause
"""Absolute annular dark-field signal of one atom under a focused probe, as a radial table.

Incoherent imaging: the fraction of the electrons scattered to the detector is the convolution of the probe's
intensity with an object function of each atom. In Fourier space (Q in 1/nm) it is the product of
  the aperture's autocorrelation with the defocus phase     (aberration-free pupil of one convergence angle)
  O_Z(Q) = gamma^2 lambda^2 < int_detector f(g - k - Q/2) f(g - k + Q/2) d^2g >, averaged over the directions k of
  the illuminating cone; O_Z(0) is the elastic cross-section sigma_Z
  Gaussians of the effective source and of the thermal vibration.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probewise.types import Float32Array, FloatArray

REACH_NM = 0.45  # the Airy tail beyond it is cut: about 5 % of the signal at best focus
TABLE_STEPS = 2048
FOCUS_STEP_NM = 0.5
FOCUS_MAX_NM = 12.0


def wavelength_A(voltage_kV: float) -> float:
    """Relativistic electron wavelength in angstrom."""
    energy = voltage_kV * 1e3
    return 12.2642596 / math.sqrt(energy * (1 + 0.978475598e-6 * energy))


def lorentz_factor(voltage_kV: float) -> float:
    return 1 + voltage_kV / 510.99895


@functools.cache
def _parameters() -> dict[int, FloatArray]:
    table = json.loads(Path(__file__).with_name("scattering_factors.json").read_text(encoding="utf-8"))
    return {int(number): np.array(rows) for number, rows in table["a_b_of_Z"].items()}


def scattering_factor_A(atomic_number: int, g2: FloatArray) -> FloatArray:
    """First-Born electron scattering factor in angstrom at squared spatial frequency g2 (1/A^2); any shape.

    source  Lobato and Van Dyck, Acta Cryst. A 70 (2014) 636
    raises  ValueError for an element that is not tabulated
    """
    table = _parameters()
    if atomic_number not in table:
        raise ValueError(f"atomic_number is {atomic_number}, expected one of {sorted(table)}")
    amplitude, width = table[atomic_number]
    scaled = 1 + width * np.asarray(g2, dtype=np.float64)[..., None]
    return np.asarray((amplitude * (1 + scaled) / scaled**2).sum(axis=-1))


def cross_section_A2(
    atomic_number: int, voltage_kV: float, detector_mrad: tuple[float, float], convergence_mrad: float = 0.0
) -> float:
    """Elastic cross-section into an annular detector (inner, outer) in mrad, square angstrom.

    convergence_mrad  half-angle of the illuminating cone: 0 is a parallel beam. A cone scatters more (28 % for
                      carbon at 60 kV, 32 mrad, 54 to 200 mrad), its edge being nearer to the detector's.
    """
    aperture = convergence_mrad * 1e-3 / wavelength_A(voltage_kV)
    return float(_object_function(atomic_number, voltage_kV, detector_mrad, aperture, np.zeros(1))[0])


def _object_function(
    atomic_number: int,
    voltage_kV: float,
    detector_mrad: tuple[float, float],
    aperture_per_A: float,
    frequency_per_A: FloatArray,
) -> FloatArray:
    """O_Z(Q) in A^2 at each frequency Q (1/A), averaged over the directions k in the overlap of both discs."""
    wavelength = wavelength_A(voltage_kV)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    log_inner, log_outer = np.log(np.array(detector_mrad) * 1e-3 / wavelength)
    g = np.exp(log_inner + (nodes + 1) / 2 * (log_outer - log_inner))
    ring_weights = weights * (log_outer - log_inner) / 2 * g * g
    angle = (np.arange(32) + 0.5) * math.pi / 16
    detector = g[:, None] * np.stack([np.cos(angle), np.sin(angle)])[:, None, :]
    lens, lens_weights = np.polynomial.legendre.leggauss(8)
    out = np.empty(len(frequency_per_A))
    for index, frequency in enumerate(frequency_per_A):
        along = max(aperture_per_A - frequency / 2, 0.0) * lens
        height = np.sqrt(np.maximum(aperture_per_A**2 - (np.abs(along) + frequency / 2) ** 2, 0.0))
        total = norm = 0.0
        for u, half, weight in zip(along, height, lens_weights, strict=True):
            share = weight * (half if aperture_per_A > 0 and half > 0 else 1.0)
            for v, cross_weight in zip(half * lens[4:], lens_weights[4:], strict=True):  # even in v
                across2 = (detector[1] - v) ** 2
                low = scattering_factor_A(atomic_number, (detector[0] - u - frequency / 2) ** 2 + across2)
                high = scattering_factor_A(atomic_number, (detector[0] - u + frequency / 2) ** 2 + across2)
                total += share * cross_weight * float(ring_weights @ (low * high).mean(axis=1))
                norm += share * cross_weight
        out[index] = 2 * math.pi * total / norm
    return (lorentz_factor(voltage_kV) * wavelength) ** 2 * out


@functools.lru_cache(maxsize=64)
def _object_series(
    atomic_number: int, voltage_kV: float, detector_mrad: tuple[float, float], aperture_per_A: float
) -> tuple[float, ...]:
    """Polynomial in Q / cutoff through O_Z(Q): smooth, so that nine points give it to about 1e-3 of O_Z(0)."""
    nodes = (1 - np.cos((np.arange(9) + 0.5) * math.pi / 9)) / 2
    values = _object_function(atomic_number, voltage_kV, detector_mrad, aperture_per_A, nodes * 2 * aperture_per_A)
    return tuple(np.polynomial.polynomial.polyfit(nodes, values, 6))


@dataclass(frozen=True)
class Probe:
    """The focused probe and the detector's angles.

    convergence_mrad   half-angle of the aperture
    source_fwhm_nm     effective source size (Gaussian, demagnified source and fast instabilities)
    thermal_rms_nm     rms vibration of an atom along one axis, the same for all elements
    defocus_nm         at the field's centre
    """

    voltage_kV: float = 60.0
    convergence_mrad: float = 32.0
    detector_mrad: tuple[float, float] = (54.0, 200.0)
    source_fwhm_nm: float = 0.07
    thermal_rms_nm: float = 0.006
    defocus_nm: float = 0.0

    def __post_init__(self) -> None:
        for name in ("voltage_kV", "convergence_mrad"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, expected a positive finite number")
        for name in ("source_fwhm_nm", "thermal_rms_nm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}, expected a finite number of at least 0")
        if not abs(self.defocus_nm) <= FOCUS_MAX_NM:
            raise ValueError(f"defocus_nm is {self.defocus_nm}, expected within +-{FOCUS_MAX_NM}")
        inner, outer = self.detector_mrad
        if not (math.isfinite(outer) and 0 < inner < outer):
            raise ValueError(f"detector_mrad is {self.detector_mrad}, expected 0 < inner < outer")

    @property
    def area_nm2(self) -> float:
        """Area of the disc as wide as the probe's full width at half maximum: for the dose."""
        airy = 0.515 * wavelength_A(self.voltage_kV) / self.convergence_mrad * 100
        return math.pi / 4 * (airy**2 + self.source_fwhm_nm**2)


def focus_levels(focus_range_nm: float) -> FloatArray:
    """The defocus values (nm, at least 0) that tables are made for; the profile is even in defocus."""
    return np.float64(FOCUS_STEP_NM) * np.arange(
        math.ceil(min(focus_range_nm, FOCUS_MAX_NM) / FOCUS_STEP_NM - 1e-9) + 1
    )


def _aperture_transfer(probe: Probe, frequency_per_A: FloatArray, defocus_nm: FloatArray) -> FloatArray:
    """Autocorrelation of the defocused pupil, (defocus, frequency), 1 at zero frequency.

    Pupil points k +- Q/2 differ in phase by 2 pi lambda defocus k.Q: the lens-shaped overlap is integrated along Q.
    """
    wavelength = wavelength_A(probe.voltage_kV)
    radius = probe.convergence_mrad * 1e-3 / wavelength
    nodes, weights = np.polynomial.legendre.leggauss(48)
    edge = np.maximum(radius - frequency_per_A / 2, 0.0)
    along = edge[:, None] * nodes
    height = 2 * np.sqrt(np.maximum(radius**2 - (np.abs(along) + frequency_per_A[:, None] / 2) ** 2, 0.0))
    phase = 2 * math.pi * wavelength * 10 * defocus_nm[:, None, None] * frequency_per_A[:, None] * along
    return np.asarray((np.cos(phase) * height * weights).sum(axis=2) * edge / (math.pi * radius**2))


@functools.lru_cache(maxsize=16)
def profile_tables(
    probe: Probe, species: tuple[tuple[tuple[int, float], ...], ...], focus_range_nm: float
) -> Float32Array:
    """Scattered fraction around one column: (species, levels, TABLE_STEPS + 2) float32 over squared distance.

    species  for each, pairs (atomic number, atoms in the column)
    Entry i lies at squared distance i / TABLE_STEPS * REACH_NM^2; the last two are 0. What defocus pushes out of the
    disc is spread evenly over it, so that the mean over a specimen does not depend on defocus. The tail that is cut
    at best focus stays out: neighbours interfere, and multislice of graphene has a mean 7 % below the whole
    incoherent sum but 2 % below that of the cut profiles (tests/instrument/test_multislice.py).
    """
    wavelength = wavelength_A(probe.voltage_kV)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    cutoff = 2 * probe.convergence_mrad * 1e-3 / wavelength
    frequency = (nodes + 1) / 2 * cutoff
    smear = (probe.source_fwhm_nm * 10 / math.sqrt(8 * math.log(2))) ** 2 + (probe.thermal_rms_nm * 10) ** 2
    transfer = _aperture_transfer(probe, frequency, focus_levels(focus_range_nm))
    transfer = transfer * np.exp(-2 * math.pi**2 * smear * frequency**2)
    radius = np.sqrt(np.arange(TABLE_STEPS) / TABLE_STEPS) * REACH_NM * 10
    kernel = _bessel_j0(2 * math.pi * np.outer(radius, frequency)) * (2 * math.pi * frequency * weights * cutoff / 2)
    numbers = sorted({number for column in species for number, _ in column})
    series = {n: _object_series(n, probe.voltage_kV, probe.detector_mrad, cutoff / 2) for n in numbers}
    sections = {n: np.polynomial.polynomial.polyval(frequency / cutoff, np.array(series[n])) for n in numbers}
    out = np.zeros((len(species), transfer.shape[0], TABLE_STEPS + 2), dtype=np.float32)
    area = math.pi * (REACH_NM * 10) ** 2
    for index, column in enumerate(species):
        object_function = sum((sections[n] * count for n, count in column), np.zeros_like(frequency))
        profile = (transfer * object_function) @ kernel.T
        held = (profile.mean(axis=1) - profile[:, 0] / (2 * TABLE_STEPS)) * area  # uniform in squared distance
        out[index, :, :TABLE_STEPS] = profile + ((held[0] - held) / area)[:, None]
    return out


def _bessel_j0(x: FloatArray) -> FloatArray:
    """Bessel J0 by its integral over half a period (trapezoid: exponentially convergent), for x up to about 150."""
    count = 24 + math.ceil(float(x.max()) / 2)
    total = np.zeros_like(x)
    for angle in (np.arange(count) + 0.5) * (math.pi / 2 / count):
        total += np.cos(x * math.sin(angle))
    return total / count
