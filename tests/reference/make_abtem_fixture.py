# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/instrument/data/graphene_si_abtem.npz: an absolute HAADF image of graphene with one Si atom.

abTEM (GPL, not a dependency) computes it by multislice: python tests/reference/make_abtem_fixture.py
60 keV, 32 mrad, HAADF 54 to 200 mrad, frozen phonons of 6 pm rms (8 configurations), aberration-free, point source.
The value of a pixel is the fraction of the incident electrons that reaches the detector.
"""

from pathlib import Path

import abtem
import ase
import numpy as np

BOND = 1.42
a, b = np.sqrt(3) * BOND, 3 * BOND
cell = ase.Atoms(
    "C4", positions=[(0, 0, 0), (a / 2, BOND / 2, 0), (a / 2, 1.5 * BOND, 0), (0, 2 * BOND, 0)], cell=(a, b, 0)
)
atoms = cell * (4, 3, 1)
atoms.positions[:, :2] += (0.3, 0.5)
dopant = int(np.argmin(np.hypot(*(atoms.positions[:, :2] - np.diag(atoms.cell)[:2] / 2).T)))
atoms.numbers[dopant] = 14
atoms.center(vacuum=2.0, axis=2)

phonons = abtem.FrozenPhonons(atoms, num_configs=8, sigmas=0.06, seed=1)
potential = abtem.Potential(
    phonons, sampling=0.07, slice_thickness=1.0, parametrization="lobato", projection="infinite"
)
probe = abtem.Probe(energy=60e3, semiangle_cutoff=32, defocus=0.0)
scan = abtem.GridScan((0, 0), (1, 1), fractional=True, potential=potential, gpts=(40, 52))
detector = abtem.AnnularDetector(inner=54, outer=200)
image = probe.scan(potential, scan=scan, detectors=detector).compute()
fraction = np.asarray(image.array, dtype=np.float32).T  # abTEM indexes (x, y)

target = Path(__file__).parents[1] / "instrument" / "data" / "graphene_si_abtem.npz"
target.parent.mkdir(parents=True, exist_ok=True)
np.savez_compressed(
    target,
    fraction=fraction,
    pixel_A=np.array([b * 3 / 52, a * 4 / 40]),
    yx_A=atoms.positions[:, [1, 0]],
    numbers=atoms.numbers,
    cell_A=np.array([b * 3, a * 4]),
    phonon_rms_A=0.06,
    version=abtem.__version__,
)
print(fraction.shape, fraction.min(), fraction.max(), fraction.mean())
