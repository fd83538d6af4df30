# SPDX-License-Identifier: BSD-3-Clause
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probewise import scan
from probewise._core import scan as core
from probewise.errors import ConfigurationError
from probewise.types import Limits, RasterROI

STEPPED = ("serpentine", "hilbert", "jittered", "vogel")
SMOOTH = ("spiral", "archimedean", "fermat", "lissajous")
# The differences of positions near 1 carry an error of an ulp of 1 each, beside steps of 1e-4 and more.
ROUNDING = 1e-15


def step_and_bend(path):
    step = np.linalg.norm(np.diff(path.yx, axis=0), axis=1)
    bend = np.linalg.norm(np.diff(path.yx, n=2, axis=0), axis=1)
    return step.max(initial=0), bend.max(initial=0)


def assert_within(path, dwell_ns, limits):
    step, bend = step_and_bend(path)
    dwell_s = dwell_ns * 1e-9
    assert step <= limits.max_velocity_per_s * dwell_s + ROUNDING
    assert bend <= limits.max_acceleration_per_s2 * dwell_s**2 + 4 * ROUNDING
    assert path.yx.min() >= 0
    assert path.yx.max() <= 1
    assert path.duration_ns == int(path.dwell_ns.sum())
    assert (path.active == (path.pixel >= 0)).all()


COILS = st.builds(
    Limits,
    max_velocity_per_s=st.floats(300, 1e6) | st.just(math.inf),
    max_acceleration_per_s2=st.floats(1e6, 1e12) | st.just(math.inf),
    settle_ns=st.integers(0, 30_000),
)


@given(name=st.sampled_from(STEPPED), limits=COILS, dwell_ns=st.integers(100, 20_000), power=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_stepped_patterns_obey_the_coils_and_lose_no_pixel(name, limits, dwell_ns, power):
    shape = (2**power, 2**power)
    path = scan.make_scan(name, shape, dwell_ns, limits=limits)
    assert_within(path, dwell_ns, limits)
    free = scan.make_scan(name, shape, dwell_ns)
    np.testing.assert_array_equal(path.pixel[path.active], free.pixel)
    np.testing.assert_array_equal(path.yx[path.active], free.yx)
    assert (path.dwell_ns == dwell_ns).all()


@given(name=st.sampled_from(SMOOTH), limits=COILS, dwell_ns=st.integers(100, 100_000), side=st.integers(2, 40))
@settings(max_examples=150, deadline=None)
def test_smooth_patterns_obey_the_coils_or_are_refused_with_the_dwell_they_need(name, limits, dwell_ns, side):
    try:
        path = scan.make_scan(name, (side, side), dwell_ns, limits=limits)
    except ConfigurationError as refusal:
        needed = int(str(refusal).split("expected at least ")[1].split()[0])
        assert needed > dwell_ns
        if name != "spiral":  # its core adapts to the dwell, so that the need shrinks as the dwell grows
            assert_within(scan.make_scan(name, (side, side), needed, limits=limits), needed, limits)
    else:
        assert_within(path, dwell_ns, limits)


@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30).map(np.array),
    limits=COILS,
    dwell_ns=st.integers(100, 20_000),
)
@settings(max_examples=150, deadline=None)
def test_ordered_lists_obey_the_coils_and_visit_each_point_once(points, limits, dwell_ns):
    path = scan.ordered(points, (16, 16), dwell_ns, limits=limits)
    assert_within(path, dwell_ns, limits)
    visited = path.yx[path.active]
    np.testing.assert_array_equal(visited[np.lexsort(visited.T)], points[np.lexsort(points.T)])


def test_a_jump_settles_before_its_sample():
    limits = Limits(settle_ns=2500)
    path = scan.ordered(np.array([[0.1, 0.1], [0.1, 0.11], [0.9, 0.9]]), (64, 64), 1000, limits=limits)
    np.testing.assert_array_equal(path.active, [True, True, False, False, False, True])
    np.testing.assert_array_equal(path.yx[2:], np.tile([0.9, 0.9], (4, 1)))


@given(distance=st.floats(1e-6, 1.4), step=st.floats(1e-3, 1), bend=st.floats(1e-5, 1))
@settings(max_examples=300, deadline=None)
def test_a_move_takes_no_more_samples_than_it_must(distance, step, bend):
    end = min(1.0, distance / math.sqrt(2))
    _yx, source = core.join(np.array([[0.0, 0.0], [end, end]]), step, bend, (2.0, 2.0), 0, 10**6)
    moves = len(source) - 1
    assert source[0] == 0
    assert source[-1] == 1
    assert (source[1:-1] == -1).all()

    def reach(count):
        return sum(min(step, bend * min(k, count + 1 - k)) for k in range(1, count + 1))

    length = math.hypot(end, end)
    assert reach(moves) >= length * (1 - 1e-9)
    # One sample may be lost to the room of 1e-9 that is kept for rounding.
    assert moves == 1 or reach(moves - 1) <= length * (1 + 1e-8)


def test_constant_velocity_spiral_keeps_its_speed_outside_the_core():
    # v = pitch * 2 pi * k: half a million samples of 1 us, 128 turns.
    limits = Limits(max_acceleration_per_s2=3e6)
    path = scan.spiral((256, 256), 1000, points=500_000, limits=limits)
    assert_within(path, 1000, limits)
    step = np.linalg.norm(np.diff(path.yx, axis=0), axis=1)
    radius = np.linalg.norm(path.yx - 0.5, axis=1)[1:]
    shell = step[radius > 0.25]
    assert shell.max() / shell.min() < 1.001
    core_angle = np.unwrap(np.arctan2(*(path.yx[:200] - 0.5).T))
    turning = np.diff(core_angle)
    np.testing.assert_allclose(turning, turning[0], rtol=1e-6)  # constant angular velocity; arctan2 near the centre
    assert 1 - 1e-6 < 2 * radius[-1] < 1  # the last sample lies half a step before the end


def test_raster_takes_the_least_flyback_that_the_coils_allow():
    assert scan.raster((8, 8), 1000, limits=Limits(flyback_ns=30_000)).flyback_ns == 30_000
    limits = Limits(max_velocity_per_s=1e3, max_acceleration_per_s2=1e7, settle_ns=5_000)
    # 1/v + v/a = 1 ms + 0.1 ms, and settling.
    assert scan.raster((8, 8), 1_000_000, limits=limits).flyback_ns == pytest.approx(1_105_000, abs=1)
    short = scan.raster((8, 8), 1_000_000, limits=limits, size_yx=(0.1, 0.025))
    assert short.flyback_ns == pytest.approx(1e9 * 2 * math.sqrt(0.025 / 1e7) + 5_000, abs=1)
    with pytest.raises(ConfigurationError, match="flyback_ns is 10, expected at least 1105000"):
        scan.raster((8, 8), 1_000_000, flyback_ns=10, limits=limits)
    with pytest.raises(ConfigurationError, match="expected at most 1000 fields/s"):
        scan.raster((8, 8), 1000, limits=limits)


@pytest.mark.parametrize("name", scan.PATTERNS)
def test_limits_of_dwell_points_and_dac_are_named(name):
    with pytest.raises(ConfigurationError, match="dwell_ns is 99, expected 100 to 1000"):
        scan.make_scan(name, (8, 8), 99, limits=Limits(dwell_max_ns=1000))
    with pytest.raises(ConfigurationError, match="dwell_ns is 101, expected a multiple of 2"):
        scan.make_scan(name, (8, 8), 101, limits=Limits(dwell_step_ns=2))
    with pytest.raises(ConfigurationError, match="64 samples, expected at most max_points = 63"):
        scan.make_scan(name, (8, 8), 100, limits=Limits(max_points=63))
    with pytest.raises(ConfigurationError, match=r"1\.94 codes of 5 bits a pixel, expected at least 4"):
        scan.make_scan(name, (16, 16), 100, limits=Limits(dac_bits=5))


def test_a_path_that_masked_samples_make_too_long_is_refused():
    limits = Limits(max_points=100, max_velocity_per_s=1e3, max_acceleration_per_s2=1e6)
    with pytest.raises(ConfigurationError, match="longer than 100 samples, expected at most max_points"):
        scan.serpentine((8, 8), 1000, limits=limits)


def test_dac_resolution_of_a_site_in_a_large_field():
    # An 8 nm site at 0.02 nm a pixel inside 200 nm: 0.04 of the field over 400 pixels.
    scan.check_dac_resolution((400, 400), 16, size_yx=(0.04, 0.04))
    with pytest.raises(ConfigurationError, match=r"400 rows over 0.04 of the field are 1.64 codes of 14 bits a pixel"):
        scan.check_dac_resolution((400, 400), 14, size_yx=(0.04, 0.04))
    with pytest.raises(ConfigurationError, match="nan codes"):
        scan.check_dac_resolution((4, 4), 16, size_yx=(math.nan, 1.0))


def test_non_positive_coil_steps_are_refused():
    with pytest.raises(ConfigurationError, match="allow steps of 0"):
        scan.serpentine((4, 4), 1000, limits=Limits(max_velocity_per_s=0.0))


def test_paths_without_limits_are_not_joined():
    assume_free = Limits()
    for name in STEPPED:
        assert len(scan.make_scan(name, (16, 16), 100, limits=assume_free).yx) == 256
    assert isinstance(scan.make_scan("raster", (16, 16), 100, limits=assume_free), RasterROI)


@given(yx=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20).map(np.array))
@settings(max_examples=50, deadline=None)
def test_pixels_of_positions(yx):
    assume(len(yx) > 0)
    rows, cols = np.minimum(yx * (5, 7), (4, 6)).astype(int).T
    np.testing.assert_array_equal(core.pixels(yx, (5, 7)), rows * 7 + cols)
