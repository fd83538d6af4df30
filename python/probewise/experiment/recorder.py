# SPDX-License-Identifier: BSD-3-Clause
"""What a run writes into its journal, row by row, and how each row is read back."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from probewise.experiment.belief import FitRecord
from probewise.experiment.dose import ScanDose
from probewise.experiment.history import StepRecord, VisitRecord
from probewise.experiment.journal import Journal
from probewise.experiment.learner import Lesson
from probewise.experiment.states import Plan, SiteState
from probewise.experiment.truth import Target
from probewise.types import BoolArray, Description, Frame, Truth, TruthObject

VISIT = -2  # in the place of a step, of what a visit of the reference patch books


@dataclass(frozen=True)
class SurveyRecord:
    """The survey as journalled. frame None: there was none."""

    frame: int | None
    masks: dict[str, Any]
    excluded: BoolArray
    duration_ns: int
    electrons: float
    fluence: float
    checkpoint: dict[str, int]
    site_means: Any


def machine() -> dict[str, Any]:
    """What a trajectory may depend on besides the configuration."""
    import os

    import scipy
    import sklearn

    from probewise import __version__
    from probewise._core import simd_level

    return {
        "probewise": __version__,
        "simd": simd_level(),
        "threads": os.environ.get("PROBEWISE_THREADS", "default"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }


class Recorder:
    """Typed rows over a `Journal`. Everything of a step is written in the caller's one transaction."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    # what is written

    def begin_segment(self) -> list[str]:
        """Note the start of a process; returns what differs from the one before."""
        now = machine()
        old = self.machine() or now
        with self.journal.transaction():
            self.journal.execute(
                "INSERT INTO segments (started_utc, machine) VALUES (?, ?)",
                (datetime.now(UTC).isoformat(timespec="seconds"), json.dumps(now)),
            )
        return [
            f"resumed with {name} {now[name]} after {old.get(name)}: the trajectory may differ from here on"
            for name in now
            if old.get(name) != now[name]
        ]

    def reserve(self, step: int, site: int, dose: ScanDose) -> None:
        """Book the electrons before the beam moves, so that a death cannot hide them."""
        with self.journal.transaction():
            self.journal.execute(
                "INSERT INTO doses (step, electrons, fluence, site, state) VALUES (?, ?, ?, ?, 'reserved')",
                (step, dose.electrons or 0.0, dose.fluence_e_per_A2 or 0.0, site),
            )

    def commit_dose(self, step: int) -> None:
        self.journal.execute("UPDATE doses SET state = 'committed' WHERE step = ? AND state = 'reserved'", (step,))

    def write_survey(self, frame: Frame | None, record: SurveyRecord, notices: Sequence[str]) -> None:
        journal = self.journal
        with journal.transaction():
            number = None if frame is None else journal.put_frame(frame)
            journal.execute(
                "INSERT INTO surveys (frame, masks, excluded, record) VALUES (?, ?, ?, ?)",
                (
                    number,
                    journal.put_tree(record.masks),
                    journal.put_array(record.excluded),
                    journal.put_tree(
                        {
                            "duration_ns": record.duration_ns,
                            "electrons": record.electrons,
                            "fluence": record.fluence,
                            "checkpoint": record.checkpoint,
                            "site_means": record.site_means,
                        }
                    ),
                ),
            )
            self.commit_dose(-1)
            self._notices(None, notices)

    def write_step(
        self,
        record: StepRecord,
        *,
        frame: Frame | None,
        description: Description | None,
        lesson: Lesson | None,
        queue: Sequence[Plan],
        checkpoint: dict[str, int],
        quality: dict[str, Any],
        notices: Sequence[str],
    ) -> None:
        """One step, all or nothing."""
        journal = self.journal
        with journal.transaction():
            number = None if frame is None else journal.put_frame(frame)
            described = None if description is None else _description_tree(description)
            journal.execute(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.step,
                    record.site,
                    int(record.state),
                    record.value,
                    number,
                    json.dumps(record.plan.as_dict()),
                    journal.put_tree(described),
                    json.dumps(record.timings_ms),
                    json.dumps(
                        {
                            "duration_ns": record.duration_ns,
                            "electrons": record.electrons,
                            "fluence": record.fluence_e_per_A2,
                            "elapsed_ns": record.elapsed_ns,
                            "idle_ns": record.idle_ns,
                            "off_nm": record.off_nm,
                            "queue": [plan.as_dict() for plan in queue],
                            "checkpoint": checkpoint,
                            "quality": quality,
                            "asked": "" if lesson is None else lesson.asked,
                        }
                    ),
                ),
            )
            if lesson is not None and lesson.basis is not None:
                state, report = lesson.basis
                journal.execute(
                    "INSERT INTO bases (step, state, report) VALUES (?, ?, ?)",
                    (record.step, journal.put_tree(state), journal.put_tree(report)),
                )
            if lesson is not None and lesson.fit is not None:
                journal.execute(
                    "INSERT INTO fits (step, result) VALUES (?, ?)",
                    (record.step, json.dumps(lesson.fit.as_dict())),
                )
            self.commit_dose(record.step)
            self._notices(record.step, notices)

    def write_visit(self, visit: VisitRecord, frames: Sequence[Frame], notices: Sequence[str]) -> None:
        journal = self.journal
        with journal.transaction():
            numbers = [journal.put_frame(frame) for frame in frames]
            journal.execute(
                "INSERT INTO visits (step, kind, frames, record) VALUES (?, ?, ?, ?)",
                (visit.step, visit.kind, json.dumps(numbers), json.dumps(asdict(visit))),
            )
            self.commit_dose(VISIT)
            self._notices(None, notices)

    def _notices(self, step: int | None, notices: Sequence[str]) -> None:
        for text in notices:
            self.journal.execute("INSERT INTO notices (step, text) VALUES (?, ?)", (step, text))

    def write_notices(self, notices: Sequence[str]) -> None:
        with self.journal.transaction():
            self._notices(None, notices)

    def write_source(self, name: str, target: Target | None, extra: dict[str, Any]) -> None:
        """What the source says of itself and, where it is known, what is really there."""
        with self.journal.transaction():
            tree = {"name": name, "target": None if target is None else _target_tree(target), **extra}
            self.journal.set_meta("source", self.journal.put_tree(tree))

    def finish(self, reason: str, summary: dict[str, Any]) -> None:
        with self.journal.transaction():
            self.journal.set_meta("stop_reason", reason)
            self.journal.set_meta("summary", summary)

    def book_lost(self) -> float:
        """Turn reservations that no step answered into lost electrons; the sum of all lost ones."""
        with self.journal.transaction():
            self.journal.execute("UPDATE doses SET state = 'lost' WHERE state = 'reserved'")
        return self.lost_electrons()

    # what is read back

    def unused(self) -> bool:
        """True when no scan was ever booked and nothing measured."""
        return not any(self.journal.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in ("doses", "frames", "steps"))

    def lost_electrons(self) -> float:
        return float(self.journal.rows("SELECT COALESCE(SUM(electrons), 0) FROM doses WHERE state = 'lost'")[0][0])

    def lost_by_site(self) -> list[tuple[int, float]]:
        """(site, fluence) of frames cut by a death; site -1 is the survey."""
        return [
            (int(site), float(fluence))
            for site, fluence in self.journal.rows("SELECT site, fluence FROM doses WHERE state = 'lost'")
        ]

    def machine(self) -> dict[str, str]:
        rows = self.journal.rows("SELECT machine FROM segments ORDER BY segment DESC LIMIT 1")
        return json.loads(rows[0][0]) if rows else {}

    def source(self) -> dict[str, Any] | None:
        text = self.journal.meta("source")
        if text is None:
            return None
        tree: dict[str, Any] = self.journal.tree(text)
        if tree["target"] is not None:
            tree["target"] = _target_of(tree["target"])
        return tree

    def survey(self) -> SurveyRecord | None:
        rows = self.journal.rows("SELECT frame, masks, excluded, record FROM surveys")
        if not rows:
            return None
        frame, masks, excluded, text = rows[0]
        record = self.journal.tree(text)
        return SurveyRecord(
            frame,
            self.journal.tree(masks),
            self.journal.array(excluded),
            record["duration_ns"],
            record["electrons"],
            record["fluence"],
            record["checkpoint"],
            record["site_means"],
        )

    def steps(self) -> list[StepRecord]:
        return [
            _step_record(*row)
            for row in self.journal.rows("SELECT step, state, value, plan, timings, record FROM steps ORDER BY step")
        ]

    def visits(self) -> list[tuple[VisitRecord, list[int]]]:
        """Visits of a reference patch in order, each with the numbers of its frames."""
        if self.journal.meta("schema") < 2:
            return []
        return [
            (_visit_record(json.loads(text)), json.loads(frames))
            for text, frames in self.journal.rows("SELECT record, frames FROM visits ORDER BY visit")
        ]

    def tail(self) -> tuple[list[Plan], dict[str, int]] | None:
        """Queue and checkpoint after the last step."""
        rows = self.journal.rows("SELECT record FROM steps ORDER BY step DESC LIMIT 1")
        if not rows:
            return None
        record = json.loads(rows[0][0])
        return [Plan.from_dict(plan) for plan in record["queue"]], record["checkpoint"]

    def description(self, step: int) -> Description | None:
        tree = self.journal.tree(self.journal.rows("SELECT description FROM steps WHERE step = ?", (step,))[0][0])
        if tree is None:
            return None
        return Description(tree["features"], tree["centre_yx"], tree["extra"])

    def frame_number(self, step: int) -> int | None:
        number = self.journal.rows("SELECT frame FROM steps WHERE step = ?", (step,))[0][0]
        return None if number is None else int(number)

    def lesson(self, step: int, value: float | None) -> Lesson:
        """What was fitted at a step, to be put back."""
        bases = self.journal.rows("SELECT state, report FROM bases WHERE step = ?", (step,))
        basis = None if not bases else (self.journal.tree(bases[0][0]), self.journal.tree(bases[0][1]))
        record = json.loads(self.journal.rows("SELECT record FROM steps WHERE step = ?", (step,))[0][0])
        return Lesson(value, basis, self.fit(step), asked=record.get("asked", ""))

    def fit(self, step: int) -> FitRecord | None:
        rows = self.journal.rows("SELECT result FROM fits WHERE step = ?", (step,))
        return FitRecord.from_dict(json.loads(rows[0][0])) if rows else None

    def notices(self) -> list[str]:
        return [text for (text,) in self.journal.rows("SELECT text FROM notices ORDER BY notice")]


def _step_record(step: int, state: int, value: float | None, plan: str, timings: str, text: str) -> StepRecord:
    record = json.loads(text)
    return StepRecord(
        step=step,
        plan=Plan.from_dict(json.loads(plan)),
        state=SiteState(state),
        value=value,
        duration_ns=record["duration_ns"],
        electrons=record["electrons"],
        fluence_e_per_A2=record["fluence"],
        elapsed_ns=record["elapsed_ns"],
        idle_ns=record["idle_ns"],
        off_nm=_pair(record.get("off_nm")),
        timings_ms=json.loads(timings),
    )


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def _visit_record(table: dict[str, Any]) -> VisitRecord:
    for name in ("anchor_nm", "centre_nm"):
        table[name] = _pair(table[name])
    return VisitRecord(**{**table, "doubts": tuple(table["doubts"])})


def _description_tree(description: Description) -> dict[str, Any]:
    return {"features": description.features, "centre_yx": description.centre_yx, "extra": description.extra}


def _target_tree(target: Target) -> dict[str, Any]:
    tree: dict[str, Any] = {"interesting": target.interesting, "values": target.values, "labels": target.labels}
    truth = target.truth
    if truth is not None:
        tree["truth"] = {
            **{
                name: getattr(truth, name)
                for name in ("specimen", "seed", "fov_nm", "site_holds", "labels", "label_nm")
            },
            **{name: getattr(truth, name) for name in ("label_names", "mask_names", "notes")},
            "objects": [
                {"kind": thing.kind, "samples_nm": thing.samples_nm, "measure": thing.measure, "unit": thing.unit}
                for thing in truth.objects
            ],
        }
    return tree


def _target_of(tree: dict[str, Any]) -> Target:
    truth = tree.get("truth")
    if truth is not None:
        objects = tuple(TruthObject(**thing) for thing in truth.pop("objects"))
        for name in ("fov_nm", "label_names", "mask_names"):
            truth[name] = tuple(truth[name])
        truth = Truth(**truth, objects=objects)
    return Target(tree["interesting"], truth, tree["values"], tree["labels"])
