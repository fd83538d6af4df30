# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from probewise._core import image as core
from probewise.image import gate
from probewise.types import Armed, Context, Frame, RasterROI, ScanPath


def make(counts, sequence=1, centre=(0.5, 0.5), channels=("HAADF",)):
    """A frame of `counts` (channels, rows, cols) and the armed scan that it answers."""
    rows, cols = counts.shape[1:]
    scan = RasterROI((rows, cols), 1000, centre_yx=centre, size_yx=(0.1, 0.1))
    armed = Armed(sequence, scan, Context((200.0, 200.0)), channels, scan.duration_ns)
    frame = Frame(counts, channels, armed.context, scan, sequence, 0, scan.duration_ns, rows * cols)
    return frame, armed


def clean(seed=0, shape=(32, 32), mean=10.0):
    return np.random.default_rng(seed).poisson(mean, (1, *shape)).astype(np.float32)


def test_a_clean_frame_passes_with_its_statistics():
    counts = clean()
    quality = gate(*make(counts), saturation=4095)
    assert quality.ok
    assert quality.reasons == ()
    assert quality.finite_fraction == 1.0
    assert quality.saturated_fraction == 0.0
    # Sums of integers below 2^53 are exact; only the last division rounds.
    assert quality.mean == pytest.approx(counts.mean(dtype=np.float64), rel=1e-14)
    assert quality.variance == pytest.approx(counts.var(dtype=np.float64), rel=1e-12)
    assert (quality.minimum, quality.maximum) == (counts.min(), counts.max())


def test_no_false_alarm_on_ten_thousand_clean_frames():
    rng = np.random.default_rng(7)
    alarms, previous = [], None
    for number in range(10_000):
        rows, cols = rng.integers(8, 24, 2)
        counts = rng.poisson(rng.uniform(1, 200), (1, rows, cols)).astype(np.float32)
        previous = gate(
            *make(counts, number, centre=tuple(rng.uniform(0.1, 0.9, 2))), saturation=4095, previous=previous
        )
        alarms += previous.reasons
    assert alarms == []


def spoil_nan(frame, armed):
    frame.counts[0, 3, 4] = np.nan
    return frame, armed


def spoil_inf(frame, armed):
    frame.counts[0, 3, 4] = -np.inf
    return frame, armed


def spoil_shape(frame, armed):
    return dataclasses.replace(frame, counts=frame.counts[:, :-1]), armed


def spoil_rank(frame, armed):
    return dataclasses.replace(frame, counts=frame.counts[0]), armed


def spoil_dtype(frame, armed):
    return dataclasses.replace(frame, counts=frame.counts.astype(np.float64)), armed


def spoil_type(frame, armed):
    return dataclasses.replace(frame, counts=frame.counts.tolist()), armed


def spoil_constant(frame, armed):
    frame.counts[:] = 3.0
    return frame, armed


def spoil_saturated(frame, armed):
    frame.counts[0, :4] = 4095.0
    return frame, armed


def spoil_sequence(frame, armed):
    return dataclasses.replace(frame, sequence=0), armed


def spoil_short(frame, armed):
    return dataclasses.replace(frame, valid=100), armed


def spoil_long(frame, armed):
    return dataclasses.replace(frame, valid=2000), armed


def spoil_channels(frame, armed):
    return dataclasses.replace(frame, channels=("BF",)), armed


FAULTS = [
    (spoil_nan, "counts are not finite"),
    (spoil_inf, "counts are not finite"),
    (spoil_shape, r"wrong shape: \(1, 31, 32\), expected \(1, 32, 32\)"),
    (spoil_rank, "wrong shape"),
    (spoil_dtype, "wrong dtype: float64, expected float32"),
    (spoil_type, "wrong dtype: list"),
    (spoil_constant, "channel HAADF is constant: all counts are 3"),
    (spoil_saturated, "detector is saturated: 0.125"),
    (spoil_sequence, "out of sequence: number 0, expected 1"),
    (spoil_short, "cut short: 100 samples acquired, expected 1024"),
    (spoil_long, "too long"),
    (spoil_channels, r"has channels \('BF',\), expected \('HAADF',\)"),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS, ids=lambda x: getattr(x, "__name__", "said"))
def test_each_fault_is_named(spoil, reason):
    import re

    quality = gate(*spoil(*make(clean())), saturation=4095)
    assert not quality.ok
    assert len(quality.reasons) == 1
    assert re.search(reason, quality.reasons[0])


def test_a_dead_channel_beside_a_living_one_is_named():
    counts = np.concatenate([clean(), np.zeros((1, 32, 32), np.float32)])
    quality = gate(*make(counts, channels=("HAADF", "BF")))
    assert quality.reasons == ("channel BF is constant: all counts are 0",)


def test_a_duplicate_counts_only_at_another_place():
    first = gate(*make(clean(), 1, (0.2, 0.2)))
    stale = gate(*make(clean(), 2, (0.6, 0.2)), previous=first)
    again = gate(*make(clean(), 2, (0.2, 0.2)), previous=first)
    other = gate(*make(clean(seed=1), 2, (0.6, 0.2)), previous=first)
    assert stale.reasons == ("frame is a duplicate of the previous one, which was taken at another place",)
    assert again.ok
    assert other.ok


def test_a_vector_frame_is_judged_by_its_samples():
    rng = np.random.default_rng(0)
    n = 500
    yx = rng.random((n, 2))
    pixel = np.zeros(n, np.int32)
    scan = ScanPath(yx, np.full(n, 1000), np.ones(n, bool), pixel, (16, 16))
    armed = Armed(1, scan, Context((10.0, 10.0)), ("HAADF",), scan.duration_ns)
    counts = rng.poisson(5, (1, n)).astype(np.float32)
    frame = Frame(counts, ("HAADF",), armed.context, scan, 1, 0, scan.duration_ns, n)
    assert gate(frame, armed).ok
    moved = dataclasses.replace(scan, yx=yx[::-1])
    stale = gate(dataclasses.replace(frame, scan=moved), armed, previous=gate(frame, armed))
    assert "duplicate" in stale.reasons[0]


@pytest.mark.parametrize("limit", [{"min_finite": 1.5}, {"max_saturated": -0.1}, {"min_finite": math.nan}])
def test_a_limit_that_is_no_fraction_is_refused(limit):
    with pytest.raises(ValueError, match="expected a fraction"):
        gate(*make(clean()), **limit)


def test_a_saturation_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="saturation is nan"):
        gate(*make(clean()), saturation=math.nan)


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.float32, st.integers(0, 100), elements=st.floats(width=32, min_value=-(2.0**20), max_value=2.0**20)),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from([np.nan, np.inf, -np.inf])), max_size=4),
    st.floats(-100, 100, width=32),
)
def test_statistics_agree_with_numpy(values, spoilt, saturation):
    for index, bad in spoilt:
        if index < len(values):
            values[index] = bad
    finite, saturated, mean, variance, low, high, _ = core.frame_statistics(values, saturation)
    good = values[np.isfinite(values)].astype(np.float64)
    assert finite == good.size
    assert saturated == (good >= saturation).sum()
    if good.size == 0:
        assert np.isnan([mean, variance, low, high]).all()
        return
    span = np.abs(good - good[0]).max()
    # The one-pass variance loses at most the squares' rounding: n * eps * span^2, and the mean n * eps * span.
    assert mean == pytest.approx(good.mean(), abs=1e-13 * max(span, abs(good[0])), rel=1e-13)
    assert variance == pytest.approx(good.var(), abs=1e-13 * span**2)
    assert (low, high) == (good.min(), good.max())


def test_a_large_offset_does_not_drown_the_variance():
    values = (1e6 + np.random.default_rng(0).integers(0, 4, 10_000)).astype(np.float32)
    # Deviations from a value of the frame are small integers, so that their sums are exact.
    assert core.frame_statistics(values, math.inf)[3] == pytest.approx(values.var(dtype=np.float64), rel=1e-12)


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(np.float32, st.integers(1, 70), elements=st.floats(0, 100, width=32)), st.data())
def test_the_digest_sees_every_sample(values, data):
    index = data.draw(st.integers(0, values.size - 1))
    changed = values.copy()
    changed[index] += 1.0
    digest = core.frame_statistics(values, math.inf)[6]
    assert core.frame_statistics(values.copy(), math.inf)[6] == digest
    assert core.frame_statistics(changed, math.inf)[6] != digest


def test_statistics_refuse_a_wrong_array():
    with pytest.raises(TypeError, match="counts is a float64 array"):
        core.frame_statistics(np.zeros(4), math.inf)
    with pytest.raises(ValueError, match="not C-contiguous"):
        core.frame_statistics(np.zeros(8, np.float32)[::2], math.inf)


@pytest.mark.parametrize("level", ["base", "avx2", "avx512"])
def test_every_simd_level_gives_the_same_digest_and_statistics(level):
    import os
    import subprocess
    import sys

    code = (
        "import numpy as np; from probewise._core import image;"
        "v = np.random.default_rng(0).poisson(9.0, 1001).astype(np.float32); v[5] = np.nan;"
        "print(*image.frame_statistics(v, 15.0))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PROBEWISE_SIMD": level}
    )
    if "the best level of this CPU" in run.stderr:
        pytest.skip(f"this CPU has no {level}")
    assert run.returncode == 0, run.stderr
    values = np.random.default_rng(0).poisson(9.0, 1001).astype(np.float32)
    values[5] = np.nan
    here = core.frame_statistics(values, 15.0)
    # Sums of small integers are exact on every level, so that all seven numbers agree to the last bit.
    assert run.stdout.split() == [str(part) for part in here]
