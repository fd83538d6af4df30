# SPDX-License-Identifier: BSD-3-Clause
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probewise as pw
from probewise import scan
from probewise.types import RasterROI, ScanPath
from reference import scan as reference

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
# A turn count of up to 700 enters sine and cosine with an error of about 700 ulp of 2 pi in either implementation.
ATOL = 2e-12


def as_codes(yx, bits):
    return np.round(yx * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 64), (700, 3)])
@pytest.mark.parametrize("points", [None, 1, 2, 511, 513, 2000])
def test_smooth_patterns_equal_their_formulas(shape, points):
    n = shape[0] * shape[1] if points is None else points
    turns = max(1.0, min(shape) / 2)
    cycles = (max(1, shape[0] // 2), max(1, shape[0] // 2) + 1)
    got = {
        "archimedean": scan.spiral(shape, 1000, kind="archimedean", points=points),
        "constant_velocity": scan.spiral(shape, 1000, points=points),
        "fermat": scan.fermat(shape, 1000, points=points),
        "vogel": scan.fermat(shape, 1000, kind="vogel", points=points),
        "lissajous": scan.lissajous(shape, 1000, points=points),
    }
    expected = {
        "archimedean": reference.archimedean(n, turns),
        "constant_velocity": reference.constant_velocity(n, turns),
        "fermat": reference.fermat(n, turns),
        "vogel": reference.vogel(n),
        "lissajous": reference.lissajous(n, cycles),
    }
    for name, path in got.items():
        np.testing.assert_allclose(path.yx, expected[name], rtol=0, atol=ATOL, err_msg=name)


@given(shape=SHAPES)
@settings(max_examples=50, deadline=None)
def test_serpentine_equals_its_definition(shape):
    path = scan.serpentine(shape, 1000)
    expected = reference.serpentine_pixels(shape)
    np.testing.assert_array_equal(path.pixel, expected)
    np.testing.assert_array_equal(path.yx, [reference.centre(p // shape[1], p % shape[1], shape) for p in expected])


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16, 64])
def test_hilbert_visits_each_pixel_once_and_moves_to_neighbours(side):
    pixel = scan.hilbert((side, side), 1000).pixel
    rows, cols = np.divmod(pixel, side)
    assert np.array_equal(np.sort(pixel), np.arange(side * side))
    assert (np.abs(np.diff(rows)) + np.abs(np.diff(cols)) == 1).all()
    ours = np.stack([rows, cols], axis=1)
    recursive = reference.hilbert_pixels(side)
    assert np.array_equal(ours, recursive) or np.array_equal(ours, recursive[:, ::-1])


@given(
    shape=SHAPES,
    discard=st.integers(0, 3),
    flyback=st.integers(0, 2).map(lambda k: 700 * k),
    size=st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=150, deadline=None)
def test_raster_as_a_list(shape, discard, flyback, size, place):
    centre = tuple(s / 2 + p * (1 - s) for s, p in zip(size, place, strict=True))
    roi = RasterROI(shape, 1000, centre_yx=centre, size_yx=size, discard_lines=discard, flyback_ns=flyback)
    path = roi.path
    rows, cols = shape
    assert path.duration_ns == roi.duration_ns
    assert (path.yx >= 0).all()
    assert (path.yx <= 1).all()
    per_line = cols + (flyback > 0)
    samples = np.arange(len(path.yx)).reshape(rows + discard, per_line)
    lines = samples[:, :cols].ravel()
    # One rounding more or less in the order of operations.
    np.testing.assert_allclose(path.yx[lines], reference.raster(shape, centre, size, discard), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(path.pixel[path.active], np.arange(rows * cols))
    assert (path.pixel[~path.active] == -1).all()
    assert path.active.sum() == rows * cols
    assert (path.dwell_ns[lines] == 1000).all()
    if flyback:
        back = samples[:, cols]
        assert (path.dwell_ns[back] == flyback).all()
        np.testing.assert_array_equal(path.yx[back[:-1]], path.yx[samples[1:, 0]])


def test_discarded_lines_lie_above_the_first_one_where_there_is_room():
    roomy = RasterROI((4, 4), 100, centre_yx=(0.75, 0.5), size_yx=(0.5, 1.0), discard_lines=2).path
    np.testing.assert_allclose(roomy.yx[::4, 0], 0.5 + 0.125 * (np.arange(-2, 4) + 0.5))
    full = RasterROI((4, 4), 100, discard_lines=2).path
    np.testing.assert_allclose(full.yx[::4, 0], (np.array([0, 0, 0, 1, 2, 3]) + 0.5) / 4)


@given(shape=SHAPES, jitter=st.floats(0, 1), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_jittered_stays_in_its_pixels(shape, jitter, seed):
    path = scan.jittered(shape, 1000, jitter_px=jitter, seed=seed)
    assert np.array_equal(np.sort(path.pixel), np.arange(shape[0] * shape[1]))
    rows, cols = np.divmod(path.pixel, shape[1])
    offset = path.yx * shape - np.stack([rows, cols], axis=1) - 0.5
    assert (np.abs(offset) <= jitter / 2 + 1e-13 * max(shape)).all()  # rounding of the product


def test_jitter_is_uniform_and_keyed_by_the_seed():
    path = scan.jittered((64, 64), 1000, seed=3)
    offset = path.yx * 64 - np.stack(np.divmod(path.pixel, 64), axis=1)
    for axis in (0, 1):
        found, _ = np.histogram(offset[:, axis], bins=16, range=(0, 1))
        # Chi-squared with 15 degrees of freedom passes 44.3 once in 10,000 draws; this draw is fixed by its seed.
        assert ((found - 256) ** 2 / 256).sum() < 44.3
    assert abs(np.corrcoef(offset.T)[0, 1]) < 0.06  # four standard deviations of 1/sqrt(4096)
    np.testing.assert_array_equal(path.yx, scan.jittered((64, 64), 1000, seed=3).yx)
    assert not np.array_equal(path.yx, scan.jittered((64, 64), 1000, seed=4).yx)


@pytest.mark.parametrize("name", scan.PATTERNS)
def test_every_pattern_by_name(name):
    path = scan.make_scan(name, (16, 16), 1000)
    points = path.path if isinstance(path, RasterROI) else path
    n = len(points.yx)
    assert points.duration_ns == int(points.dwell_ns.sum()) == path.duration_ns == n * 1000
    assert points.shape == (16, 16)
    assert points.yx.min() >= 0
    assert points.yx.max() <= 1
    assert points.active.all()
    assert points.pixel.dtype == np.int32
    if name in ("raster", "serpentine", "hilbert", "jittered"):
        assert np.array_equal(np.sort(points.pixel), np.arange(256))
    rows, cols = np.minimum(points.yx * 16, 15).astype(int).T
    np.testing.assert_array_equal(points.pixel, rows * 16 + cols)


@pytest.mark.parametrize("name", [name for name in scan.PATTERNS if name != "raster"])
@pytest.mark.parametrize("bits", [1, 8, 14, 16])
def test_codes_are_those_of_the_positions_to_half_a_step(name, bits):
    path = scan.make_scan(name, (64, 64), 1000)
    out = np.empty((64 * 64, 2), dtype=np.uint16)
    assert path.codes(bits, out=out) is out
    np.testing.assert_array_equal(out, as_codes(path.yx, bits))
    np.testing.assert_array_equal(path.codes(bits), out)
    assert np.abs(out / (2**bits - 1) - path.yx).max() <= 0.5 / (2**bits - 1) + 1e-15
    assert out.max() <= 2**bits - 1


@given(
    yx=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40).map(np.array),
    bits=st.integers(1, 16),
)
@settings(max_examples=200, deadline=None)
def test_codes_of_any_positions(yx, bits):
    n = len(yx)
    path = ScanPath(yx, np.full(n, 1000), np.ones(n, dtype=bool), np.zeros(n, dtype=np.int32), (1, 1))
    np.testing.assert_array_equal(path.codes(bits), as_codes(yx, bits))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-300, np.nextafter(1.0, 2.0)])
def test_codes_refuse_positions_outside(bad):
    yx = np.full((700, 2), 0.5)
    yx[600, 1] = bad
    path = replace(RasterROI((700, 1), 1000).path, yx=yx)
    with pytest.raises(ValueError, match=r"yx\[600\] holds .*, expected fractions within 0..1"):
        path.codes(14)


def test_codes_name_a_wrong_buffer_or_width():
    path = scan.serpentine((4, 4), 1000)
    for target in (path, RasterROI((4, 4), 1000).path):
        with pytest.raises(ValueError, match="bits is 17, expected 1 to 16"):
            target.codes(17)
        with pytest.raises(TypeError, match="out is a int32 array"):
            target.codes(16, out=np.empty((16, 2), dtype=np.int32))
        with pytest.raises(ValueError, match=r"out is a uint16 array of shape \(15, 2\)"):
            target.codes(16, out=np.empty((15, 2), dtype=np.uint16))


def test_a_generated_path_is_a_value_like_any_other():
    path = scan.spiral((32, 32), 1000)
    assert isinstance(path, ScanPath)
    again = pickle.loads(pickle.dumps(path))  # noqa: S301  our own bytes
    np.testing.assert_array_equal(again.yx, path.yx)
    np.testing.assert_array_equal(again.codes(12), path.codes(12))
    moved = replace(path, yx=np.clip(path.yx + 0.01, 0, 1))
    np.testing.assert_array_equal(moved.codes(12), as_codes(moved.yx, 12))
    assert type(moved) is ScanPath
    assert moved.duration_ns == path.duration_ns
    with pytest.raises(AttributeError):
        path.shape = (1, 1)


def test_the_raster_is_public_and_equal_to_its_type():
    assert pw.scan.raster((4, 5), 100, discard_lines=1) == RasterROI((4, 5), 100, discard_lines=1)


def test_a_raster_answers_as_the_list_of_its_positions_does():
    roi = scan.raster((4, 5), 100, centre_yx=(0.4, 0.5), size_yx=(0.5, 0.25), discard_lines=1, flyback_ns=250)
    for name in ("yx", "active", "pixel", "duration_ns", "shape"):
        np.testing.assert_array_equal(getattr(roi, name), getattr(roi.path, name), err_msg=name)
    np.testing.assert_array_equal(roi.codes(14), roi.path.codes(14))
    out = np.zeros(roi.yx.shape, dtype=np.uint16)
    assert roi.codes(14, out) is out
    np.testing.assert_array_equal(out, as_codes(roi.yx, 14))
    assert roi.dwell_ns == 100


GENERATORS = [scan.raster, scan.serpentine, scan.spiral, scan.fermat, scan.hilbert, scan.lissajous, scan.jittered]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((2.5, 8), TypeError),
        (8, TypeError),
        ((8,), TypeError),
        ((8, 8, 8), TypeError),
        ("ab", TypeError),
        (None, TypeError),
        ((True, 8), TypeError),
        ((0, 8), ValueError),
        ((8, -1), ValueError),
        ((1 << 40, 8), ValueError),
    ],
)
def test_a_wrong_shape_is_named_with_what_came(generator, shape, error):
    with pytest.raises(error) as caught:
        generator(shape, 100)
    assert str(caught.value).startswith(f"shape is {shape!r}, expected ")


@pytest.mark.parametrize("generator", GENERATORS)
def test_any_pair_of_integers_is_a_shape(generator):
    for shape in ([8, 8], (np.int64(8), np.int32(8)), np.array([8, 8])):
        assert generator(shape, 100).shape == (8, 8)
    with pytest.raises(TypeError, match="limits is 3, expected Limits or None"):
        generator((8, 8), 100, limits=3)
    with pytest.raises(ValueError, match="dwell_ns is 9223372036854775808, expected at most"):
        generator((8, 8), 1 << 63)


def test_discarded_lines_of_a_serpentine_run_along_the_first_one():
    path = scan.make_scan("serpentine", (3, 4), 100, discard_lines=3)
    assert (path.pixel[:12] == -1).all()
    assert not path.active[:12].any()
    np.testing.assert_array_equal(path.pixel[12:], reference.serpentine_pixels((3, 4)))
    assert np.abs(np.diff(path.yx, axis=0)).max() < 0.34  # no jump: lines join at their ends
    assert set(path.yx[:12, 0]) == {1 / 6}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: scan.serpentine((0, 4), 100), ValueError, r"shape is \(0, 4\), expected at least one row"),
        (lambda: scan.serpentine((4, 4), 0), ValueError, "dwell_ns is 0, expected at least 1"),
        (lambda: scan.serpentine((4, 4), 1.5), TypeError, "dwell_ns is 1.5, expected an integer"),
        (lambda: scan.serpentine((4, 4), 1, discard_lines=-1), ValueError, "discard_lines is -1"),
        (lambda: scan.hilbert((8, 16), 100), ValueError, r"shape is \(8, 16\), expected a square .* power of two"),
        (lambda: scan.hilbert((6, 6), 100), ValueError, "power of two"),
        (lambda: scan.spiral((8, 8), 100, points=0), ValueError, "points is 0, expected at least 1"),
        (lambda: scan.spiral((8, 8), 100, turns=0.0), ValueError, "turns is 0.0"),
        (lambda: scan.spiral((8, 8), 100, turns=float("nan")), ValueError, "turns|angular velocity"),
        (lambda: scan.spiral((8, 8), 100, kind="round"), ValueError, "kind is 'round'"),
        (lambda: scan.fermat((8, 8), 100, kind="round"), ValueError, "kind is 'round'"),
        (lambda: scan.fermat((8, 8), 100, kind="vogel", turns=3.0), ValueError, "turns is 3.0, expected None"),
        (lambda: scan.lissajous((8, 8), 100, cycles=(2, 4)), ValueError, r"cycles is \(2, 4\)"),
        (lambda: scan.lissajous((8, 8), 100, cycles=(0, 1)), ValueError, "cycles is 0, expected at least 1"),
        (lambda: scan.jittered((8, 8), 100, jitter_px=1.5), ValueError, "jitter_px is 1.5"),
        (lambda: scan.jittered((8, 8), 100, jitter_px="a"), TypeError, "jitter_px is 'a', expected a number"),
        (lambda: scan.jittered((8, 8), 100, seed=-1), ValueError, "seed is -1, expected at least 0"),
        (lambda: scan.jittered((8, 8), 100, seed=1 << 64), ValueError, "seed is 18446744073709551616, expected at"),
        (lambda: scan.jittered((8, 8), 100, seed=1.5), TypeError, "seed is 1.5, expected an integer"),
        (lambda: scan.serpentine((4, 4), 1, discard_lines=1.5), TypeError, "discard_lines is 1.5, expected an integer"),
        (lambda: scan.raster((4, 4), 1, discard_lines=1.5), TypeError, "discard_lines is 1.5, expected an integer"),
        (lambda: scan.raster((4, 4), 1, flyback_ns=-1), ValueError, "flyback_ns is -1, expected at least 0"),
        (lambda: scan.raster((4, 4), 1, centre_yx=0.5), TypeError, "centre_yx is 0.5, expected two numbers"),
        (
            lambda: scan.raster((4, 4), 1, size_yx=(1, np.nan)),
            ValueError,
            r"size_yx is \(1, nan\), expected two finite",
        ),
        (lambda: scan.spiral((8, 8), 100, points=2.5), TypeError, "points is 2.5, expected an integer"),
        (lambda: scan.spiral((8, 8), 100, turns="a"), TypeError, "turns is 'a', expected a number"),
        (lambda: scan.fermat((8, 8), 100, turns=np.inf), ValueError, "turns is inf, expected a positive finite"),
        (lambda: scan.lissajous((8, 8), 100, cycles=3), TypeError, "cycles is 3, expected two integers"),
        (lambda: scan.lissajous((8, 8), 100, cycles=(1.5, 2)), TypeError, "cycles is 1.5, expected an integer"),
        (lambda: scan.ordered(np.full((2, 2), 0.5), (2.5, 8), 100), TypeError, r"shape is \(2.5, 8\), expected two"),
        (lambda: scan.ordered([[0.5, 0.5]], (8, 8), 100), TypeError, "points_yx is a list, expected a float64 array"),
        (lambda: scan.tour(np.full((2, 2), 0.5), start=(0.5,)), TypeError, r"start is \(0.5,\), expected two numbers"),
        (lambda: scan.tour(np.full((2, 2), 0.5), velocity="a"), TypeError, "velocity is 'a', expected a number"),
        (lambda: scan.make_scan("random", (8, 8), 100), pw.ConfigurationError, "path is 'random', expected one of"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("level", ["base", "avx2", "avx512"])
def test_every_simd_level_gives_the_same_pattern(level):
    code = (
        "import sys, numpy as np; from probewise import scan\n"
        "names = [n for n in scan.PATTERNS if n != 'raster']\n"
        "np.save(sys.stdout.buffer, np.stack([scan.make_scan(n, (32, 32), 100).yx for n in names]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, "PROBEWISE_SIMD": level})
    if b"but the best level of this CPU is" in run.stderr:
        pytest.skip(f"this CPU has no {level}")
    assert run.returncode == 0, run.stderr
    import io

    here = np.stack([scan.make_scan(name, (32, 32), 100).yx for name in scan.PATTERNS if name != "raster"])
    # Fused multiply-adds round once where the base level rounds twice.
    np.testing.assert_allclose(np.load(io.BytesIO(run.stdout)), here, rtol=0, atol=1e-13)
