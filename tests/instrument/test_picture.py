# SPDX-License-Identifier: BSD-3-Clause
import math
import threading
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.picture import open_picture
from probewise.instrument.sampling import area_means, bilinear
from probewise.types import Capability, Checkpointed, Context, Instrument, RasterROI, ScanPath

ROWS, COLS = 96, 128
NM = 0.1
GREY = np.random.default_rng(0).integers(0, 4000, (ROWS, COLS)).astype(np.uint16)
SMOOTH = ndimage.gaussian_filter(GREY.astype(float), 3).astype(np.float32)


@pytest.fixture
def grey(tmp_path):
    np.save(tmp_path / "grey.npy", GREY)
    return tmp_path / "grey.npy"


def opened(path, **options):
    return open_picture(path, **{"fov_nm": COLS * NM, **options})


def shot(instrument, scan, context=None, timeout_s=5.0):
    context = Context(instrument.fov_nm) if context is None else context
    armed = instrument.arm(scan, context, channels=("HAADF",))
    samples = math.prod(scan.shape) if isinstance(scan, RasterROI) else len(scan.yx)
    out = np.full((1, samples), np.nan, np.float32)
    instrument.start(armed)
    frame = instrument.read_into(armed, out, timeout_s=timeout_s)
    assert np.shares_memory(frame.counts, out)
    return frame


def window(row, col, rows, cols):
    """The field that is exactly those pixels of the picture."""
    shift = ((row + rows / 2 - ROWS / 2) * NM, (col + cols / 2 - COLS / 2) * NM)
    return Context((rows * NM, cols * NM), shift_nm=shift)


def vector(yx, dwell_ns=1000, shape=(8, 8)):
    n = len(yx)
    return ScanPath(np.asarray(yx, float), np.full(n, dwell_ns), np.ones(n, bool), np.zeros(n, np.int32), shape)


def test_it_is_an_instrument(grey):
    instrument = opened(grey, beam_current_pA=30.0)
    assert isinstance(instrument, Instrument)
    assert isinstance(instrument, Checkpointed)
    assert instrument.source == "image:grey.npy"
    assert instrument.truth is None
    assert instrument.beam_current_pA == 30.0
    assert opened(grey).beam_current_pA is None
    assert instrument.fov_nm == pytest.approx((ROWS * NM, COLS * NM))
    assert instrument.pixel_nm == pytest.approx((NM, NM))
    flags, limits = instrument.describe()
    assert Capability.BLANK | Capability.VECTOR | Capability.ABORT in flags
    assert limits.channels == ("HAADF",)
    assert limits.max_fov_nm == pytest.approx(12.8)


def test_the_whole_picture_comes_back_pixel_for_pixel(grey):
    frame = shot(opened(grey), RasterROI((ROWS, COLS), 1000))
    np.testing.assert_array_equal(frame.counts[0], GREY)
    assert frame.notices == ()
    assert frame.valid == GREY.size
    assert frame.duration_ns == 1000 * GREY.size
    assert frame.pixel_nm == pytest.approx((NM, NM))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_window_on_the_grid_is_an_exact_copy(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("picture") / "grey.npy"
    np.save(path, GREY)
    rows, cols = data.draw(st.integers(1, ROWS)), data.draw(st.integers(1, COLS))
    row, col = data.draw(st.integers(0, ROWS - rows)), data.draw(st.integers(0, COLS - cols))
    wanted = GREY[row : row + rows, col : col + cols]
    by_context = shot(opened(path), RasterROI((rows, cols), 100), window(row, col, rows, cols))
    np.testing.assert_array_equal(by_context.counts[0], wanted)
    roi = RasterROI(
        (rows, cols),
        100,
        centre_yx=((row + rows / 2) / ROWS, (col + cols / 2) / COLS),
        size_yx=(rows / ROWS, cols / COLS),
    )
    np.testing.assert_array_equal(shot(opened(path), roi).counts[0], wanted)


def test_coarser_pixels_are_means_of_the_area(grey):
    frame = shot(opened(grey), RasterROI((ROWS // 2, COLS // 4), 100))
    np.testing.assert_allclose(frame.counts[0], GREY.reshape(ROWS // 2, 2, COLS // 4, 4).mean((1, 3)), rtol=1e-6)
    assert frame.notices == ("each pixel is the mean of 2 x 4 pixels of the picture",)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 4), st.floats(0, 4), st.floats(5, 9), st.floats(5, 9))
def test_area_means_agree_with_overlaps_pixel_by_pixel(rows, cols, top, left, bottom, right):
    picture = np.random.default_rng(1).random((9, 9)).astype(np.float32)
    y, x = np.linspace(top, bottom, rows + 1), np.linspace(left, right, cols + 1)

    def weight(low, high):
        return np.array([max(0.0, min(k + 1, high) - max(k, low)) for k in range(9)]) / (high - low)

    slow = [[weight(*y[r : r + 2]) @ picture @ weight(*x[c : c + 2]) for c in range(cols)] for r in range(rows)]
    np.testing.assert_allclose(area_means(picture, y, x), slow, rtol=1e-9)


def test_bilinear_agrees_with_scipy():
    rng = np.random.default_rng(2)
    y, x = rng.uniform(0, ROWS, 500), rng.uniform(0, COLS, 500)
    slow = ndimage.map_coordinates(SMOOTH.astype(float), [y - 0.5, x - 0.5], order=1, mode="nearest")
    np.testing.assert_allclose(bilinear(SMOOTH, y, x), slow, rtol=1e-6)


def test_finer_pixels_are_interpolated_and_said(tmp_path):
    np.save(tmp_path / "s.npy", SMOOTH)
    frame = shot(opened(tmp_path / "s.npy"), RasterROI((40, 60), 100), window(20, 30, 10, 15))
    y, x = 20 + (np.arange(40) + 0.5) / 4, 30 + (np.arange(60) + 0.5) / 4
    grid = np.meshgrid(y - 0.5, x - 0.5, indexing="ij")
    slow = ndimage.map_coordinates(SMOOTH.astype(float), grid, order=1)
    np.testing.assert_allclose(frame.counts[0], slow, rtol=1e-5)
    assert frame.notices == ("interpolated between the pixels of the picture, steps of 0.25 x 0.25 of them",)


def test_a_vector_path_reads_the_same_places_as_a_raster(grey):
    y, x = np.meshgrid((np.arange(ROWS) + 0.5) / ROWS, (np.arange(COLS) + 0.5) / COLS, indexing="ij")
    path = vector(np.stack([y.ravel(), x.ravel()], axis=1)[::-1], shape=(ROWS, COLS))
    frame = shot(opened(grey), path)
    assert frame.counts.shape == (1, GREY.size)
    # Positions lose 1e-13 of a pixel in fractions; values differ by at most 4000 from pixel to pixel.
    np.testing.assert_allclose(frame.counts[0], GREY.ravel()[::-1], atol=1e-3)
    assert frame.duration_ns == 1000 * GREY.size


def test_a_quarter_turn_of_the_scan_turns_the_picture(grey):
    side = 32
    straight = shot(opened(grey), RasterROI((side, side), 100), window(20, 40, side, side)).counts[0]
    context = window(20, 40, side, side)
    turned = shot(opened(grey), RasterROI((side, side), 100), Context(context.fov_nm, context.shift_nm, math.pi / 2))
    # Scanning towards the top of the picture: its column becomes the frame's row.
    np.testing.assert_allclose(turned.counts[0], np.rot90(straight, -1), atol=1e-2)


@pytest.mark.parametrize(
    ("scan", "context", "said"),
    [
        (RasterROI((4, 4), 100), Context((9.6, 12.8), shift_nm=(0.0, 0.1)), "expected within the picture"),
        (RasterROI((4, 4), 100), Context((20.0, 12.8)), "expected within the picture"),
        (RasterROI((4, 4), 100), Context((9.6, 12.8), rotation_rad=0.3), "expected within the picture"),
        (vector([[0.5, 1.01]]), None, "expected within the picture"),
        (vector([[0.5, math.nan]]), None, "expected within the picture"),
        (vector(np.empty((0, 2))), None, "scan has 0 samples, expected 1 to"),
        (RasterROI((4, 4), 2_000_000_000), None, "dwell_ns is 2000000000"),
        (RasterROI((10_000, 10_000), 100), None, "scan has 100000000 samples"),
    ],
)
def test_a_scan_outside_the_picture_or_the_limits_is_refused_before_the_beam_moves(grey, scan, context, said):
    instrument = opened(grey)
    with pytest.raises(ValueError, match=said):
        instrument.arm(scan, context or Context(instrument.fov_nm), channels=("HAADF",))
    assert instrument.beam == "blanked"
    assert instrument.checkpoint() == {"clock_ns": 0, "sequence": 0}


@pytest.mark.parametrize("channels", [(), ("BF",), ("HAADF", "BF")])
def test_unknown_channels_are_refused(grey, channels):
    with pytest.raises(ValueError, match="channels is"):
        opened(grey).arm(RasterROI((4, 4), 100), Context((1.0, 1.0)), channels=channels)


@settings(deadline=None, max_examples=100)
@example([0.0, 1.5e307])
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2))
def test_no_position_outside_the_picture_is_ever_armed(tmp_path_factory, yx):
    path = tmp_path_factory.getbasetemp() / "fuzz.npy"
    if not path.exists():
        np.save(path, GREY)
    instrument = opened(path)
    inside = all(-1e-6 <= part <= 1 + 1e-6 for part in yx)  # 1e-5 of a pixel is less
    try:
        instrument.arm(vector([yx]), Context(instrument.fov_nm), channels=("HAADF",))
    except ValueError:
        assert not all(0 <= part <= 1 for part in yx)
    else:
        assert inside


def test_the_stated_dose_gives_poisson_noise_of_that_size(tmp_path):
    np.save(tmp_path / "two.npy", np.repeat([[0.0], [1.0]], 48, axis=0) * np.ones((1, 128)))
    instrument = opened(tmp_path / "two.npy", dose_e_per_A2=500.0)
    frame = shot(instrument, RasterROI((ROWS, COLS), 100))
    dark, bright = frame.counts[0][:48], frame.counts[0][48:]
    expected = 500.0 * 1.0 * 0.1  # e/A^2 x A^2 x the tenth that the brightest part scatters
    assert (dark == 0).all()
    assert abs(bright.mean() - expected) < 5 * math.sqrt(expected / bright.size)  # five standard errors
    dispersion = bright.var(ddof=1) / bright.mean() * (bright.size - 1)
    assert stats.chi2.sf(dispersion, bright.size - 1) > 1e-6
    assert stats.chi2.cdf(dispersion, bright.size - 1) > 1e-6
    assert frame.notices == ("Poisson noise of 500 e/A^2: counts are detected electrons",)


def test_the_dose_is_a_fluence_whatever_the_pixel(tmp_path):
    np.save(tmp_path / "ramp.npy", np.tile(np.linspace(0, 1, COLS), (ROWS, 1)))
    instrument = opened(tmp_path / "ramp.npy", dose_e_per_A2=1e4)
    fine = shot(instrument, RasterROI((ROWS, COLS), 100)).counts.sum(dtype=float)
    coarse = shot(instrument, RasterROI((ROWS // 4, COLS // 4), 100)).counts.sum(dtype=float)
    assert abs(fine - coarse) < 6 * math.sqrt(fine + coarse)  # six standard deviations of the difference


def test_read_noise_and_jitter_have_the_stated_size(tmp_path):
    np.save(tmp_path / "ramp.npy", np.tile(np.arange(COLS, dtype=np.float32), (ROWS, 1)))
    noisy = shot(opened(tmp_path / "ramp.npy", read_noise=3.0), RasterROI((ROWS, COLS), 100)).counts[0]
    # The error of a standard deviation of n samples is 1/sqrt(2n) of it: 0.6 % here; five of them.
    assert (noisy - np.arange(COLS)).std() == pytest.approx(3.0, rel=0.032)
    shaken = shot(opened(tmp_path / "ramp.npy", jitter_px=2.0), RasterROI((ROWS, COLS), 100)).counts[0]
    shift = (shaken - np.arange(COLS))[:, 20:-20]
    np.testing.assert_allclose(shift, shift[:, :1] * np.ones((1, shift.shape[1])), atol=1e-4)  # whole lines
    assert shift[:, 0].std() == pytest.approx(2.0, rel=0.36)  # 96 lines: 7 % error, five of them


def test_drift_moves_the_sample_by_the_clock(tmp_path):
    np.save(tmp_path / "s.npy", SMOOTH)
    instrument = opened(tmp_path / "s.npy", drift_nm_per_min=6.0)
    scan = RasterROI((20, 20), 1000)
    before = shot(instrument, scan, window(40, 50, 20, 20)).counts[0]
    instrument.restore({"clock_ns": 2_000_000_000, "sequence": 1})  # 0.2 nm later: two pixels of the picture
    after = shot(instrument, scan, window(40, 50, 20, 20)).counts[0]
    offsets = np.stack(np.meshgrid(np.arange(-3, 3.01, 0.05), np.arange(-3, 3.01, 0.05), indexing="ij"), axis=-1)
    y, x = np.meshgrid(np.arange(40, 60) + 0.0, np.arange(50, 70) + 0.0, indexing="ij")

    def misfit(frame, shift):
        return np.abs(ndimage.map_coordinates(SMOOTH, [y + shift[0], x + shift[1]], order=1) - frame).sum()

    found = [min(offsets.reshape(-1, 2), key=lambda s, f=frame: misfit(f, s)) for frame in (before, after)]
    assert np.hypot(*found[0]) < 0.05
    assert np.hypot(*found[1]) == pytest.approx(2.0, abs=0.08)  # the search has steps of 0.05


def test_drift_over_the_edge_repeats_the_edge_and_says_so(grey):
    instrument = opened(grey, drift_nm_per_min=60.0)
    instrument.restore({"clock_ns": 1_000_000_000, "sequence": 0})
    frame = shot(instrument, RasterROI((ROWS, COLS), 100))
    assert np.isfinite(frame.counts).all()
    assert any("beyond the picture's edge" in notice for notice in frame.notices)


def test_noise_depends_on_seed_and_number_alone(grey):
    options = {"dose_e_per_A2": 300.0, "read_noise": 1.0, "jitter_px": 0.5, "drift_nm_per_min": 1.0}
    scan = RasterROI((ROWS, COLS), 100)
    run = opened(grey, seed=7, **options)
    first, state = shot(run, scan).counts.copy(), run.checkpoint()
    second, third = shot(run, scan).counts.copy(), shot(run, scan).counts.copy()
    assert not np.array_equal(first, second)
    resumed = opened(grey, seed=7, **options)
    resumed.restore(state)
    np.testing.assert_array_equal(shot(resumed, scan).counts, second)
    np.testing.assert_array_equal(shot(resumed, scan).counts, third)
    assert not np.array_equal(shot(opened(grey, seed=8, **options), scan).counts, first)


def test_the_clock_counts_committed_frames_only(grey):
    instrument = opened(grey)
    scan = RasterROI((4, 5), 100, discard_lines=2, flyback_ns=1000)
    assert shot(instrument, scan).started_ns == 0
    lost = instrument.arm(scan, Context((1.0, 1.0)), channels=("HAADF",))
    instrument.start(lost)
    instrument.abort()
    frame = shot(instrument, scan)
    assert frame.started_ns == scan.duration_ns == 6 * (5 * 100 + 1000)
    assert instrument.clock_ns == 2 * scan.duration_ns
    assert frame.sequence == 3


@pytest.mark.parametrize("state", [{}, {"clock_ns": 0}, {"clock_ns": -1, "sequence": 0}])
def test_a_wrong_checkpoint_is_refused(grey, state):
    with pytest.raises(ValueError, match="expected clock_ns and sequence"):
        opened(grey).restore(state)


def test_the_beam_is_where_the_verbs_say(grey):
    instrument = opened(grey)
    scan, out = RasterROI((4, 4), 100), np.empty((1, 16), np.float32)
    assert instrument.beam == "blanked"
    instrument.blank(False)
    assert instrument.beam == "on"
    instrument.park((0.0, 1.0))
    assert instrument.beam == "parked"
    instrument.park(None)
    assert instrument.beam == "on"
    armed = instrument.arm(scan, Context((1.0, 1.0)), channels=("HAADF",))
    assert instrument.beam == "on"
    instrument.start(armed)
    assert instrument.beam == "scanning"
    instrument.read_into(armed, out, timeout_s=1.0)
    assert instrument.beam == "on"
    instrument.start(instrument.arm(scan, Context((1.0, 1.0)), channels=("HAADF",)))
    instrument.abort()
    instrument.abort()
    assert instrument.beam == "blanked"
    with pytest.raises(ValueError, match="expected fractions"):
        instrument.park((0.0, 1.5))


def test_out_of_order_verbs_fail_with_a_safe_beam(grey):
    instrument = opened(grey)
    scan, context, out = RasterROI((4, 4), 100), Context((1.0, 1.0)), np.empty((1, 16), np.float32)
    first = instrument.arm(scan, context, channels=("HAADF",))
    second = instrument.arm(scan, context, channels=("HAADF",))
    with pytest.raises(ScanError, match="not the one armed last"):
        instrument.start(first)
    with pytest.raises(ScanError, match="does not run"):
        instrument.read_into(second, out, timeout_s=1.0)
    instrument.start(second)
    with pytest.raises(ScanError, match="does not run"):
        instrument.read_into(first, out, timeout_s=1.0)
    assert instrument.beam == "blanked"


@pytest.mark.parametrize(
    "out",
    [np.empty((1, 16)), np.empty((1, 15), np.float32), np.empty((4, 4), np.float32), np.empty((2, 32), "f4")[:1, ::2]],
)
def test_a_wrong_buffer_is_refused_with_a_safe_beam(grey, out):
    instrument = opened(grey)
    armed = instrument.arm(RasterROI((4, 4), 100), Context((1.0, 1.0)), channels=("HAADF",))
    instrument.start(armed)
    with pytest.raises(ValueError, match="expected C-contiguous float32"):
        instrument.read_into(armed, out, timeout_s=1.0)
    assert instrument.beam == "blanked"


def test_closing_makes_the_beam_safe_and_ends_it(grey):
    instrument = opened(grey)
    instrument.blank(False)
    instrument.close()
    instrument.close()
    instrument.abort()
    assert instrument.beam == "blanked"
    for call in (
        lambda: instrument.blank(False),
        lambda: instrument.park(None),
        lambda: shot(instrument, RasterROI((4, 4), 100)),
    ):
        with pytest.raises(InstrumentError, match="is closed"):
            call()


def test_real_time_frames_take_their_time_and_can_be_aborted(grey):
    instrument = opened(grey, realtime=True)
    scan = RasterROI((10, 10), 200_000)
    begun = time.monotonic()
    shot(instrument, scan)
    assert time.monotonic() - begun >= 0.02
    with pytest.raises(ScanTimeout, match="did not end within"):
        shot(instrument, RasterROI((10, 10), 100_000_000), timeout_s=0.01)
    assert instrument.beam == "blanked"
    threading.Timer(0.05, instrument.abort).start()
    with pytest.raises(ScanError, match="aborted"):
        shot(instrument, RasterROI((10, 10), 100_000_000), timeout_s=60.0)
    assert instrument.beam == "blanked"
    assert instrument.clock_ns == scan.duration_ns


def test_a_picture_without_calibration_says_what_to_set(grey):
    with pytest.raises(ConfigurationError, match=r"grey.npy has no calibration.*--set instrument.fov_nm="):
        open_picture(grey)


def test_the_files_own_calibration_is_used_and_overruled_aloud(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", GREY, imagej=True, resolution=(10.0, 10.0), metadata={"unit": "nm"})
    assert open_picture(tmp_path / "a.tif").fov_nm == pytest.approx((9.6, 12.8))
    told = open_picture(tmp_path / "a.tif", fov_nm=(10.0, 20.0))
    assert told.fov_nm == (10.0, 20.0)
    assert told.notices[-1] == "a.tif says 9.6 x 12.8 nm, 10 x 20 nm taken as told"
    assert open_picture(tmp_path / "a.tif", fov_nm=12.8).notices == open_picture(tmp_path / "a.tif").notices


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fov_nm": 0.0}, "instrument.fov_nm is 0.0"),
        ({"fov_nm": math.nan}, "instrument.fov_nm is nan"),
        ({"fov_nm": (1.0, 2.0, 3.0)}, "instrument.fov_nm is"),
        ({"dose_e_per_A2": 0.0}, "instrument.dose_e_per_A2 is 0.0"),
        ({"beam_current_pA": -1.0}, "instrument.beam_current_pA is -1.0"),
        ({"read_noise": -1.0}, "instrument.read_noise is -1.0"),
        ({"drift_nm_per_min": math.inf}, "instrument.drift_nm_per_min is inf"),
        ({"jitter_px": math.nan}, "instrument.jitter_px is nan"),
        ({"seed": -1}, "instrument.seed is -1"),
    ],
)
def test_an_option_out_of_range_is_named(grey, options, said):
    with pytest.raises(ConfigurationError) as caught:
        opened(grey, **options)
    assert said in str(caught.value)
