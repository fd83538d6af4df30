# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import math

import numpy as np
import pytest

from probewise.errors import ConfigurationError, InstrumentError
from probewise.experiment import Experiment, open_run
from probewise.experiment.anchor import TRIES, Fix, expected_nm, follow, rate_nm_per_min
from probewise.experiment.drift import visits_of
from probewise.experiment.history import History, StepRecord, VisitRecord
from probewise.experiment.journal import Journal
from probewise.experiment.sites import SiteList
from probewise.experiment.states import Plan, SiteState
from probewise.experiment.truth import recall_curve
from probewise.image.drift import Shift
from probewise.instrument import Distortions
from probewise.instrument.simulated import SimulatedInstrument

FOV_NM = 60.0
DRIFT = (4.0, -3.0)  # nm/min: a second of these short runs is what ten are elsewhere
TABLES = {
    "instrument": {"uri": "simulated:nio-lsmo", "fov_nm": FOV_NM},
    "survey": {"shape": (256, 256)},
    "sites": {"shape": (10, 10), "side_nm": 4.0, "pixel_nm": 0.125},
    "scan": {"dwell_ns": 40_000},
    "measure": {"scalarize": lambda frame: float(frame.counts.mean())},
    "start": {"sites": 4},
    "budget": {"steps": 8},
    "drift": {"correct": "reference", "every_steps": 3},
}


def instrument(specimen="nio-lsmo", rate=DRIFT, **moves):
    distortions = dataclasses.replace(Distortions(), drift_nm_per_min=rate, **moves)
    return SimulatedInstrument(specimen, seed=3, fov_nm=FOV_NM, distortions=distortions)


def experiment(directory, microscope=None, **changes):
    tables = {name: {**TABLES.get(name, {}), **changes.get(name, {})} for name in {**TABLES, **changes}}
    return Experiment(microscope or instrument(), out=directory, **tables)


def told(directory):
    """All that must not depend on where a run was cut."""
    with open_run(directory) as run:
        steps = [(step.site, step.off_nm, step.electrons, step.state) for step in run.history.steps]
        return steps, run.history.visits, [frame.counts.tobytes() for frame in run.frames], run.mean.tobytes()


def test_sites_stay_on_a_drifting_specimen(tmp_path):
    summary = experiment(tmp_path).run()
    with open_run(tmp_path) as run:
        history, off = run.history, np.array([step.off_nm for step in run.history.steps])
    assert [visit.kind for visit in history.visits] == ["reference", "patch", "patch"]
    assert [visit.step for visit in history.visits] == [0, 3, 6]
    since = off - instrument().drift_nm(history.visits[0].clock_ns)
    assert np.hypot(*since[6:].T).max() < 0.0125 * 2  # 0.2 px of the patch, and as much again for the rate between
    assert np.hypot(*instrument().drift_nm(history.visits[-1].clock_ns)) > 0.08  # without it they would not
    assert summary["notices"] == []


def test_the_dose_of_every_scan_is_booked(tmp_path):
    summary = experiment(tmp_path).run()
    with open_run(tmp_path) as run:
        visits, steps = run.history.visits, run.history.steps
        survey = run.history.survey_electrons
        largest = run.history.patch_fluence
        predicted = visits_of(run.configuration, len(steps), steps[0].duration_ns)
    with Journal.open(tmp_path, write=False) as journal:
        booked = journal.rows("SELECT state, COUNT(*), SUM(electrons) FROM doses GROUP BY state")
        scans = journal.rows("SELECT COUNT(*) FROM doses WHERE step = -2")[0][0]
    per_scan = 256 * 256 * 4000e-9 * 60e-12 / 1.602176634e-19
    assert sum(visit.scans for visit in visits) == scans == predicted
    for visit in visits:
        assert visit.electrons == pytest.approx(visit.scans * per_scan)
        assert visit.fluence_e_per_A2 == pytest.approx(visit.scans * per_scan / 256**2 / 0.0625**2 / 100)
    assert [(state, count) for state, count, _ in booked] == [("committed", 1 + scans + len(steps))]
    assert summary["dose"]["electrons"] == pytest.approx(booked[0][2])
    assert summary["dose"]["electrons"] == pytest.approx(
        survey + sum(visit.electrons for visit in visits) + sum(step.electrons for step in steps)
    )
    assert summary["dose"]["max_e_per_A2"] >= largest > sum(visit.fluence_e_per_A2 for visit in visits)


def test_visits_stop_at_the_electron_budget(tmp_path):
    whole = experiment(tmp_path / "a").run()["dose"]["electrons"]
    with open_run(tmp_path / "a") as run:
        before = run.history.electrons - sum(v.electrons for v in run.history.visits[2:])
        before -= sum(step.electrons for step in run.history.steps[6:])
    summary = experiment(tmp_path / "b", budget={"electrons": before + 1.0, "steps": None}).run()
    assert summary["stop_reason"] == "budget: electrons"
    assert summary["dose"]["electrons"] <= before + 1.0 < whole


@pytest.mark.parametrize("jump", [(1.5, -0.8), (3.905, 0.0)])
def test_a_jump_is_followed(tmp_path, jump):
    summary = experiment(tmp_path, instrument(rate=(0.0, 0.0), jumps=((1.05, *jump),))).run()
    with open_run(tmp_path) as run:
        visits, steps = run.history.visits, run.history.steps
    jumped = [visit for visit in visits if visit.jumped]
    assert len(jumped) == 1
    assert jumped[0].anchor_nm == pytest.approx((-jump[0], -jump[1]), abs=0.0125)  # 0.2 px of the patch
    assert any("has moved" in text for text in summary["notices"])
    assert np.hypot(*np.array([step.off_nm for step in steps if step.step >= jumped[0].step]).T).max() < 0.02


def test_a_jump_out_of_reach_is_found_by_a_new_survey_and_sites_come_back(tmp_path):
    microscope = instrument(rate=(0.0, 0.0), jumps=((0.65, 7.0, 0.0), (2.1, -7.0, 0.0)))
    summary = experiment(tmp_path, microscope, sites={"border": 0}, budget={"steps": 14}).run()
    with open_run(tmp_path) as run:
        visits = run.history.visits
        unreachable = run.history.states
    surveys = [visit for visit in visits if visit.kind == "survey"]
    assert surveys
    assert surveys[0].anchor_nm == pytest.approx((-7.0, 0.0), abs=0.0125)
    assert surveys[0].fluence_e_per_A2 > 0
    assert any("surveyed again" in text for text in summary["notices"])
    assert visits[-1].anchor_nm == pytest.approx((0.0, 0.0), abs=0.0125)
    assert (unreachable != SiteState.UNREACHABLE).all()


def test_a_lattice_alone_is_refused_with_the_beam_safe(tmp_path):
    microscope = SimulatedInstrument("graphene", seed=1, fov_nm=FOV_NM, defect_statistics="uncorrelated", defects=0)
    with pytest.raises(InstrumentError, match="no place of 16 nm in the survey is told from its surroundings"):
        experiment(tmp_path, microscope).run()
    assert microscope.beam == "blanked"
    with Journal.open(tmp_path, write=False) as journal:
        assert journal.rows("SELECT COUNT(*) FROM doses WHERE state = 'reserved'") == [(0,)]


class Death(Exception):
    pass


@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_resume_stands_where_the_run_stood(tmp_path, step, whole_run):
    dying = experiment(tmp_path)
    seen = []

    def die(stage):
        seen.append(stage)
        if seen.count("reserved") == step + 1:
            raise Death

    dying.on("stage", die)
    with pytest.raises(Death):
        dying.run()
    Experiment.resume(tmp_path, instrument(), scalarize=TABLES["measure"]["scalarize"]).run()
    assert told(tmp_path) == whole_run


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    experiment(directory).run()
    return told(directory)


def test_only_runs_that_follow_drift_have_the_newer_schema(tmp_path):
    experiment(tmp_path / "off", drift={"correct": "off"}, budget={"steps": 1}).run()
    experiment(tmp_path / "on", budget={"steps": 1}).run()
    for name, schema in (("off", 1), ("on", 2)):
        with Journal.open(tmp_path / name, write=False) as journal:
            assert journal.meta("schema") == schema
            tables = {table for (table,) in journal.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
            assert ("visits" in tables) == (schema == 2)
    with open_run(tmp_path / "off") as run:
        assert run.history.visits == []
        assert run.history.steps[0].off_nm == pytest.approx(instrument().drift_nm(80_000_000), rel=0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"survey": {"shape": "none"}, "acquisition": {}}, "drift.correct is 'reference' and survey.shape 'none'"),
        ({"drift": {"max_nm": 30.0}}, "a patch that stays in the field of 60 nm"),
        ({"drift": {"pixels": 10}}, "drift.pixels"),
        ({"drift": {"correct": "always"}}, "drift.correct"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        experiment(tmp_path, **changes)


def test_the_rate_is_that_of_the_fixes_since_the_last_jump():
    minute = 60 * 10**9
    assert expected_nm([], 5) == (0.0, 0.0)
    one = [Fix(0, (1.0, 2.0))]
    assert expected_nm(one, minute) == (1.0, 2.0)
    straight = [Fix(k * minute, (0.5 * k, -k)) for k in range(6)]
    assert rate_nm_per_min(straight) == pytest.approx((0.5, -1.0))
    assert expected_nm(straight, 7 * minute) == pytest.approx((3.5, -7.0))
    jumped = [*straight, Fix(6 * minute, (10.0, 10.0), jumped=True)]
    assert rate_nm_per_min(jumped) == pytest.approx((0.5, -1.0))  # one fix alone has no rate of its own
    assert expected_nm(jumped, 8 * minute) == pytest.approx((11.0, 8.0))
    after = [*jumped, Fix(8 * minute, (10.0, 12.0))]
    assert rate_nm_per_min(after) == pytest.approx((0.0, 1.0))


class Marked:
    """A patch whose content lies at `place` (nm), found by a scan that is stretched by a tenth."""

    def __init__(self, place, doubts=()):
        self.place, self.doubts = place, doubts

    def locate(self, anchor):
        off = (np.array(self.place) - anchor) / 0.1 / 1.1
        return Shift((off[0], off[1]), (0.1, 0.2), 0.9, 0.1, self.doubts)


def test_a_long_shift_is_measured_again_from_where_it_led():
    scans = []

    def scan(anchor):
        scans.append(anchor)
        return np.array(anchor)

    found = follow(Marked((2.0, -3.0)), 0.1, (0.0, 0.0), scan)
    assert found.anchor_nm == pytest.approx((2.0, -3.0), abs=0.03)
    assert found.error_nm == pytest.approx(0.02)
    assert len(scans) == 2
    scans.clear()
    lost = follow(Marked((0.0, 0.0), ("another place fits",)), 0.1, (0.0, 0.0), scan)
    assert (lost.anchor_nm, lost.doubts, len(scans)) == (None, ("another place fits",), 1)
    scans.clear()
    fleeing = follow(type("Fleeing", (), {"locate": lambda self, a: Shift((9.0, 0.0), (0.1, 0.1), 1.0, 0.1)})(), 0.1,
                     (0.0, 0.0), scan)  # fmt: skip
    assert fleeing.anchor_nm is None
    assert len(scans) == TRIES


def test_a_scan_counts_for_the_site_that_it_lay_on():
    sites = SiteList(np.array([[5.0, 5.0], [5.0, 15.0], [5.0, 25.0]]), 8.0, (10.0, 30.0))
    history = History(sites, np.zeros(3, dtype=bool))

    def step(number, site, off):
        plan = Plan(site, "halton")
        return StepRecord(number, plan, SiteState.MEASURED, 1.0, 100, 1.0, 1.0, 0, off_nm=off)

    interesting = np.array([True, True, False])
    history.steps = [step(0, 0, (0.0, 3.0)), step(1, 2, (0.0, -9.0))]
    assert recall_curve(history, interesting, 1.0)[:, 2].tolist() == [0.0, 0.5, 1.0]
    history.steps = [step(0, 0, None), step(1, 2, None)]
    assert recall_curve(history, interesting, 1.0)[:, 2].tolist() == [0.0, 0.5, 0.5]


def test_a_visit_counts_where_it_was_and_when():
    sites = SiteList(np.array([[10.0, 10.0], [10.0, 50.0]]), 8.0, (60.0, 60.0))
    visit = VisitRecord(1, "patch", 0, (0.0, 0.0), False, 0.01, (), (12.0, 8.0), 16.0, 70, 5.0, 2.0, 1, {})
    step = StepRecord(0, Plan(0, "halton"), SiteState.MEASURED, 1.0, 100, 3.0, 10.0, 0)
    history = History(sites, np.zeros(2, dtype=bool), 1000, 4.0, 0.5, 0.0, [step], [visit])
    assert history.electrons == 12.0
    assert history.beam_ns == 1170
    assert history.spent_ns().tolist() == [1000.0, 1170.0]
    assert history.fluence_at(0) == pytest.approx(12.5)
    assert history.fluence_at(1) == pytest.approx(0.5)
    assert history.patch_fluence == pytest.approx(12.5)
    assert math.isclose(history.states[0], SiteState.MEASURED)
    history.outside = np.array([True, True])
    assert history.states.tolist() == [SiteState.MEASURED, SiteState.UNREACHABLE]
