# SPDX-License-Identifier: BSD-3-Clause
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from fakes import CAPABILITY
from probewise.errors import ConfigurationError
from probewise.instrument.checks import check_position, check_request
from probewise.types import Capability, Context, Limits, RasterROI, ScanPath

LIMITS = Limits(channels=("HAADF", "BF"), dwell_min_ns=100, dwell_max_ns=10_000, dwell_step_ns=50, max_points=64)
SITE = Context(fov_nm=(8.0, 8.0))


def path(**changes):
    good = ScanPath(
        yx=np.full((3, 2), 0.5),
        dwell_ns=np.full(3, 1000),
        active=np.ones(3, dtype=bool),
        pixel=np.zeros(3, dtype=np.int32),
        shape=(1, 1),
    )
    return replace(good, **changes)


def check(scan, context=SITE, channels=("HAADF",), capability=CAPABILITY, limits=LIMITS):
    check_request(scan, context, channels, capability=capability, limits=limits)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"channels": []}, r"channels is \[\], expected a non-empty list from HAADF, BF"),
        ({"channels": "HAADF"}, "channels is 'HAADF', expected a non-empty list"),
        ({"channels": ["EELS"]}, "channels holds 'EELS', expected names from HAADF, BF"),
        ({"channels": ["BF", "BF"]}, "channels holds 'BF' twice"),
        ({"context": Context((9e9, 1.0)), "limits": replace(LIMITS, max_fov_nm=1e4)}, "expected at most 10000.0 nm"),
        (
            {"context": Context((8.0, 8.0), rotation_rad=0.1), "capability": CAPABILITY & ~Capability.ROTATED_ROI},
            "rotation_rad is 0.1, expected 0",
        ),
        (
            {"context": Context((8.0, 8.0), shift_nm=(1.0, 0.0)), "capability": CAPABILITY & ~Capability.SHIFT},
            r"shift_nm is \(1.0, 0.0\), expected \(0, 0\)",
        ),
        ({"capability": CAPABILITY & ~Capability.VECTOR}, "expected a raster"),
        ({"scan": path(yx=np.full((3, 2), 1.0 + 1e-12))}, r"yx\[0\] is \(1\.0000\d*, 1\.0000\d*\), expected fractions"),
        ({"scan": path(yx=np.array([[0.5, 0.5], [np.nan, 0.5], [0.5, 0.5]]))}, r"yx\[1\] is \(nan, 0.5\)"),
        ({"scan": path(yx=np.full((3, 2), 0.5, dtype=np.float32))}, "yx is float32"),
        ({"scan": path(dwell_ns=np.full(3, 1000.0))}, "dwell_ns is float64"),
        ({"scan": path(dwell_ns=np.array([1000, 1000]))}, r"dwell_ns is int64 of shape \(2,\), expected"),
        ({"scan": path(dwell_ns=np.array([1000, 50, 1000]))}, "dwell_ns is 50, expected 100 to 10000"),
        ({"scan": path(dwell_ns=np.array([1000, 20_000, 1000]))}, "dwell_ns is 20000, expected 100 to 10000"),
        ({"scan": path(dwell_ns=np.array([1000, 1010, 1000]))}, "dwell_ns is 1010, expected a multiple of 50"),
        (
            {"scan": path(dwell_ns=np.array([1000, 1050, 1000])), "capability": CAPABILITY & ~Capability.POINT_DWELL},
            "dwell_ns runs from 1000 to 1050, expected one value",
        ),
        ({"scan": path(pixel=np.array([0, 1, -1], dtype=np.int32))}, "pixel runs from -1 to 1, expected -1"),
        ({"scan": path(), "limits": replace(LIMITS, max_points=2)}, "scan has 3 samples, expected 1 to 2"),
        ({"scan": RasterROI((8, 8), 1000, discard_lines=1)}, r"shape is \(8, 8\), 72 samples, expected at most 64"),
        ({"scan": RasterROI((2, 2), 120)}, "dwell_ns is 120, expected a multiple of 50 such as 100 or 150"),
        (
            {"scan": RasterROI((2, 2), 100), "limits": replace(LIMITS, flyback_ns=30)},
            "flyback_ns is 0, expected at least 30",
        ),
    ],
)
def test_refused_with_the_name_what_came_and_what_was_expected(request_, message):
    with pytest.raises(ConfigurationError, match=message):
        check(**{"scan": path(), **request_})


def unchecked(value, **changes):
    """With fields that its own checks would refuse, as a wire may bring them."""
    made = object.__new__(type(value))
    for field in fields(value):
        object.__setattr__(made, field.name, changes.get(field.name, getattr(value, field.name)))
    return made


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_what_was_never_checked_is_refused_all_the_same(bad):
    roi = RasterROI((2, 2), 1000)
    for field in ("centre_yx", "size_yx"):
        with pytest.raises(ConfigurationError, match=r"leaves the frame, expected within 0\.\.1"):
            check(unchecked(roi, **{field: (0.5, bad)}))
    with pytest.raises(ConfigurationError, match=r"fov_nm is .* expected at most"):
        check(roi, unchecked(SITE, fov_nm=(bad, 8.0)), limits=replace(LIMITS, max_fov_nm=1e4))


@pytest.mark.parametrize("field", ["shift_nm", "rotation_rad"])
def test_a_context_that_is_not_finite_is_refused(field):
    bad = (0.0, math.nan) if field == "shift_nm" else math.nan
    with pytest.raises(ConfigurationError, match="expected finite numbers"):
        check(RasterROI((2, 2), 1000), unchecked(SITE, **{field: bad}))


def test_another_type_of_scan_is_refused():
    with pytest.raises(TypeError, match="scan is a str, expected RasterROI or ScanPath"):
        check("raster")


def test_what_is_within_the_limits_passes():
    check(path())
    check(path(pixel=np.array([0, -1, 0], dtype=np.int32)), channels=["BF", "HAADF"])
    check(RasterROI((8, 8), 100), Context((8.0, 8.0), (1.0, 1.0), 0.1))


def test_of_many_random_positions_only_those_inside_pass():
    random = np.random.default_rng(5)
    positions = random.normal(0.5, 0.5, (100_000, 2))
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, np.nextafter(1.0, 2.0), 5e-324, -5e-324, 1e308])
    odd = random.random(positions.shape) < 0.1
    positions[odd] = random.choice(special, odd.sum())
    accepted = np.zeros(len(positions), dtype=bool)
    for index, yx in enumerate(positions.tolist()):
        try:
            check_position("yx", (yx[0], yx[1]))
            accepted[index] = True
        except ConfigurationError:
            pass
    inside = ((positions >= 0) & (positions <= 1)).all(axis=1)
    np.testing.assert_array_equal(accepted, inside)
    assert 0 < inside.sum() < len(inside)
