# SPDX-License-Identifier: BSD-3-Clause
"""One step of an automated experiment: choose, book, scan, judge, describe, learn, journal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.experiment.budget import over_fluence, reason_to_stop
from probewise.experiment.config import Configuration
from probewise.experiment.dose import ScanDose, electrons
from probewise.experiment.history import StepRecord
from probewise.experiment.learner import Lesson
from probewise.experiment.opening import Opened
from probewise.experiment.sources import Measurement, frame_of
from probewise.experiment.states import Plan, SiteState, Step
from probewise.experiment.stopwatch import Stopwatch
from probewise.experiment.watch import ASKED, Confirm, refusal
from probewise.types import Description, Frame

MAX_BAD_RUNNING = 5


class Aborted(Exception):
    """The scan was cut because someone asked for it; its reservation stays open and is booked as lost."""


@dataclass
class Shot:
    """What one scan gave and what it cost; measurement None where the beam did not move or nothing came back."""

    state: SiteState
    measurement: Measurement | None = None
    dose: ScanDose = field(default_factory=lambda: ScanDose(0, 0.0, 0.0))
    quality: dict[str, Any] = field(default_factory=dict)

    @property
    def frame(self) -> Frame | None:
        return frame_of(self.measurement)


@dataclass
class Flight:
    """A scan that the instrument has; `wait` gives its measurement."""

    plan: Plan
    dose: ScanDose
    idle_ns: int
    wait: Callable[[], Measurement]
    watch: Stopwatch
    handed_ns: int


class Loop:
    """The state between two steps. `emit(event, value)` tells whoever listens; `stop_reason` is set at the end.

    The queue holds the sites that wait for their turn, the one that is being scanned first.
    """

    def __init__(
        self,
        configuration: Configuration,
        opened: Opened,
        emit: Callable[[str, Any], None],
        confirm: Confirm | None = None,
    ) -> None:
        self.opened = opened
        self.stop_reason: str | None = None
        self._configuration = configuration
        self._budget = configuration.budget
        self._pipelined = configuration.acquisition.pipelined
        self._emit = emit
        self._confirm = confirm
        self._queue: deque[Plan] = deque(opened.queue)
        self._flight: Flight | None = None
        self._barred: set[int] = set()
        self._last_pixel_ns: int | None = None
        self._elapsed_before_ns = opened.history.elapsed_ns
        self._started_ns = time.monotonic_ns()

    @property
    def elapsed_ns(self) -> int:
        """Wall time of the run, earlier segments included."""
        return self._elapsed_before_ns + time.monotonic_ns() - self._started_ns

    @property
    def scanning(self) -> bool:
        """Whether the scan of the next step runs already."""
        return self._flight is not None

    def step(self, *, ahead: Callable[[], bool] = lambda: False) -> Step | None:
        """One sub-scan from choice to journal; None when the run has come to its end.

        ahead  asked when the next site is known: may its scan be handed over before this step is in the journal?
        """
        if self._flight is None and not self._follow_drift():
            return None
        flight = self._flight if self._flight is not None else self._launch(Stopwatch())
        self._flight = None
        if flight is None:
            return None
        if self._pipelined and len(self._queue) == 1:
            self._choose(flight.watch)
        try:
            shot = self._land(flight)
        except Aborted:
            return None
        record = self._record(flight, shot)
        checkpoint = self.opened.source.checkpoint()
        if self._pipelined and self._queue:
            self._launch_ahead(ahead)
        description, lesson = None, None
        if shot.state is SiteState.MEASURED:
            description = self._describe(shot, flight.watch)
            lesson = self._learn(flight.plan, shot, description, flight.watch)
        notices = self.opened.take_notices()
        queue = list(self._queue)
        failure = None
        if self._flight is None:
            try:
                self._launch_ahead(ahead)
            except Exception as error:  # noqa: BLE001  raised once this step, which is measured, is written
                failure = error
        self.opened.learner.go_on()
        record = self._commit(record, shot, description, lesson, queue, checkpoint, notices)
        step = self._tell(record, shot, lesson, notices)
        if failure is not None:
            raise failure
        return step

    def _follow_drift(self) -> bool:
        """Visit the reference patch where that is due; False when the run has come to its end."""
        opened = self.opened
        drift = opened.drift
        if drift is None or not drift.due:
            return True
        self.stop_reason = reason_to_stop(self._budget, opened.history, drift.dose, self.elapsed_ns * 1e-9)
        if self.stop_reason is not None:
            return False
        self._last_pixel_ns = None  # a visit is no part of a decision
        try:
            notices = drift.visit()
        except ScanError:
            if opened.aborted:
                return False
            raise
        for text in notices:
            opened.noticed.append(text)
            self._emit("notice", text)
        return True

    def _decide_on_unfamiliar(self) -> None:
        """Before another frame that the networks were not made for is taken, somebody looks at the last ones."""
        opened = self.opened
        question = opened.watch.question()
        if question is None:
            return
        opened.source.make_safe()
        self._last_pixel_ns = None  # neither a wait for an answer is a latency, nor a safe beam a dose
        opened.notice(f"{ASKED} at step {len(opened.history.steps)}: {question}")
        notices = opened.take_notices()
        opened.recorder.write_notices(notices)
        for text in notices:
            self._emit("notice", text)
        if self._confirm is None or not self._confirm(question):
            raise refusal(question)
        opened.watch.answered()

    def _next_plan(self, watch: Stopwatch) -> Plan | None:
        """The site whose turn it is, within the budget."""
        opened = self.opened
        while self._queue or self._choose(watch):
            plan = self._queue[0]
            if opened.drift is not None and not opened.drift.aim(plan.site):
                opened.notice("sites were put off while drift has them outside the field")
                self._queue.popleft()
                continue
            dose = opened.source.dose(plan.site)
            self.stop_reason = reason_to_stop(self._budget, opened.history, dose, self.elapsed_ns * 1e-9)
            if self.stop_reason is not None:
                return None
            if not over_fluence(self._budget, opened.history, plan.site, dose):
                return plan
            opened.notice("sites were left out where one more scan would pass budget.max_e_per_A2")
            self._barred.add(plan.site)
            self._queue.popleft()
        return None

    def _choose(self, watch: Stopwatch) -> bool:
        """Put the next sites into the queue; False when there are none or the objective is reached."""
        opened = self.opened
        pending = [plan.site for plan in self._queue]
        taken = opened.history.states != SiteState.FREE
        taken[[*self._barred, *pending]] = True
        if taken.all():
            self.stop_reason = "budget: max_e_per_A2" if self._barred else "every site was visited"
            return False
        with watch("acquire"):
            choice = opened.chooser.choose(opened.history, taken, pending)
        for text in opened.learner.belief.notices:
            opened.notice(text)
        if choice.reached is not None:
            if not self._budget.given:
                self.stop_reason = choice.reached
                return False
            opened.notice_kind(
                f"the objective's own stop rule was met at step {len(opened.history.steps)} and the given budget "
                f"goes on: {choice.reached}"
            )
        for plan in choice.plans:
            if plan.reason:
                opened.notice(f"{plan.reason}; sites are spread evenly")
        self._queue.extend(choice.plans)
        return True

    def _launch_ahead(self, allowed: Callable[[], bool]) -> None:
        """Hand the next scan over while the last step is still being worked on, unless something has to come first."""
        opened = self.opened
        visit = opened.drift is not None and opened.drift.due
        if allowed() and not visit and opened.watch.question() is None and opened.history.bad_running < MAX_BAD_RUNNING:
            self._flight = self._launch(Stopwatch())

    def _launch(self, watch: Stopwatch) -> Flight | None:
        """Book the dose of the next scan and hand it to the instrument; None when the run has come to its end."""
        opened = self.opened
        plan = self._next_plan(watch)
        if plan is None:
            return None
        self._decide_on_unfamiliar()
        dose = opened.source.dose(plan.site)
        opened.recorder.reserve(len(opened.history.steps), plan.site, dose)
        self._emit("stage", "reserved")
        handed_ns = time.perf_counter_ns()
        idle_ns = self._rested_ns(handed_ns)
        if self._last_pixel_ns is not None:
            watch.ms["decision"] = (handed_ns - self._last_pixel_ns) * 1e-6
        try:
            wait = opened.source.begin(plan.site)
        except ConfigurationError as error:
            wait = _refused(error)
        return Flight(plan, dose, idle_ns, wait, watch, handed_ns)

    def _land(self, flight: Flight) -> Shot:
        """Wait for a scan, and judge the frame."""
        opened, plan, dose, watch = self.opened, flight.plan, flight.dose, flight.watch
        last_pixel_ns = None
        try:
            measurement = flight.wait()
            last_pixel_ns = opened.source.last_pixel_ns
        except ConfigurationError as error:  # refused before the beam moved
            if not opened.history.steps:
                raise
            opened.notice(f"site {plan.site} cannot be reached: {error}")
            return Shot(SiteState.UNREACHABLE)
        except ScanError as error:
            if opened.aborted:
                raise Aborted from error
            opened.notice(f"step {len(opened.history.steps)}: {error}")
            return Shot(SiteState.REJECTED, None, dose, {"reasons": [str(error)]})
        finally:
            self._last_pixel_ns = last_pixel_ns or time.perf_counter_ns()
            watch.ms["scan"] = (self._last_pixel_ns - flight.handed_ns) * 1e-6
        watch.split("scan", "vendor", dose.duration_ns * 1e-6 if dose.duration_ns else 0.0)
        self._emit("stage", "scanned")
        frame = frame_of(measurement)
        for text in () if frame is None else frame.notices:
            opened.notice_kind(text)
        quality = opened.judge(measurement, plan.site)
        for reason in quality["reasons"]:
            opened.notice(f"step {len(opened.history.steps)}: {reason}")
        state = SiteState.REJECTED if quality["reasons"] else SiteState.MEASURED
        return Shot(state, measurement, dose, quality)

    def _rested_ns(self, until_ns: int) -> int:
        """Time since the last pixel that the beam rested on the specimen; none where it is blanked or simulated."""
        table = self._configuration.instrument
        if table.idle == "blank" or self._last_pixel_ns is None or not (table.realtime or self.opened.source.real):
            return 0
        return until_ns - self._last_pixel_ns

    def _record(self, flight: Flight, shot: Shot) -> StepRecord:
        """Put the scan into the history: what is chosen next has to know of it, whatever its frame will say."""
        history, plan = self.opened.history, self._queue.popleft()
        if shot.state is SiteState.REJECTED and plan.attempt < self._configuration.sites.retries:
            self._queue.appendleft(plan.again())
        current_pA = self._configuration.current_pA or 0.0
        record = StepRecord(
            step=len(history.steps),
            plan=plan,
            state=shot.state,
            value=None,
            duration_ns=shot.dose.duration_ns,
            electrons=(shot.dose.electrons or 0.0) + electrons(flight.idle_ns, current_pA),
            fluence_e_per_A2=shot.dose.fluence_e_per_A2 or 0.0,
            elapsed_ns=self.elapsed_ns,
            idle_ns=flight.idle_ns,
            timings_ms=flight.watch.ms,
            off_nm=self.opened.source.off_nm(shot.measurement),
        )
        history.steps.append(record)
        return record

    def _describe(self, shot: Shot, watch: Stopwatch) -> Description:
        with watch("describe"):
            description = self.opened.learner.describer.describe(shot.measurement)
        for text in description.notices:
            self.opened.notice_kind(text)
        for text in self.opened.networks.notices:  # a network that lost its device says so in the frame it happened in
            self.opened.notice(text)
        unfamiliar = self.opened.watch.frame_done()
        if unfamiliar is not None:
            self.opened.notice_kind(unfamiliar)
        self._emit("stage", "described")
        return description

    def _learn(self, plan: Plan, shot: Shot, description: Description, watch: Stopwatch) -> Lesson:
        self.opened.newest = shot.frame
        with watch("surrogate"):
            lesson = self.opened.learner.learn(plan.site, description)
        for text in (*lesson.notices, *self.opened.learner.belief.notices):
            self.opened.notice(text)
        self._emit("stage", "learnt")
        return lesson

    def _commit(
        self,
        record: StepRecord,
        shot: Shot,
        description: Description | None,
        lesson: Lesson | None,
        queue: list[Plan],
        checkpoint: dict[str, int],
        notices: tuple[str, ...],
    ) -> StepRecord:
        """Write the step; only then does it count."""
        value = None if lesson is None else lesson.value
        record = replace(record, value=value, elapsed_ns=self.elapsed_ns)
        self.opened.history.steps[record.step] = record
        self.opened.recorder.write_step(
            record,
            frame=shot.frame,
            description=description,
            lesson=lesson,
            queue=queue,
            checkpoint=checkpoint,
            quality=shot.quality,
            notices=notices,
        )
        self._emit("stage", "committed")
        return record

    def _tell(self, record: StepRecord, shot: Shot, lesson: Lesson | None, notices: tuple[str, ...]) -> Step:
        for text in notices:
            self._emit("notice", text)
        if lesson is not None and lesson.fit is not None:
            self._emit("fit", lesson.fit)
        step = Step(
            index=record.step,
            site=record.site,
            state=record.state,
            value=record.value,
            policy=record.plan.policy,
            acquisition=record.plan.acquisition,
            frame=shot.frame,
            timings_ms=dict(record.timings_ms),
            notices=notices,
        )
        self._emit("step", step)
        if self.opened.history.bad_running >= MAX_BAD_RUNNING:
            raise InstrumentError(f"{MAX_BAD_RUNNING} bad frames running, the last: {'; '.join(notices) or 'rejected'}")
        return step


def _refused(error: ConfigurationError) -> Callable[[], Measurement]:
    def wait() -> Measurement:
        raise error

    return wait
