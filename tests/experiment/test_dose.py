# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.experiment.dose import dose_map, exposure, full_raster_ns, scan_dose
from probewise.types import Context, RasterROI, ScanPath

E = 1.602176634e-19


def test_a_raster_by_hand() -> None:
    """The reference protocol: 0.2 A pixels, 4 us, 60 pA are 3.7e4 e/A^2."""
    dose = scan_dose(RasterROI((400, 400), 4000), Context((8.0, 8.0)), 60.0, 0.0)
    assert dose.duration_ns == 400 * 400 * 4000
    assert dose.electrons == pytest.approx(60e-12 * 0.64 / E)
    assert dose.fluence_e_per_A2 == pytest.approx(60e-12 * 4e-6 / E / 0.2**2)


def test_flyback_and_discarded_lines_are_in() -> None:
    plain = scan_dose(RasterROI((10, 20), 100), Context((10.0, 20.0)), 10.0, 0.0)
    more = scan_dose(RasterROI((10, 20), 100, discard_lines=2, flyback_ns=500), Context((10.0, 20.0)), 10.0, 0.0)
    assert plain.electrons is not None
    assert more.electrons == pytest.approx(plain.electrons * 12 * 2500 / (10 * 2000))
    assert plain.fluence_e_per_A2 is not None
    assert more.fluence_e_per_A2 == pytest.approx(plain.fluence_e_per_A2 * 125 / 100)


def test_the_area_is_that_of_the_probe_where_it_is_larger() -> None:
    scan, context = RasterROI((10, 10), 100), Context((0.1, 0.1))
    wide = scan_dose(scan, context, 10.0, 0.1)
    narrow = scan_dose(scan, context, 10.0, 0.001)
    assert wide.fluence_e_per_A2 == pytest.approx(10e-12 * 1e-7 / E / (np.pi / 4))  # 0.1 nm is 1 A
    assert narrow.fluence_e_per_A2 == pytest.approx(10e-12 * 1e-7 / E / 0.1**2)


def test_a_path_counts_every_sample_on_a_pixel() -> None:
    yx = np.array([[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75], [0.75, 0.75]])
    pixel = np.array([0, 1, 2, 3, -1], dtype=np.int32)
    path = ScanPath(yx, np.full(5, 100), pixel >= 0, pixel, (2, 2))
    dose = scan_dose(path, Context((2.0, 2.0)), 10.0, 0.0)
    assert dose.fluence_e_per_A2 == pytest.approx(10e-12 * 200e-9 / E / 100)


def test_without_a_current_there_is_no_dose() -> None:
    dose = scan_dose(RasterROI((4, 4), 100), Context((1.0, 1.0)), None, 0.0)
    assert (dose.duration_ns, dose.electrons, dose.fluence_e_per_A2) == (1600, None, None)


def test_a_full_raster_is_one_raster_equivalent() -> None:
    scan = RasterROI((400, 300), 1000)
    assert full_raster_ns((40.0, 30.0), 0.1, 1000) == pytest.approx(scan.duration_ns)


points = st.lists(st.tuples(st.integers(2, 18), st.integers(2, 18)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(points)
def test_exposure_against_counting_cells(centres: list[tuple[int, int]]) -> None:
    """Squares of side 4 about whole numbers in a field of 20: a grid of unit cells counts exactly."""
    hits = np.zeros((20, 20), dtype=int)
    for y, x in centres:
        hits[y - 2 : y + 2, x - 2 : x + 2] += 1
    found = exposure(np.array(centres, dtype=float), 4.0, [2.0] * len(centres), (20.0, 20.0))
    assert found.fraction == pytest.approx((hits > 0).mean())
    assert found.max_hits == hits.max()
    assert found.max_fluence == pytest.approx(2.0 * hits.max())


@settings(max_examples=40, deadline=None)
@given(points)
def test_the_dose_map_holds_all_electrons(centres: list[tuple[int, int]]) -> None:
    charges = [1e3 * (number + 1) for number in range(len(centres))]
    fluence = dose_map(np.array(centres, dtype=float), 4.0, charges, 500.0, (20.0, 20.0), shape=(13, 17))
    cell_A2 = 20.0 / 13 * 20.0 / 17 * 100
    assert fluence.sum() * cell_A2 == pytest.approx(sum(charges) + 500.0)


def test_no_frames() -> None:
    assert exposure(np.zeros((0, 2)), 4.0, [], (20.0, 20.0)).fraction == 0.0
