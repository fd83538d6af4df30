# SPDX-License-Identifier: BSD-3-Clause
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j0

from probewise.instrument import optics
from probewise.instrument.optics import Probe
from reference.render import born_signal


@pytest.mark.parametrize(("number", "angles"), [(6, (54, 200)), (6, (80, 200)), (14, (54, 200)), (83, (80, 180))])
def test_cross_section_of_a_parallel_beam_is_the_integral_of_the_squared_factor(number, angles):
    wavelength = optics.wavelength_A(60.0)
    low, high = (angle * 1e-3 / wavelength for angle in angles)
    integral, _ = quad(
        lambda g: 2 * math.pi * g * optics.scattering_factor_A(number, np.array(g * g)) ** 2, low, high, epsrel=1e-10
    )
    expected = (optics.lorentz_factor(60.0) * wavelength) ** 2 * integral
    assert optics.cross_section_A2(number, 60.0, angles) == pytest.approx(expected, rel=1e-7)


def test_cross_section_stays_below_unscreened_rutherford_and_near_it_at_high_angle():
    # Mott-Bethe formula without the electrons: f = 0.023934 * 4 Z / g^2 in A. Screening only lowers it.
    wavelength, gamma = optics.wavelength_A(60.0), optics.lorentz_factor(60.0)

    def rutherford(number, inner, outer):
        g0, g1 = inner * 1e-3 / wavelength, outer * 1e-3 / wavelength
        return (gamma * wavelength * 0.023934 * 4 * number) ** 2 * math.pi * (1 / g0**2 - 1 / g1**2)

    assert rutherford(6, 54, 200) == pytest.approx(2.3e-3, rel=0.05)
    assert rutherford(14, 54, 200) == pytest.approx(1.26e-2, rel=0.05)
    for number, inner, outer in ((6, 54, 200), (14, 54, 200), (6, 80, 200)):
        ratio = optics.cross_section_A2(number, 60.0, (inner, outer)) / rutherford(number, inner, outer)
        assert 0.4 < ratio < 1
    far = optics.cross_section_A2(6, 60.0, (400, 600)) / rutherford(6, 400, 600)
    assert 0.9 < far < 1.1  # the parametrisation tends to Rutherford


def test_exponent_of_atomic_number_is_between_1_5_and_1_9():
    ratio = optics.cross_section_A2(14, 60.0, (54, 200)) / optics.cross_section_A2(6, 60.0, (54, 200))
    assert 1.5 < math.log(ratio) / math.log(14 / 6) < 1.9


def test_a_cone_scatters_more_than_a_parallel_beam():
    parallel = optics.cross_section_A2(6, 60.0, (54, 200))
    assert 1.2 < optics.cross_section_A2(6, 60.0, (54, 200), 32.0) / parallel < 1.5


def test_unknown_element_is_named():
    with pytest.raises(ValueError, match=r"atomic_number is 99, expected one of \[6, 7, 8"):
        optics.scattering_factor_A(99, np.zeros(1))


def test_wavelength_of_the_text_books():
    # Williams and Carter, table 1.2: 100 kV 0.00370 nm, 200 kV 0.00251 nm, 300 kV 0.00197 nm
    for voltage, expected in ((100, 0.0370), (200, 0.0251), (300, 0.0197)):
        assert optics.wavelength_A(voltage) == pytest.approx(expected, abs=5e-5)


def test_bessel_function():
    x = np.linspace(0, 80, 2001)
    assert np.abs(optics._bessel_j0(x) - j0(x)).max() < 1e-12


@pytest.mark.parametrize("defocus_nm", [0.0, 4.0])
@pytest.mark.parametrize("number", [6, 79])
def test_profile_is_the_signal_of_one_atom_in_first_born_order(number, defocus_nm):
    # Ours averages the object function over the directions of the cone before it multiplies by the probe: 2 % of
    # the peak. The reference's aperture edge is sampled in 1/40 A, which alone is 1 %.
    probe = Probe(source_fwhm_nm=0.0, thermal_rms_nm=0.0)
    tables = optics.profile_tables(probe, (((number, 1.0),),), 4.0)
    radii_A = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.1, 1.5, 2.0])
    theirs = born_signal(
        lambda g2: optics.scattering_factor_A(number, g2),
        32.0,
        (54.0, 200.0),
        optics.wavelength_A(60.0),
        optics.lorentz_factor(60.0),
        defocus_nm,
        radii_A,
    )
    level = tables[0, round(defocus_nm / optics.FOCUS_STEP_NM)]
    ours = np.interp((radii_A / 10 / optics.REACH_NM) ** 2 * optics.TABLE_STEPS, np.arange(level.size), level)
    assert np.abs(ours - theirs).max() < 0.03 * theirs.max()


def test_integral_over_the_disc_is_the_same_at_every_defocus():
    tables = optics.profile_tables(Probe(), (((6, 1.0),), ((83, 8.0), (8, 1.0))), 12.0).astype(float)
    area = math.pi * (optics.REACH_NM * 10) ** 2
    held = (tables[:, :, : optics.TABLE_STEPS].mean(axis=2) - tables[:, :, 0] / (2 * optics.TABLE_STEPS)) * area
    assert np.allclose(held, held[:, :1], rtol=1e-4)  # float32 tables
    sigma = optics.cross_section_A2(6, 60.0, (54, 200), 32.0)
    assert 0.94 < held[0, 0] / sigma < 1  # the cut Airy tail


def test_peak_falls_with_defocus():
    peak = optics.profile_tables(Probe(), (((6, 1.0),),), 10.0)[0, :, 0]
    assert (np.diff(peak) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voltage_kV": 0.0}, "voltage_kV is 0.0, expected a positive finite number"),
        ({"convergence_mrad": math.nan}, "convergence_mrad is nan"),
        ({"source_fwhm_nm": -1.0}, "source_fwhm_nm is -1.0"),
        ({"detector_mrad": (80.0, 54.0)}, r"detector_mrad is \(80.0, 54.0\), expected 0 < inner < outer"),
        ({"defocus_nm": 99.0}, "defocus_nm is 99.0, expected within"),
    ],
)
def test_wrong_probe_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Probe(**arguments)
