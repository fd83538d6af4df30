# SPDX-License-Identifier: BSD-3-Clause
"""Keeps the sites on the specimen: visits a reference patch on a schedule and says where to send the scan.

Each scan of a visit is booked before the beam moves, and a visit is journalled before the next sub-scan begins, so that
a resumed run stands where the first one stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError
from probewise.experiment.anchor import CLOSE_PX, Fix, Found, Pair, expected_nm, follow
from probewise.experiment.config import Configuration
from probewise.experiment.dose import ScanDose, scan_dose
from probewise.experiment.history import History, VisitRecord
from probewise.experiment.recorder import VISIT, Recorder
from probewise.experiment.sources import LiveSource
from probewise.image import gate
from probewise.image.drift import SMALLEST, Patch, patch_places, reference_patch
from probewise.types import Armed, Context, Float32Array, FloatArray, Frame, Scan

EVERY_STEPS = 10
MOVE_PX = 16  # between the two scans of a reference, which must be told from what stays with the frame
# A survey only leads to where the patch is looked for: it is noisy, and its pixels beat with a lattice, the less the
# coarser the details.
SURVEY_DETAILS_PX = (2.0, 4.0, 8.0)


class Drift:
    """Of one run; `restore` puts back what its journal says. survey: the frame that its sites were laid on."""

    def __init__(
        self, configuration: Configuration, source: LiveSource, recorder: Recorder, history: History, survey: Frame
    ) -> None:
        self._table = table = configuration.drift
        self._configuration = configuration
        self._source = source
        self._recorder = recorder
        self._history = history
        self._survey = survey
        self._pixel_nm = table.side_nm / table.pixels
        self._scan = source.raster(table.pixels, table.dwell_ns)
        self._patch: Patch | None = None
        self._centre_nm: Pair = (0.0, 0.0)
        self._frames: list[Frame] = []  # of the visit that goes on
        self._spent: list[ScanDose] = []
        self._fixes: list[Fix] = []

    @property
    def dose(self) -> ScanDose:
        """Of one scan of the patch."""
        return visit_dose(self._configuration, self._source)

    @property
    def due(self) -> bool:
        """Whether the patch has to be visited before the next sub-scan."""
        visits, table = self._history.visits, self._table
        if self._patch is None or visits[-1].anchor_nm is None:
            return True
        every = EVERY_STEPS if table.every_steps is None and table.every_seconds is None else table.every_steps
        if every is not None and len(self._history.steps) - visits[-1].step >= every:
            return True
        if table.every_seconds is None:
            return False
        return self._source.clock_ns - visits[-1].clock_ns >= table.every_seconds * 1e9

    def aim(self, site: int) -> bool:
        """Set where the specimen is by now; False where it has taken the site out of the field."""
        self._source.anchor_nm = expected_nm(self._fixes, self._source.clock_ns)
        self._history.outside = self._outside(self._source.anchor_nm)
        return not self._history.outside[site]

    def visit(self) -> tuple[str, ...]:
        """Find the patch, or at first choose one, and journal what was found; what there is to say of it.

        raises  InstrumentError, the beam safe, where it cannot be told how far the specimen has moved
        """
        if self._patch is None:
            return self._begin()
        start = expected_nm(self._fixes, self._source.clock_ns)
        found = self._follow(start)
        if found.anchor_nm is not None:
            return self._keep("patch", found, start)
        doubts = "; ".join(found.doubts)
        self._keep("patch", found, start)
        again = found
        for guess in self._survey_again():
            again = self._follow(guess)
            if again.anchor_nm is not None:
                break
        said = self._keep("survey", again, start, f"the field was surveyed again, because {doubts}")
        if again.anchor_nm is None:
            self._source.make_safe()
            raise InstrumentError(
                f"it cannot be told how far the specimen has moved: {'; '.join(again.doubts)}. The beam is safe; "
                f"resume the run to look again, or begin another with drift.correct = 'off'"
            )
        return said

    def restore(self) -> None:
        """Stand where the last journalled visit stood."""
        journal = self._recorder.journal
        for visit, frames in self._recorder.visits():
            self._history.visits.append(visit)
            if visit.kind == "reference":
                self._centre_nm = visit.centre_nm
                first, second = (journal.frame(number).counts[0] for number in frames)
                self._patch = self._reference(first, second)
            if visit.anchor_nm is not None:
                self._fixes.append(Fix(visit.clock_ns, visit.anchor_nm, visit.jumped))
        visits = self._history.visits
        if visits and visits[-1].step == len(self._history.steps):
            self._source.restore(visits[-1].checkpoint)
        if self._fixes and not self._source.keeps_time:
            self._fixes = [Fix(self._source.clock_ns, self._fixes[-1].anchor_nm)]

    def _begin(self) -> tuple[str, ...]:
        """Choose the patch: the place of the survey that is told best from all about it, if two scans say so too."""
        side = self._table.side_nm
        for centre in self._places():
            self._centre_nm = (float(centre[0]), float(centre[1]))
            first = self._take((0.0, 0.0))
            clock_ns = _middle_ns(first)
            moved = MOVE_PX * self._pixel_nm
            second = self._take((-moved, -moved))
            if not (self._sound(first) and self._sound(second)):
                continue
            self._patch = self._reference(first.counts[0], second.counts[0])
            if self._patch is not None:
                self._frames = [first, second]
                return self._write("reference", Found((0.0, 0.0), 0.0, ()), clock_ns, jumped=False)
        self._write("reference", Found(None, math.inf, ("no place is told from its surroundings",)), 0, jumped=False)
        self._source.make_safe()
        raise InstrumentError(
            f"drift cannot be followed: no place of {side:g} nm in the survey is told from its surroundings. The beam "
            f"is safe; take another field or drift.side_nm, or drift.correct = 'off'"
        )

    def _places(self) -> FloatArray:
        image = self._survey.counts[0]
        pixel = np.array(self._source.fov_nm) / image.shape
        side_px = round(self._table.side_nm / float(pixel.max()))
        margin_px = math.ceil((self._table.max_nm + self._table.side_nm * 0.1) / float(pixel.min()))
        try:
            detail = min(SURVEY_DETAILS_PX[0], side_px / SMALLEST)
            places = patch_places(image, side_px, margin_px=margin_px, detail_px=detail)
        except ValueError as error:
            raise ConfigurationError(f"drift.side_nm is {self._table.side_nm:g}: {error}") from error
        return np.asarray(places * pixel)

    def _reference(self, first: Float32Array, second: Float32Array) -> Patch | None:
        reach = self._table.max_nm / self._pixel_nm
        return reference_patch(first, second, moved_px=(MOVE_PX, MOVE_PX), reach_px=reach)

    def _follow(self, start: Pair) -> Found:
        assert self._patch is not None
        try:
            return follow(self._patch, self._pixel_nm, start, self._sound_image)
        except ConfigurationError as error:
            return Found(None, math.inf, (f"the patch has left the field: {error}",))
        except _BadFrame as error:
            return Found(None, math.inf, (str(error),))

    def _survey_again(self) -> Iterator[Pair]:
        """Where the whole field may have gone, by the survey's own pixels: the patch is looked for there."""
        before = self._survey
        frame = self._acquire(before.scan, before.context)
        pixel = np.array(self._source.fov_nm) / before.counts[0].shape
        for detail in SURVEY_DETAILS_PX:
            if SMALLEST * detail <= min(before.counts[0].shape):
                shift = Patch(before.counts[0], detail).locate(frame.counts[0])
                moved = np.array(shift.yx_px) * pixel
                yield (float(moved[0]), float(moved[1]))

    def _take(self, anchor_nm: Pair) -> Frame:
        side = self._table.side_nm
        middle = np.array(self._source.fov_nm) / 2
        shift = np.array(self._centre_nm) + anchor_nm - middle
        return self._acquire(self._scan, Context((side, side), (float(shift[0]), float(shift[1]))))

    def _sound_image(self, anchor_nm: Pair) -> Float32Array:
        frame = self._take(anchor_nm)
        if not self._sound(frame):
            raise _BadFrame("a frame of the patch was rejected")
        image: Float32Array = frame.counts[0]
        return image

    def _sound(self, frame: Frame) -> bool:
        armed = Armed(frame.sequence, frame.scan, frame.context, frame.channels, frame.duration_ns)
        return gate(frame, armed, saturation=self._source.saturation).ok

    def _acquire(self, scan: Scan, context: Context) -> Frame:
        dose = self._dose(scan, context)
        self._recorder.reserve(VISIT, VISIT, dose)
        frame = self._source.acquire(scan, context)
        self._frames = [frame]
        self._spent.append(dose)
        return frame

    def _dose(self, scan: Scan, context: Context) -> ScanDose:
        return _scan_dose(self._configuration, scan, context)

    def _keep(self, kind: str, found: Found, start: Pair, *said: str) -> tuple[str, ...]:
        jumped = found.anchor_nm is not None and math.dist(found.anchor_nm, start) > CLOSE_PX * self._pixel_nm
        clock_ns = _middle_ns(self._frames[-1]) if self._frames else self._source.clock_ns
        if jumped:
            assert found.anchor_nm is not None
            far = math.dist(found.anchor_nm, start)
            said = (*said, f"the specimen has moved {far:.3g} nm more than its drift led to expect: sites follow")
        return self._write(kind, found, clock_ns, jumped=jumped and len(self._fixes) > 1, said=said)

    def _write(
        self, kind: str, found: Found, clock_ns: int, *, jumped: bool, said: Sequence[str] = ()
    ) -> tuple[str, ...]:
        spent, frames = self._spent, self._frames
        whole = kind == "survey"
        visit = VisitRecord(
            step=len(self._history.steps),
            kind=kind,
            clock_ns=clock_ns,
            anchor_nm=found.anchor_nm,
            jumped=jumped,
            error_nm=found.error_nm if math.isfinite(found.error_nm) else None,
            doubts=found.doubts,
            centre_nm=(self._source.fov_nm[0] / 2, self._source.fov_nm[1] / 2) if whole else self._centre_nm,
            side_nm=max(self._source.fov_nm) if whole else self._table.side_nm,
            duration_ns=sum(dose.duration_ns for dose in spent),
            electrons=sum(dose.electrons or 0.0 for dose in spent),
            fluence_e_per_A2=sum(dose.fluence_e_per_A2 or 0.0 for dose in spent),
            scans=len(spent),
            checkpoint=self._source.checkpoint(),
        )
        notices = tuple(f"step {visit.step}: {text}" for text in said)
        self._recorder.write_visit(visit, frames, notices)
        self._spent, self._frames = [], []
        self._history.visits.append(visit)
        if found.anchor_nm is not None:
            self._fixes.append(Fix(clock_ns, found.anchor_nm, jumped))
        return notices

    def _outside(self, anchor_nm: Pair) -> Any:
        """(sites,) bool: the sub-scan would leave the field."""
        half = self._source.scans.side_nm / 2
        centres = self._source.sites.centres_nm + anchor_nm
        slack = 1e-6
        return ((centres < half - slack) | (centres > np.array(self._source.fov_nm) - half + slack)).any(axis=1)


def visit_dose(configuration: Configuration, source: LiveSource) -> ScanDose:
    """Of one scan of the reference patch."""
    table = configuration.drift
    scan = source.raster(table.pixels, table.dwell_ns)
    return _scan_dose(configuration, scan, Context((table.side_nm, table.side_nm)))


def visits_of(configuration: Configuration, steps: int, step_ns: int) -> int:
    """How many scans of the patch come with so many steps when nothing goes wrong, the two that choose it included."""
    table = configuration.drift
    if table.correct == "off" or not steps:
        return 0
    every = [] if table.every_steps is None else [table.every_steps]
    if table.every_seconds is not None and step_ns:
        every.append(max(1, math.ceil(table.every_seconds * 1e9 / step_ns)))
    return 2 + (steps - 1) // min(every or [EVERY_STEPS])


def _scan_dose(configuration: Configuration, scan: Scan, context: Context) -> ScanDose:
    return scan_dose(scan, context, configuration.current_pA, configuration.instrument.probe_nm)


class _BadFrame(Exception):
    """A frame that the gate refused."""


def _middle_ns(frame: Frame) -> int:
    return frame.started_ns + frame.duration_ns // 2
