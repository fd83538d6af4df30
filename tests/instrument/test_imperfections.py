# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import math

import numpy as np
import pytest

from probewise.instrument.imperfections import Detector, Distortions
from probewise.instrument.simulated import open_simulated
from probewise.types import Context, RasterROI, ScanPath

STILL, IDEAL = Distortions.none(), Detector.ideal()
SMALL, CLOSE = RasterROI((32, 48), 4000), Context((1.0, 1.5))


def acquire(instrument, roi=SMALL, context=CLOSE):
    samples = roi.shape[0] * roi.shape[1] if isinstance(roi, RasterROI) else len(roi.yx)
    armed = instrument.arm(roi, context, channels=("HAADF",))
    instrument.start(armed)
    return instrument.read_into(armed, np.empty((1, samples), dtype=np.float32), timeout_s=60)


def bent(**changes):
    """A microscope with one distortion only."""
    return open_simulated("graphene", distortions=dataclasses.replace(STILL, **changes), detector=IDEAL)


def displacement(instrument, roi, context, clock_ns=0, sequence=0):
    """True minus nominal position of each pixel, (rows, cols, 2) nm."""
    instrument.restore({"clock_ns": clock_ns, "sequence": sequence})
    armed = instrument.arm(roi, context)
    rows, cols = np.indices(roi.shape)
    fractions = np.stack([(rows + 0.5) / roi.shape[0], (cols + 0.5) / roi.shape[1]], axis=-1)
    nominal = 100 + np.array(context.shift_nm) + (fractions - 0.5) * context.fov_nm
    return instrument.true_positions_nm(armed).reshape(*roi.shape, 2) - nominal


def counts_of(detector, dwell_ns, current_pA=60.0, frames=4):
    """Counts at one place, many times, and the expected electrons there."""
    point = np.full((20000, 2), 0.5)
    path = ScanPath(
        point,
        np.full(20000, dwell_ns, dtype=np.int64),
        np.ones(20000, dtype=bool),
        np.arange(20000, dtype=np.int32),
        (100, 200),
    )
    options = {"distortions": STILL, "beam_current_pA": current_pA}
    expected = acquire(open_simulated("nio-lsmo", detector=IDEAL, **options), path, Context((1.0, 1.0))).counts[0, 0]
    instrument = open_simulated("nio-lsmo", detector=detector, **options)
    counts = np.stack([acquire(instrument, path, Context((1.0, 1.0))).counts[0] for _ in range(frames)])
    return counts.astype(np.float64), float(expected)


@pytest.mark.parametrize("dwell_ns", [100, 1000, 4000, 40000])
@pytest.mark.parametrize("excess", [0.0, 0.25])
def test_electrons_are_poisson_with_excess_variance(dwell_ns, excess):
    detector = dataclasses.replace(IDEAL, noise=True, excess_variance=excess)
    counts, mean = counts_of(detector, dwell_ns)
    n = counts.size
    assert mean > 0.05
    variance = mean * (1 + excess)
    # five standard errors of the mean and of the variance (fourth moment of a Poisson: mean + 3 mean^2)
    assert abs(counts.mean() - mean) < 5 * math.sqrt(variance / n)
    assert abs(counts.var() - variance) < 5 * math.sqrt((variance + 2 * variance**2) * (1 + excess) / n)
    if excess == 0:
        assert np.array_equal(counts, np.round(counts))


def test_poisson_probabilities_on_both_sides_of_the_method_change():
    from scipy.stats import chisquare, poisson

    for dwell_ns in (600, 4000):
        counts, mean = counts_of(dataclasses.replace(IDEAL, noise=True), dwell_ns)
        inner = np.arange(*poisson.ppf([0.001, 0.999], mean).astype(int))
        observed = [int((counts == k).sum()) for k in inner]
        observed.append(counts.size - sum(observed))
        expected = poisson.pmf(inner, mean) * counts.size
        expected = np.append(expected, counts.size - expected.sum())
        assert chisquare(observed, expected).pvalue > 1e-4


def test_gain_offset_read_noise_and_quantisation():
    detector = Detector(
        excess_variance=0.1, gain=7.0, offset=50.0, read_noise=4.0, afterglow_share=0.0, saturation=None
    )
    counts, mean = counts_of(detector, 4000)
    assert np.array_equal(counts, np.round(counts))
    assert counts.mean() == pytest.approx(50 + 7 * mean, rel=2e-3)
    # a twelfth of a count squared is the rounding
    assert counts.var() == pytest.approx(49 * mean * 1.1 + 16 + 1 / 12, rel=0.03)


def test_saturation_and_floor():
    counts, mean = counts_of(dataclasses.replace(IDEAL, gain=10.0, saturation=5.0), 4000, frames=1)
    assert (counts == 5.0).all()
    assert 10 * mean > 5.0
    dark = dataclasses.replace(Detector(), offset=0.0, read_noise=5.0)
    counts, _ = counts_of(dark, 100, current_pA=1e-3, frames=1)
    assert counts.min() == 0


def test_afterglow_delays_but_keeps_the_light():
    instrument = open_simulated(
        "graphene", distortions=STILL, detector=dataclasses.replace(IDEAL, afterglow_share=0.2, afterglow_ns=2000.0)
    )
    plain = open_simulated("graphene", distortions=STILL, detector=IDEAL)
    roi = RasterROI((1, 400), 1000)
    late, prompt = (acquire(i, roi, Context((0.1, 8.0))).counts[0, 0].astype(float) for i in (instrument, plain))
    assert late[50:].sum() == pytest.approx(prompt[50:].sum(), rel=0.02)
    decay = math.exp(-0.5)
    expected, held = np.empty(400), 0.0
    for k, light in enumerate(prompt):
        expected[k] = 0.8 * light + held * (1 - decay)
        held = held * decay + 0.2 * light
    assert np.allclose(late, expected, rtol=1e-5)


def test_a_perfect_scan_is_where_it_was_sent():
    moved = displacement(bent(), RasterROI((20, 30), 1000), Context((5.0, 9.0), (20.0, -30.0)), clock_ns=10**10)
    assert np.abs(moved).max() < 1e-5  # float32 at 100 nm


def test_line_jitter():
    instrument = bent(line_jitter_nm=(0.01, 0.03))
    moved = displacement(instrument, RasterROI((4000, 2), 1000), Context((8.0, 8.0)))
    assert np.allclose(moved[:, 0], moved[:, 1], atol=2e-5)
    # relative standard error of an rms of 4000 lines: 1.1 %
    assert moved[:, 0].std(axis=0) == pytest.approx((0.01, 0.03), rel=0.06)
    assert abs(np.corrcoef(moved[1:, 0, 1], moved[:-1, 0, 1])[0, 1]) < 0.08


def test_settling_tail_of_each_line_and_its_flyback():
    share, tau = 0.02, 20.0
    instrument = bent(settle_share=share, settle_us=tau)
    roi = RasterROI((20, 100), 2000)
    moved = displacement(instrument, roi, Context((8.0, 8.0)))
    velocity = 8.0 / 100 / 2.0  # nm per us
    steady = -share * velocity * tau  # constant lag behind a steady scan
    assert moved[5:, -1, 1] == pytest.approx(steady, rel=0.1)
    jump = moved[5:, 0, 1].mean() - steady
    assert jump == pytest.approx(share * 8.0, rel=0.1)  # the beam has yet to come back from the right
    tail = moved[5:, :30, 1].mean(axis=0) - steady
    rate = np.polyfit(np.arange(30) * 2.0, np.log(tail), 1)[0]
    assert rate == pytest.approx(-1 / tau, rel=0.05)
    waited = displacement(instrument, dataclasses.replace(roi, flyback_ns=200_000), Context((8.0, 8.0)))
    assert np.abs(waited[5:, 0, 1]).max() < 0.1 * jump


def test_slow_settling_bends_the_first_lines_and_discarded_lines_hide_it():
    instrument = bent(slow_share=0.02, slow_us=1500.0)
    roi = RasterROI((60, 64), 2000)
    first = displacement(instrument, roi, Context((8.0, 8.0)))[:, :, 0].mean(axis=1)
    # the slow axis lags behind its own steady motion too; its transient is what the first lines add
    transient = np.abs(first - first[-10:].mean())
    assert transient[0] > 5 * transient[30:].max()
    later = displacement(instrument, dataclasses.replace(roi, discard_lines=40), Context((8.0, 8.0)))[:, :, 0].mean(
        axis=1
    )
    assert np.abs(later - later[-10:].mean()).max() < 0.2 * transient[0]


def test_mains():
    instrument = bent(mains_nm=(0.0, 0.02))
    start = 123_456_789
    roi = RasterROI((200, 50), 4000)
    moved = displacement(instrument, roi, Context((8.0, 8.0)), clock_ns=start)[:, :, 1].ravel()
    seconds = (start + np.arange(10000) * 4000) * 1e-9
    assert np.allclose(moved, 0.02 * np.sin(2 * np.pi * 50 * seconds), atol=3e-5)


def test_scale_and_shear():
    moved = displacement(
        bent(scale_error=(0.02, -0.03), shear_deg=1.0), RasterROI((21, 31), 1000), Context((10.0, 20.0))
    )
    y, x = np.meshgrid(((np.arange(21) + 0.5) / 21 - 0.5) * 10, ((np.arange(31) + 0.5) / 31 - 0.5) * 20, indexing="ij")
    assert np.allclose(moved[..., 0], 0.02 * y, atol=2e-5)
    assert np.allclose(moved[..., 1], -0.03 * x + math.tan(math.radians(1.0)) * y, atol=2e-5)


def test_drift_follows_the_clock():
    instrument = bent(drift_nm_per_min=(0.6, -1.2))
    moved = displacement(instrument, RasterROI((2, 2), 1_000_000), Context((1.0, 1.0)), clock_ns=30 * 10**9)
    assert moved[0, 0] == pytest.approx((0.3, -0.6), abs=2e-5)
    image = acquire(instrument).counts  # the specimen's atoms move in the frame
    instrument.restore({"clock_ns": 0, "sequence": 0})
    assert not np.array_equal(image, acquire(instrument).counts)


def test_a_jump_comes_in_the_middle_of_a_frame_and_stays():
    jumps = ((10.0, 0.5, -0.2), (10.003, 0.0, 0.7))
    instrument = bent(jumps=jumps, drift_nm_per_min=(0.6, 0.0))
    roi = RasterROI((8, 1), 1_000_000)
    moved = displacement(instrument, roi, Context((1.0, 1.0)), clock_ns=10 * 10**9 - 2_000_000)[:, 0]
    expected = [instrument.drift_nm(10 * 10**9 + (line - 2) * 1_000_000) for line in range(8)]
    assert moved == pytest.approx(np.array(expected), abs=2e-5)  # positions are float32 nm in a field of 200
    assert expected[1] == pytest.approx((0.1, 0.0), abs=1e-4)
    assert expected[2] == pytest.approx((0.6, -0.2), abs=1e-4)
    assert expected[5] == pytest.approx((0.6, 0.5), abs=1e-4)
    later = displacement(instrument, roi, Context((1.0, 1.0)), clock_ns=60 * 10**9)[0, 0]
    assert later == pytest.approx((1.1, 0.5), abs=2e-5)


def test_flicker_has_its_rms_and_its_band():
    instrument = bent(flicker_rms=0.03, flicker_ms=1.0)
    still = bent()
    roi, context = RasterROI((2000, 1), 500_000), Context((0.001, 0.001))
    relative = acquire(instrument, roi, context).counts[0, :, 0] / acquire(still, roi, context).counts[0, :, 0]
    # straight lines between knots: 2/3 of the knots' variance; 1000 knots
    assert relative.std() == pytest.approx(0.03 * math.sqrt(2 / 3), rel=0.1)
    assert np.corrcoef(relative[1:], relative[:-1])[0, 1] > 0.5
    assert abs(np.corrcoef(relative[20:], relative[:-20])[0, 1]) < 0.15


def test_contamination_grows_with_beam_time():
    from probewise.instrument.optics import cross_section_A2

    instrument = bent(contamination_per_min=30.0)
    before = acquire(instrument).counts
    instrument.restore({"clock_ns": 60 * 10**9, "sequence": 0})
    after = acquire(instrument).counts
    carbon = 0.30 * cross_section_A2(6, 60.0, (54, 200), 32.0)
    electrons = 60e-12 / 1.602176634e-19 * 4e-6
    assert (after - before).mean() == pytest.approx(carbon * electrons, rel=0.01)


def test_vector_paths_are_distorted_too():
    angle = np.linspace(0, 20, 500)
    yx = 0.5 + 0.02 * angle[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    path = ScanPath(
        yx, np.full(500, 10_000, dtype=np.int64), np.ones(500, dtype=bool), np.arange(500, dtype=np.int32), (20, 25)
    )
    instrument = open_simulated("bfo")
    frame = acquire(instrument, path, Context((8.0, 8.0)))
    assert frame.counts.shape == (1, 500)
    moved = instrument.true_positions_nm(instrument.arm(path, Context((8.0, 8.0)))) - (100 + (yx - 0.5) * 8)
    assert 1e-3 < np.abs(moved).max() < 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Distortions(line_jitter_nm=(-0.1, 0.0)), "line_jitter_nm is"),
        (lambda: Distortions(settle_us=0.0), "settle_us is 0.0"),
        (lambda: Distortions(drift_nm_per_min=(math.inf, 0.0)), "drift_nm_per_min is"),
        (lambda: Distortions(jumps=((1.0, math.nan, 0.0),)), "jumps holds"),
        (lambda: Distortions(jumps=((-1.0, 0.0, 0.0),)), "jumps holds"),
        (lambda: Distortions(jumps=((2.0, 1.0, 0.0), (1.0, 1.0, 0.0))), "in the order of time"),
        (lambda: Distortions(scale_error=(math.nan, 0.0)), "scale_error is"),
        (lambda: Distortions(tilt_deg=(0.0, 40.0)), "tilt_deg is"),
        (lambda: Detector(gain=0.0), "gain is 0.0"),
        (lambda: Detector(excess_variance=-0.1), "excess_variance is -0.1"),
        (lambda: Detector(afterglow_share=0.9), "afterglow_share is 0.9"),
        (lambda: Detector(saturation=math.nan), "saturation is nan"),
    ],
)
def test_wrong_distortions_and_detectors_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
