# SPDX-License-Identifier: BSD-3-Clause
import math
import threading
import time

import numpy as np
import pytest

from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.instrument.imperfections import Detector, Distortions
from probewise.instrument.simulated import SimulatedInstrument, open_simulated
from probewise.instrument.specimens import build
from probewise.types import Capability, Checkpointed, Context, Instrument, RasterROI, ScanPath

STILL, IDEAL = Distortions.none(), Detector.ideal()
SMALL, CLOSE = RasterROI((32, 48), 4000), Context((1.0, 1.5))


def acquire(instrument, roi=SMALL, context=CLOSE):
    samples = roi.shape[0] * roi.shape[1] if isinstance(roi, RasterROI) else len(roi.yx)
    armed = instrument.arm(roi, context, channels=("HAADF",))
    instrument.start(armed)
    return instrument.read_into(armed, np.empty((1, samples), dtype=np.float32), timeout_s=60)


# --- the protocol ---


def test_it_is_an_instrument_with_a_checkpoint():
    instrument = open_simulated("nio-lsmo")
    assert isinstance(instrument, Instrument)
    assert isinstance(instrument, Checkpointed)
    flags, limits = instrument.describe()
    assert Capability.VECTOR in flags
    assert limits.channels == ("HAADF",)
    assert instrument.source == "simulated:nio-lsmo"
    assert instrument.truth.specimen == "nio-lsmo"


def test_a_specimen_that_is_made_already_gives_the_frame_of_its_name():
    made = build("graphene", seed=4, fov_nm=30.0)
    given = SimulatedInstrument(made, seed=4)
    named = SimulatedInstrument("graphene", seed=4, fov_nm=30.0)
    assert (given.source, given.fov_nm) == (named.source, named.fov_nm)
    np.testing.assert_array_equal(acquire(given).counts, acquire(named).counts)


def test_frame_and_clock():
    instrument = open_simulated("graphene")
    roi = RasterROI((8, 16), 2000, discard_lines=2, flyback_ns=5000)
    first, second = acquire(instrument, roi), acquire(instrument, roi)
    assert first.counts.shape == (1, 8, 16)
    assert first.duration_ns == 10 * (16 * 2000 + 5000)
    assert (first.started_ns, second.started_ns) == (0, first.duration_ns)
    assert (first.sequence, second.sequence) == (0, 1)
    assert instrument.clock_ns == 2 * first.duration_ns
    assert first.valid == 128
    assert first.image().shape == (8, 16)


def test_the_frame_views_the_buffer():
    instrument = open_simulated("graphene")
    out = np.empty((1, 32 * 48), dtype=np.float32)
    armed = instrument.arm(SMALL, CLOSE)
    instrument.start(armed)
    frame = instrument.read_into(armed, out, timeout_s=1)
    assert np.shares_memory(frame.counts, out)
    assert frame.counts.shape == (1, 32, 48)


def test_beam_states():
    instrument = open_simulated("graphene")
    assert instrument.beam == "blanked"
    armed = instrument.arm(SMALL, CLOSE)
    assert instrument.beam == "blanked"
    instrument.start(armed)
    assert instrument.beam == "scanning"
    instrument.read_into(armed, np.empty((1, 1536), dtype=np.float32), timeout_s=1)
    assert instrument.beam == "on"
    instrument.park((0.0, 1.0))
    assert instrument.beam == "parked"
    instrument.blank(True)
    assert instrument.beam == "blanked"
    instrument.blank(False)
    assert instrument.beam == "parked"
    instrument.park(None)
    assert instrument.beam == "on"
    instrument.close()
    instrument.close()
    assert instrument.beam == "blanked"
    with pytest.raises(InstrumentError, match="simulated:graphene is closed"):
        instrument.arm(SMALL, CLOSE)


# --- determinism ---


@pytest.mark.parametrize("name", ["nio-lsmo", "graphene"])
def test_same_seed_and_sequence_are_bit_identical_and_others_are_not(name):
    frames = [acquire(open_simulated(name, seed=7)).counts for _ in range(2)]
    assert np.array_equal(*frames)
    instrument = open_simulated(name, seed=7)
    assert np.array_equal(acquire(instrument).counts, frames[0])
    assert not np.array_equal(acquire(instrument).counts, frames[0])


def test_checkpoint_resumes_bit_for_bit():
    straight = open_simulated("bfo", seed=3)
    frames = [acquire(straight).counts for _ in range(4)]
    first = open_simulated("bfo", seed=3)
    for _ in range(2):
        acquire(first)
    state = first.checkpoint()
    assert all(isinstance(value, int) for value in state.values())
    resumed = open_simulated("bfo", seed=3)
    resumed.restore(state)
    assert np.array_equal(acquire(resumed).counts, frames[2])
    assert np.array_equal(acquire(resumed).counts, frames[3])
    assert resumed.checkpoint() == straight.checkpoint()


def test_a_lost_frame_does_not_advance_the_clock():
    instrument = open_simulated("graphene")
    armed = instrument.arm(SMALL, CLOSE)
    instrument.start(armed)
    instrument.abort()
    with pytest.raises(ScanError, match="frame 0"):
        instrument.read_into(armed, np.empty((1, 1536), dtype=np.float32), timeout_s=1)
    assert instrument.clock_ns == 0
    assert instrument.beam == "blanked"


def test_bad_checkpoints_are_refused():
    instrument = open_simulated("graphene")
    for state in ({}, {"clock_ns": -1, "sequence": 0}, {"clock_ns": 0, "sequence": 0, "more": 1}):
        with pytest.raises(ValueError, match="expected clock_ns and sequence"):
            instrument.restore(state)


# --- the detector ---


# --- each distortion, measured back ---


# --- refusals ---


@pytest.mark.parametrize(
    ("roi", "context", "message"),
    [
        (SMALL, Context((8.0, 8.0), (97.0, 0.0)), "expected within the survey field of 200 nm x 200 nm"),
        (SMALL, Context((300.0, 8.0)), "y -50 to 250 nm"),
        (SMALL, Context((200.0, 200.0), (0.0, 0.0), 0.1), "expected within the survey field"),
        (RasterROI((4, 4), 10), CLOSE, "dwell_ns is 10 to 10, expected 100 to"),
        (RasterROI((2**14, 2**14), 100), CLOSE, "scan has 268435456 samples"),
    ],
)
def test_scans_out_of_limits_are_refused_before_the_beam_moves(roi, context, message):
    instrument = open_simulated("graphene")
    with pytest.raises(ValueError, match=message):
        instrument.arm(roi, context, channels=("HAADF",))
    assert instrument.beam == "blanked"
    assert instrument.checkpoint() == {"clock_ns": 0, "sequence": 0}


def test_a_path_with_nan_is_refused():
    path = ScanPath(np.array([[0.5, np.nan]]), np.array([1000]), np.array([True]), np.zeros(1, dtype=np.int32), (1, 1))
    with pytest.raises(ValueError, match=r"scan\.yx holds a value that is not finite"):
        open_simulated("graphene").arm(path, CLOSE)


def test_wrong_channels_and_wrong_buffers_are_refused():
    instrument = open_simulated("graphene")
    with pytest.raises(ValueError, match=r"channels is \('BF',\), expected \('HAADF',\)"):
        instrument.arm(SMALL, CLOSE, channels=("BF",))
    armed = instrument.arm(SMALL, CLOSE)
    instrument.start(armed)
    with pytest.raises(ValueError, match="out is a float64 array"):
        instrument.read_into(armed, np.empty((1, 1536)), timeout_s=1)
    assert instrument.beam == "blanked"
    with pytest.raises(ScanError, match="is not being scanned"):
        instrument.read_into(armed, np.empty((1, 1536), dtype=np.float32), timeout_s=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_current_pA": -1.0}, ValueError, "beam_current_pA is -1.0"),
        ({"beam_current_pA": math.nan}, ValueError, "beam_current_pA is nan"),
        ({"voltage_kV": -60.0}, ValueError, "voltage_kV is -60.0"),
        ({"fov_nm": -5.0}, ValueError, "fov_nm is"),
        ({"colour": "red"}, ConfigurationError, "colour is no option of specimen graphene"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        open_simulated("graphene", **options)


# --- real time ---


def test_realtime_takes_as_long_as_the_scan():
    instrument = open_simulated("graphene", realtime=True)
    roi = RasterROI((10, 10), 1_000_000)
    began = time.monotonic()
    frame = acquire(instrument, roi)
    assert time.monotonic() - began >= frame.duration_ns * 1e-9
    quick = open_simulated("graphene", realtime=False)
    assert np.array_equal(acquire(quick, roi).counts, frame.counts)


def test_abort_from_another_thread_wakes_a_real_time_scan():
    instrument = open_simulated("graphene", realtime=True)
    armed = instrument.arm(RasterROI((100, 100), 10_000_000), CLOSE)  # 100 s
    instrument.start(armed)
    threading.Timer(0.05, instrument.abort).start()
    began = time.monotonic()
    with pytest.raises(ScanError, match="aborted"):
        instrument.read_into(armed, np.empty((1, 10000), dtype=np.float32), timeout_s=200)
    assert time.monotonic() - began < 20  # far below the scan's 100 s; milliseconds on a quiet machine
    assert instrument.beam == "blanked"
    assert instrument.clock_ns == 0
    acquire(instrument, RasterROI((4, 4), 1000))  # usable again


def test_a_scan_longer_than_the_timeout_ends_safe():
    instrument = open_simulated("graphene", realtime=True)
    armed = instrument.arm(RasterROI((100, 100), 10_000_000), CLOSE)
    instrument.start(armed)
    with pytest.raises(ScanTimeout, match=r"timeout_s is 0\.01"):
        instrument.read_into(armed, np.empty((1, 10000), dtype=np.float32), timeout_s=0.01)
    assert instrument.beam == "blanked"
