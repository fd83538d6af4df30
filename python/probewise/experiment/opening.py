# SPDX-License-Identifier: BSD-3-Clause
"""Brings a run to where its loop can go on: a new one to after its survey, a resumed one to after its last step."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, StorageError
from probewise.experiment.belief import Belief
from probewise.experiment.config import Configuration
from probewise.experiment.describer import Describer, chosen_component, make_describer, told_value
from probewise.experiment.devices import check_device
from probewise.experiment.drift import Drift
from probewise.experiment.durable import replace_text
from probewise.experiment.history import History, StepRecord
from probewise.experiment.hooks import Hooks
from probewise.experiment.journal import Journal
from probewise.experiment.learner import Learner
from probewise.experiment.loading import build
from probewise.experiment.networks import Networks, open_networks
from probewise.experiment.policy import Chooser
from probewise.experiment.recorder import VISIT, Recorder, SurveyRecord
from probewise.experiment.resolved import digest
from probewise.experiment.sites import Candidates, Sites, sites_table
from probewise.experiment.sources import LiveSource, Measurement, ReplaySource, open_source
from probewise.experiment.states import Plan, SiteState
from probewise.experiment.survey import take_survey
from probewise.experiment.trend import brightness
from probewise.experiment.watch import Watch
from probewise.types import Armed, FloatArray, Frame, Spectrum

CONFIGURATION_FILE = "config.toml"


@dataclass
class Opened:
    """Everything a running loop holds."""

    directory: Path
    recorder: Recorder
    source: LiveSource | ReplaySource
    history: History
    learner: Learner
    chooser: Chooser
    networks: Networks
    watch: Watch
    survey: Frame | None
    queue: list[Plan] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    aborted: bool = False
    newest: Frame | None = None
    last_quality: Any = None
    drift: Drift | None = None

    def requalify(self) -> None:
        """Judge the last frame of a resumed run again: the next one is compared with it."""
        for step in reversed(self.history.steps):
            number = self.recorder.frame_number(step.step)
            if number is not None:
                self.judge(self.recorder.journal.frame(number), step.site)
                return

    def judge(self, measurement: Measurement, site: int) -> dict[str, Any]:
        """The frame gate's verdict; a spectrum has to hold finite counts, and a told value needs none."""
        if isinstance(measurement, Spectrum):
            whole = bool(np.isfinite(measurement.counts).all()) and float(measurement.total.sum()) > 0
            return {"reasons": [] if whole else ["the spectrum holds no counts, or a value that is not finite"]}
        planned = self.source.plan(site)
        if not isinstance(measurement, Frame) or planned is None:
            return {"reasons": []}
        from probewise.image import gate

        scan, context = planned
        armed = Armed(measurement.sequence, scan, context, measurement.channels, scan.duration_ns)
        self.last_quality = quality = gate(
            measurement, armed, saturation=self.source.saturation, previous=self.last_quality
        )
        return {
            "reasons": list(quality.reasons),
            "finite_fraction": _finite(quality.finite_fraction),
            "saturated_fraction": _finite(quality.saturated_fraction),
            "mean": _finite(quality.mean),
            "variance": _finite(quality.variance),
        }

    def notice(self, text: str) -> None:
        """Keep a notice for the next row of the journal; the same text once a run."""
        if text not in self.noticed:
            self.noticed.append(text)
            self.pending.append(text)

    def notice_kind(self, text: str) -> None:
        """As `notice`, for texts that differ in their numbers only: the first of them once a run."""
        if all(_without_numbers(said) != _without_numbers(text) for said in self.noticed):
            self.notice(text)

    def take_notices(self) -> tuple[str, ...]:
        taken, self.pending = tuple(self.pending), []
        return taken

    def close(self) -> None:
        """Beam first, journal last."""
        try:
            self.source.close()
        finally:
            self.learner.close()
            self.recorder.journal.close()


def journalled_configuration(directory: Path) -> Configuration:
    """The configuration of the run in `directory`, from its journal."""
    with Journal.open(directory, write=False) as journal:
        return stored_configuration(journal)


def stored_configuration(journal: Journal) -> Configuration:
    text = journal.meta("configuration")
    try:
        return build(tomllib.loads(text))
    except (TypeError, tomllib.TOMLDecodeError, ConfigurationError) as error:
        raise StorageError(f"journal {journal.path} is damaged: its configuration cannot be read: {error}") from error


def create_journal(configuration: Configuration, directory: Path) -> Journal:
    """config.toml and run.sqlite in a new folder."""
    text = configuration.to_toml()
    replace_text(directory / CONFIGURATION_FILE, text)
    meta = {"configuration": text, "digest": digest(configuration)}
    return Journal.create(directory, meta, visits=configuration.drift.correct != "off")


def begin(
    configuration: Configuration, hooks: Hooks, journal: Journal, opened: Callable[[LiveSource | ReplaySource], None]
) -> Opened:
    """A new run: open the instrument, survey, mask, and be ready to choose.

    opened  is given the source before the beam moves, so that the survey can be aborted
    raises  ConfigurationError; refused before anything was booked or measured, a run leaves no files behind
    """
    with contextlib.ExitStack() as undo:
        undo.callback(journal.close)
        try:
            begun = _begin(configuration, hooks, journal, opened)
        except ConfigurationError:
            if Recorder(journal).unused():
                journal.close()
                _take_back(journal)
            raise
        undo.pop_all()
    return begun


def _take_back(journal: Journal) -> None:
    """Remove the files of `create_journal`, so that the corrected run may have the same folder."""
    for path in (journal.path.with_name(CONFIGURATION_FILE), journal.path):
        path.unlink(missing_ok=True)


def _begin(
    configuration: Configuration, hooks: Hooks, journal: Journal, opened: Callable[[LiveSource | ReplaySource], None]
) -> Opened:
    recorder = Recorder(journal)
    recorder.begin_segment()
    source = open_source(configuration, hooks.instrument)
    with contextlib.ExitStack() as undo:
        undo.callback(source.close)
        opened(source)
        described = _described(configuration, hooks, recorder, source)
        recorder.write_source(source.name, source.target, _source_table(source, described.networks))
        record, frame, notices = _survey(configuration, source, recorder)
        begun = _assemble(configuration, described, recorder, source, record, frame, [*source.notices, *notices])
        undo.pop_all()
    return begun


def reopen(
    configuration: Configuration, hooks: Hooks, directory: Path, opened: Callable[[LiveSource | ReplaySource], None]
) -> Opened:
    """A run as it stood after its last committed step; everything since the survey comes from the journal."""
    journal = Journal.open(directory, write=True)
    with contextlib.ExitStack() as undo:
        undo.callback(journal.close)
        reopened = _reopen(configuration, hooks, journal, opened)
        undo.pop_all()
    return reopened


def _reopen(
    configuration: Configuration, hooks: Hooks, journal: Journal, tell: Callable[[LiveSource | ReplaySource], None]
) -> Opened:
    journal.verify()
    recorder = Recorder(journal)
    differences = recorder.begin_segment()
    lost = recorder.book_lost()
    record = recorder.survey()
    source = open_source(configuration, hooks.instrument)
    with contextlib.ExitStack() as undo:
        undo.callback(source.close)
        tell(source)
        described = _described(configuration, hooks, recorder, source)
        journalled = recorder.source()
        if journalled is not None:
            described.networks.check_journalled(journalled["models"])
        if record is None:  # it died before its survey was committed
            if journalled is None:
                recorder.write_source(source.name, source.target, _source_table(source, described.networks))
            record, frame, notices = _survey(configuration, source, recorder)
            opened = _assemble(configuration, described, recorder, source, record, frame, [*source.notices, *notices])
        else:
            frame = None if record.frame is None else journal.frame(record.frame)
            opened = _assemble(configuration, described, recorder, source, record, frame, recorder.notices())
            opened.history.steps.extend(recorder.steps())
            replay(recorder, opened.history.steps, opened.learner)
            opened.learner.go_on()
            opened.requalify()
            tail = recorder.tail()
            opened.queue = tail[0] if tail else []
            source.restore(tail[1] if tail else record.checkpoint)
            if opened.drift is not None:
                opened.drift.restore()
        opened.history.lost_electrons = lost
        for text in [*source.notices, *differences]:
            opened.notice(text)
        if lost > 0:
            opened.notice(_lost_notice(opened, recorder))
        undo.pop_all()
    return opened


def replay(recorder: Recorder, steps: Sequence[StepRecord], learner: Learner) -> None:
    """Tell a learner what a run has learnt, bit for bit."""
    for step in steps:
        if step.state is not SiteState.MEASURED:
            continue
        description = recorder.description(step.step)
        if description is None:
            raise StorageError(f"journal {recorder.journal.path} is damaged: step {step.step} has no description")
        again = recorder.lesson(step.step, step.value)
        learner.learn(step.site, description, again=again)


class _Asking:
    """Puts a question to a person: the `ask` hook gets what was seen, its frames and the workflow."""

    def __init__(self, ask: Callable[..., int], recorder: Recorder) -> None:
        self.opened: Opened | None = None
        self._ask = ask
        self._recorder = recorder

    def __call__(self, values: FloatArray) -> int:
        opened = self.opened
        assert opened is not None
        journalled = opened.history.steps[:-1]  # the last is being learnt
        numbers = [self._recorder.frame_number(step.step) for step in journalled if step.state is SiteState.MEASURED]
        frames = [self._recorder.journal.frame(number) for number in numbers if number is not None]
        if opened.newest is not None:  # measured, not yet journalled
            frames.append(opened.newest)
        descriptions = [seen.description for seen in opened.learner.seen]
        return int(self._ask(descriptions, frames, opened.learner.describer))


def assemble_learner(
    configuration: Configuration,
    sites: Sites,
    describer: Describer,
    second: Callable[[], Describer] | None,
    *,
    survey: Frame | None,
    device: str = "cpu",
) -> Learner:
    from probewise.acquisition import objective

    offset = objective(configuration.acquisition.objective).offset
    candidates = Candidates.over(sites, configuration.refine)
    belief = Belief(candidates, configuration.surrogate, offset, brightness(survey, candidates), device)
    return Learner(describer, belief, configuration, 0, second)


@dataclass(frozen=True)
class _Described:
    """What turns measurements into values, and what it needs."""

    describer: Describer
    second: Callable[[], Describer] | None
    networks: Networks
    watch: Watch
    asking: _Asking | None


def _described(
    configuration: Configuration, hooks: Hooks, recorder: Recorder, source: LiveSource | ReplaySource
) -> _Described:
    """What will turn measurements into values; refused before the survey where it cannot be made."""
    check_device(configuration)
    told = isinstance(source, ReplaySource) and source.told
    described = configuration.measure.kind == "frame" and hooks.scalarize is None and not told
    component: Any = chosen_component(configuration, hooks.component, hooks.ask) if described else None
    asking = _Asking(hooks.ask, recorder) if hooks.ask is not None and component is hooks.ask else None
    networks = open_networks(configuration) if described else Networks()
    if networks.all:
        networks.check_frames(source.shape, source.pixel_nm)
    scalarize = told_value if told else hooks.scalarize
    watch = Watch(asks=configuration.descriptor.on_unfamiliar == "ask", noticed=recorder.notices())

    def make() -> Describer:
        return make_describer(configuration, scalarize, asking or component, networks, watch)

    # a callable that chooses the component, a person for one, is asked on the loop's own thread
    second = make if described and not callable(asking or component) else None
    return _Described(make(), second, networks, watch, asking)


def _assemble(
    configuration: Configuration,
    described: _Described,
    recorder: Recorder,
    source: LiveSource | ReplaySource,
    record: SurveyRecord,
    frame: Frame | None,
    notices: list[str],
) -> Opened:
    describer, asking = described.describer, described.asking
    history = History(source.sites, record.excluded, record.duration_ns, record.electrons, record.fluence)
    learner = assemble_learner(
        configuration, source.sites, describer, described.second, survey=frame, device=configuration.run.device
    )
    chooser = Chooser(
        configuration, source.sites, learner.belief, survey_means=record.site_means, excluded=record.excluded
    )
    learner.start_sites = chooser.start_sites
    directory = recorder.journal.path.parent
    opened = Opened(directory, recorder, source, history, learner, chooser, described.networks, described.watch, frame)
    if asking is not None:
        asking.opened = opened
    if configuration.drift.correct != "off":
        assert isinstance(source, LiveSource), "checked with the configuration"
        assert frame is not None, "checked with the configuration"
        opened.drift = Drift(configuration, source, recorder, history, frame)
    opened.noticed = list(dict.fromkeys([*notices, *described.networks.notices]))
    return opened


def _source_table(source: LiveSource | ReplaySource, networks: Networks) -> dict[str, Any]:
    return {
        "models": networks.table,
        **sites_table(source.sites),
        "frame_shape": source.shape,
        "full_raster_ns": source.full_raster_ns,
    }


def _survey(
    configuration: Configuration, source: LiveSource | ReplaySource, recorder: Recorder
) -> tuple[SurveyRecord, Frame | None, list[str]]:
    """Book its dose, take it, and write it down."""
    dose = source.survey_dose()
    if dose.duration_ns:
        recorder.reserve(-1, -1, dose)
    survey = take_survey(configuration, source)
    record = SurveyRecord(
        None,
        survey.masks,
        survey.excluded,
        dose.duration_ns,
        dose.electrons or 0.0,
        dose.fluence_e_per_A2 or 0.0,
        source.checkpoint(),
        survey.site_means,
    )
    notices = [*(() if survey.frame is None else survey.frame.notices), *survey.notices]
    recorder.write_survey(survey.frame, record, [*source.notices, *notices])
    return record, survey.frame, notices


def _lost_notice(opened: Opened, recorder: Recorder) -> str:
    """The largest fluence with the frames that a death cut short."""
    lost: dict[int, float] = {}
    for site, fluence in recorder.lost_by_site():
        lost[site] = lost.get(site, 0.0) + fluence
    survey = lost.pop(-1, 0.0) + lost.pop(VISIT, 0.0)
    sites = set(lost) | {step.site for step in opened.history.steps}
    true = max((opened.history.fluence_at(site) + lost.get(site, 0.0) for site in sites), default=0.0) + survey
    return (
        f"{opened.history.lost_electrons:.4g} electrons were lost with frames cut by a death: "
        f"with them the largest fluence so far is {true:.4g} e/A^2"
    )


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "", text)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
