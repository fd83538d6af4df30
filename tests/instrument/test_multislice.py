# SPDX-License-Identifier: BSD-3-Clause
"""The linear model against a stored multislice image (tests/reference/make_abtem_fixture.py says what it is)."""

import math
from pathlib import Path

import numpy as np
import pytest

from probewise.instrument.optics import REACH_NM, Probe, profile_tables
from reference.render import direct_sum

FIXTURE = Path(__file__).parent / "data" / "graphene_si_abtem.npz"


@pytest.fixture(scope="module")
def images():
    """The multislice image blurred by our default source, ours of the same atoms, and both as functions of a point."""
    stored = np.load(FIXTURE)
    probe = Probe(thermal_rms_nm=float(stored["phonon_rms_A"]) / 10)
    theirs = stored["fraction"].astype(float)
    (rows, cols), (py, px), cell = theirs.shape, stored["pixel_A"], stored["cell_A"]
    fy, fx = np.fft.fftfreq(rows, py)[:, None], np.fft.fftfreq(cols, px)
    source = probe.source_fwhm_nm * 10 / math.sqrt(8 * math.log(2))
    blurred = np.fft.fft2(theirs) * np.exp(-2 * np.pi**2 * source**2 * (fy**2 + fx**2))
    tables = profile_tables(probe, (((6, 1.0),), ((14, 1.0),)), 0.0)
    shifts = [np.array([a, b]) * cell for a in (-1, 0, 1) for b in (-1, 0, 1)]
    atoms = np.concatenate([stored["yx_A"] + shift for shift in shifts]) / 10
    species = np.tile((stored["numbers"] == 14).astype(int), 9)
    points = np.stack(np.meshgrid(np.arange(rows) * py, np.arange(cols) * px, indexing="ij"), axis=-1).reshape(-1, 2)

    def ours_at(yx_A):
        return direct_sum(np.atleast_2d(yx_A) / 10, atoms, species, np.ones(len(atoms)), tables, REACH_NM)

    def theirs_at(yx_A):
        phase = [np.exp(2j * np.pi * (fy * y + fx * x)) for y, x in np.atleast_2d(yx_A)]
        return np.array([(blurred * p).sum().real / blurred.size for p in phase])

    return stored, np.fft.ifft2(blurred).real, ours_at(points).reshape(rows, cols), ours_at, theirs_at


def _places(stored):
    """Si, the six carbons farthest from it, and the centres of rings more than 4 A away from it."""
    atoms, cell = stored["yx_A"], stored["cell_A"]
    silicon = atoms[stored["numbers"] == 14][0]

    def apart(points, other):
        return np.hypot(*((points - other + cell / 2) % cell - cell / 2).T)

    carbon = atoms[np.argsort(apart(atoms, silicon))[-6:]]
    beside = np.concatenate([atoms + np.array([1.42, 0.0]), atoms - np.array([1.42, 0.0])])
    centre = np.array([apart(atoms, p).min() > 1.3 for p in beside]) & (apart(beside, silicon) > 4)
    return silicon, carbon, beside[centre]


def test_correlation(images):
    _, theirs, ours, *_ = images
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] >= 0.99


def test_absolute_scattered_fraction(images):
    stored, theirs, ours, ours_at, theirs_at = images
    _, carbon, _ = _places(stored)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.15)
    assert ours_at(carbon).mean() == pytest.approx(theirs_at(carbon).mean(), rel=0.15)


def test_peak_ratio_of_silicon_to_carbon(images):
    stored, _, _, ours_at, theirs_at = images
    silicon, carbon, _ = _places(stored)
    ratio = ours_at(silicon)[0] / ours_at(carbon).mean()
    assert ratio == pytest.approx(theirs_at(silicon)[0] / theirs_at(carbon).mean(), rel=0.05)


def test_valley_to_peak(images):
    stored, _, _, ours_at, theirs_at = images
    _, carbon, rings = _places(stored)
    assert len(rings) >= 12
    ratio = ours_at(rings).mean() / ours_at(carbon).mean()
    assert ratio == pytest.approx(theirs_at(rings).mean() / theirs_at(carbon).mean(), rel=0.05)
