# SPDX-License-Identifier: BSD-3-Clause
"""An instrument as a device of a real RunEngine; documents are checked by event-model's own schemas."""

import numpy as np
import pytest

pytest.importorskip("bluesky.run_engine", reason="bluesky is not installed: pip install '.[bluesky]'")

from bluesky import RunEngine, plan_stubs, preprocessors, protocols
from bluesky.utils import FailedStatus, RunEngineInterrupted
from event_model import DocumentNames, DocumentRouter, schema_validators

from probewise.bluesky import Microscope
from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.instrument import SimulatedInstrument
from probewise.instrument.sessions import session
from probewise.types import Context, RasterROI

ROI = RasterROI((24, 32), 1000)
SITES = [Context((9.0, 12.0), (5.0, shift)) for shift in (-6.0, 0.0, 6.0)]
LONG = (RasterROI((100, 100), 500_000), Context((20.0, 20.0)))  # 5 s


class Documents(DocumentRouter):
    """Keeps what was emitted, each document validated."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def __call__(self, name, doc, validate=False):
        schema_validators[DocumentNames[name]].validate(doc)
        self.kept.append((name, doc))
        return super().__call__(name, doc, validate)

    def of(self, name):
        return [doc for kind, doc in self.kept if kind == name]


@pytest.fixture
def documents():
    return Documents()


@pytest.fixture
def engine(documents):
    made = RunEngine({}, call_returns_result=False)
    made.subscribe(documents)
    return made


def simulated(**options):
    return SimulatedInstrument("particles", seed=4, fov_nm=40.0, **options)


def frames(device):
    def plan():
        yield from plan_stubs.open_run()
        for context in SITES:
            yield from plan_stubs.prepare(device, (ROI, context), wait=True)
            yield from plan_stubs.trigger_and_read([device])
        yield from plan_stubs.close_run()

    return preprocessors.stage_wrapper(plan(), [device])


def test_it_has_the_protocols_of_bluesky():
    device = Microscope(simulated())
    names = ("Preparable", "Triggerable", "Readable", "Configurable", "Stageable", "Stoppable", "HasParent")
    assert [name for name in names if not isinstance(device, getattr(protocols, name))] == []


def test_each_trigger_is_an_event_with_the_frame(engine, documents):
    instrument = simulated()
    engine(frames(Microscope(instrument, name="stem")))
    assert [name for name, _ in documents.kept] == ["start", "descriptor", "event", "event", "event", "stop"]
    keys = documents.of("descriptor")[0]["data_keys"]
    assert keys["stem_HAADF"]["shape"] == [24, 32]
    assert keys["stem_HAADF"]["units"] == "counts"
    assert documents.of("descriptor")[0]["configuration"]["stem"]["data"]["stem_source"] == "simulated:particles"
    assert documents.of("stop")[0]["exit_status"] == "success"
    with session(simulated()) as opened:
        expected = [opened.acquire(ROI, context, ["HAADF"]) for context in SITES]
    for event, frame in zip(documents.of("event"), expected, strict=True):
        np.testing.assert_array_equal(event["data"]["stem_HAADF"], frame.image())
        assert tuple(event["data"]["stem_shift_nm"]) == frame.context.shift_nm
        assert event["data"]["stem_dwell_ns"] == 1000
        assert event["data"]["stem_duration_ns"] == frame.duration_ns
        assert set(event["data"]) == set(keys)
    assert instrument.beam == "blanked"


def test_a_uri_is_opened_for_each_run(engine, documents):
    device = Microscope("simulated:particles", seed=4, fov_nm=40.0)
    engine(frames(device))
    engine(frames(device))
    first, second = (documents.of("event")[at]["data"]["microscope_HAADF"] for at in (0, 3))
    np.testing.assert_array_equal(first, second)


def test_a_path_is_read_as_the_picture_it_fills(engine, documents):
    device = Microscope(simulated())

    def plan():
        yield from plan_stubs.open_run()
        yield from plan_stubs.prepare(device, (ROI.path, SITES[0]), wait=True)
        yield from plan_stubs.trigger_and_read([device])
        yield from plan_stubs.close_run()

    engine(preprocessors.stage_wrapper(plan(), [device]))
    picture = documents.of("event")[0]["data"]["microscope_HAADF"]
    assert picture.shape == (24, 32)
    assert np.isfinite(picture).all()
    assert documents.of("event")[0]["data"]["microscope_dwell_ns"] == 1000


@pytest.mark.parametrize("ending", ["stop", "abort", "halt"])
def test_a_run_that_is_ended_in_mid_scan_leaves_the_beam_blanked(engine, documents, ending):
    instrument = simulated(realtime=True)
    device = Microscope(instrument)
    seen = []

    def plan():
        yield from plan_stubs.open_run()
        yield from plan_stubs.prepare(device, LONG, wait=True)
        yield from plan_stubs.trigger(device, wait=False)
        while instrument.beam != "scanning":
            yield from plan_stubs.sleep(0.01)
        seen.append(instrument.beam)
        yield from plan_stubs.pause()

    with pytest.raises(RunEngineInterrupted):
        engine(preprocessors.stage_wrapper(plan(), [device]))
    getattr(engine, ending)()
    assert seen == ["scanning"]
    assert instrument.beam == "blanked"
    with pytest.raises(InstrumentError, match="closed"):
        instrument.blank(False)
    assert documents.of("stop")[0]["exit_status"] == ("success" if ending == "stop" else "abort")


def test_an_error_of_the_plan_leaves_the_beam_blanked(engine):
    instrument = simulated(realtime=True)
    device = Microscope(instrument)

    def plan():
        yield from plan_stubs.open_run()
        yield from plan_stubs.prepare(device, LONG, wait=True)
        yield from plan_stubs.trigger(device, wait=False)
        raise RuntimeError("of the plan")

    with pytest.raises(RuntimeError, match="of the plan"):
        engine(preprocessors.stage_wrapper(plan(), [device]))
    assert instrument.beam == "blanked"


def test_stop_cuts_the_scan_and_fails_its_status():
    instrument = simulated(realtime=True)
    device = Microscope(instrument)
    device.stop()  # nothing is staged: nothing to do
    device.stage()
    assert device.prepare(LONG).exception(0) is None
    status = device.trigger()
    with pytest.raises(TimeoutError):
        status.exception(0.0)
    device.stop(success=False)
    assert isinstance(status.exception(5.0), ScanError)
    assert not status.success
    assert instrument.beam == "blanked"
    status = device.trigger()
    device.stop()
    assert status.exception(5.0) is None
    assert device.frame is None
    with pytest.raises(InstrumentError, match="has no frame"):
        device.read()
    device.unstage()


def test_what_the_instrument_cannot_do_fails_before_the_beam_moves(engine):
    instrument = simulated()
    device = Microscope(instrument, channels=["BF"])
    with pytest.raises(FailedStatus) as raised:
        engine(frames(device))
    assert isinstance(raised.value.__cause__, ConfigurationError)
    assert "channels holds 'BF', expected names from HAADF" in str(raised.value.__cause__)
    assert instrument.clock_ns == 0


def test_the_order_of_calls_is_told():
    device = Microscope(simulated())
    assert isinstance(device.prepare((ROI, SITES[0])).exception(0), InstrumentError)
    device.stage()
    for call in (device.trigger, device.describe):
        with pytest.raises(InstrumentError, match="not prepared"):
            call()
    with pytest.raises(InstrumentError, match="expected trigger before read"):
        device.read()
    with pytest.raises(InstrumentError, match="is staged already"):
        device.stage()
    assert isinstance(device.prepare("a scan").exception(0), ValueError)
    device.unstage()
    device.unstage()


def test_options_are_for_a_uri():
    with pytest.raises(ConfigurationError, match="seed: options are for a URI"):
        Microscope(simulated(), seed=2)
