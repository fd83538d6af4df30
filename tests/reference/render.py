# SPDX-License-Identifier: BSD-3-Clause
"""Slow readable oracles of the renderer: a direct sum over atoms, and one atom's image by Fourier transform."""

import numpy as np


def direct_sum(points_yx, atoms_yx, species, weight, tables, reach_nm):
    """Scattered fraction at points (n, 2): float64 sum over all atoms of the tabulated profile, best focus."""
    steps = tables.shape[2] - 2
    out = np.zeros(len(points_yx))
    for k, point in enumerate(points_yx):
        squared = ((atoms_yx - point) ** 2).sum(axis=1) / reach_nm**2 * steps
        near = squared < steps
        whole = squared[near].astype(int)
        rows = tables[species[near], 0].astype(np.float64)
        index = np.arange(near.sum())
        low, high = rows[index, whole], rows[index, whole + 1]
        out[k] = (weight[near] * (low + (squared[near] - whole) * (high - low))).sum()
    return out


def born_signal(scattering_factor, convergence_mrad, detector_mrad, wavelength_A, gamma, defocus_nm, radii_A):
    """Fraction scattered to the detector by one atom at each distance from a point-source probe, first Born order.

    scattering_factor  of the squared spatial frequency (1/A^2), in A
    The exit wave's scattered part is the probe times the atom's potential; its diffraction pattern is summed.
    """
    side, size = 40.0, 512
    frequency = np.fft.fftfreq(size, side / size)
    squared = frequency[:, None] ** 2 + frequency**2
    step2 = 1 / side**2
    pupil = (np.sqrt(squared) <= convergence_mrad * 1e-3 / wavelength_A).astype(complex)
    pupil *= np.exp(1j * np.pi * wavelength_A * defocus_nm * 10 * squared)
    pupil /= np.sqrt((np.abs(pupil) ** 2).sum() * step2)
    potential = np.fft.ifft2(scattering_factor(squared)) * size**2 * step2
    angle = np.sqrt(squared) * wavelength_A * 1e3
    detector = (angle >= detector_mrad[0]) & (angle <= detector_mrad[1])
    out = []
    for radius in radii_A:
        wave = np.fft.ifft2(pupil * np.exp(2j * np.pi * frequency * radius)) * size**2 * step2
        scattered = np.fft.fft2(wave * potential) * (side / size) ** 2
        out.append((gamma * wavelength_A) ** 2 * (np.abs(scattered[detector]) ** 2).sum() * step2)
    return np.array(out)
