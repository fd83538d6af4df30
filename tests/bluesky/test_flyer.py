# SPDX-License-Identifier: BSD-3-Clause
"""A whole experiment as one run of a real RunEngine."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bluesky.run_engine", reason="bluesky is not installed: pip install '.[bluesky]'")

from bluesky import RunEngine, protocols
from bluesky.utils import FailedStatus, RunEngineInterrupted
from event_model import DocumentNames, schema_validators, unpack_event_page

from fakes import Fault
from probewise.bluesky import ExperimentFlyer, run_plan
from probewise.bluesky.status import Status
from probewise.errors import ConfigurationError, InstrumentError
from probewise.experiment import Experiment, open_run
from probewise.instrument import SimulatedInstrument
from tiny_experiment import fake, mean, tables, tiny

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "bluesky.md"
STEPS = 12


@pytest.fixture
def documents():
    return []


@pytest.fixture
def engine(documents):
    def keep(name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        documents.append((name, doc))

    made = RunEngine({}, call_returns_result=False)
    made.subscribe(keep)
    return made


@pytest.fixture
def instrument():
    return SimulatedInstrument("particles", seed=4, fov_nm=100.0)


def small(instrument, out):
    return Experiment(instrument, out=out, **tables(budget={"steps": STEPS}))


def of(documents, name):
    return [doc for kind, doc in documents if kind == name]


def test_it_has_the_protocols_of_bluesky(instrument, tmp_path):
    flyer = ExperimentFlyer(small(instrument, tmp_path / "run"))
    names = ("Flyable", "EventCollectable", "Configurable", "Stageable", "Stoppable", "Pausable", "HasParent")
    assert [name for name in names if not isinstance(flyer, getattr(protocols, name))] == []


def test_an_experiment_is_one_run_with_an_event_for_each_step(engine, documents, instrument, tmp_path):
    experiment = small(instrument, tmp_path / "run")
    uids = engine(run_plan(experiment, name="ae", md={"operator": "nobody"}))
    assert [name for name, _ in documents] == ["start", "descriptor", "event_page", "stop"]
    start, stop = of(documents, "start")[0], of(documents, "stop")[0]
    assert uids == (start["uid"],)
    assert (start["plan_name"], start["operator"]) == ("probewise", "nobody")
    assert stop["num_events"] == {"steps": STEPS}
    descriptor = of(documents, "descriptor")[0]
    told = descriptor["configuration"]["ae"]["data"]
    assert told["ae_directory"] == str(tmp_path / "run")
    assert told["ae_uri"] == "simulated:particles"
    events = list(unpack_event_page(of(documents, "event_page")[0]))
    run = open_run(tmp_path / "run")
    assert [event["data"]["ae_site"] for event in events] == run.visited.tolist()
    np.testing.assert_array_equal([event["data"]["ae_value"] for event in events], run.values)
    assert {event["data"]["ae_state"] for event in events} == {"measured"}
    assert all(set(event["data"]) == set(descriptor["data_keys"]) for event in events)
    assert experiment.summary["stop_reason"] == "budget: steps"
    assert instrument.beam == "blanked"


def interrupted(engine, experiment, after):
    """Run until the engine has paused in the step `after`."""
    experiment.on("step", lambda step: engine.request_pause() if step.index == after else None)
    with pytest.raises(RunEngineInterrupted):
        engine(run_plan(experiment))


@pytest.mark.parametrize("after", [0, 3])
def test_a_pause_holds_the_run_and_resume_goes_on(engine, documents, instrument, tmp_path, after):
    experiment = small(instrument, tmp_path / "run")
    interrupted(engine, experiment, after)
    assert experiment.summary is None
    engine.resume()
    assert experiment.summary["stop_reason"] == "budget: steps"
    assert of(documents, "stop")[0]["num_events"] == {"steps": STEPS}


@pytest.mark.parametrize("ending", ["stop", "abort", "halt"])
def test_a_run_that_is_ended_leaves_the_beam_blanked_and_can_be_resumed(engine, documents, tmp_path, ending):
    instrument = SimulatedInstrument("particles", seed=4, fov_nm=100.0)
    experiment = small(instrument, tmp_path / "run")
    interrupted(engine, experiment, 3)
    getattr(engine, ending)()
    assert instrument.beam == "blanked"
    assert experiment.summary["stop_reason"] == "aborted"
    assert of(documents, "stop")[0]["exit_status"] == ("success" if ending == "stop" else "abort")
    again = SimulatedInstrument("particles", seed=4, fov_nm=100.0)
    summary = Experiment.resume(tmp_path / "run", again, scalarize=mean).run()
    assert summary["stop_reason"] == "budget: steps"
    assert summary["steps"] == STEPS


def test_a_run_that_fails_fails_the_plan(engine, documents, tmp_path):
    instrument = fake([Fault("start", "raise", call=None)])
    experiment = tiny(tmp_path / "run", instrument)
    with pytest.raises(FailedStatus) as raised:
        engine(run_plan(experiment))
    assert isinstance(raised.value.__cause__, InstrumentError)
    assert of(documents, "stop")[0]["exit_status"] == "fail"
    assert instrument.beam == "blanked"


def test_a_flyer_flies_once(instrument, tmp_path):
    flyer = ExperimentFlyer(small(instrument, tmp_path / "run"))
    flyer.stop()  # nothing flies: nothing to do
    assert flyer.kickoff() is flyer.kickoff()
    assert flyer.complete().exception(30.0) is None
    assert len(list(flyer.collect())) == STEPS
    assert list(flyer.collect()) == []
    with pytest.raises(InstrumentError, match="has flown"):
        flyer.stage()


def test_without_bluesky_it_says_what_to_install(monkeypatch, instrument, tmp_path):
    monkeypatch.setitem(sys.modules, "bluesky", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'probewise[bluesky]'")):
        next(run_plan(small(instrument, tmp_path / "run")))


def test_the_pages_scripts_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {}
    for script in (first, second):
        assert script.count("\n") <= 25
        exec(compile(script, str(PAGE), "exec"), names)  # noqa: S102  the page's own text
    assert names["experiment"].summary["steps"] == 20
    assert [picture.shape for picture in names["frames"]] == [(64, 64)] * 2
    assert not np.array_equal(*names["frames"])


def test_a_status_calls_back_once_and_keeps_its_first_end():
    status, seen = Status(), []
    status.add_callback(seen.append)
    assert not status.done
    status.finish(ValueError("first"))
    status.finish()
    status.add_callback(seen.append)
    assert seen == [status, status]
    assert str(status.exception()) == "first"
    assert not status.success
