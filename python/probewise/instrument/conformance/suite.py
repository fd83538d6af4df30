# SPDX-License-Identifier: BSD-3-Clause
"""All checks, one after another, on one thread that owns the instrument."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError
from probewise.instrument.conformance import description, exits, geometry, refusals, scanning, stopping
from probewise.instrument.conformance.result import Failed, NotApplicable, Outcome, Result, said
from probewise.instrument.conformance.subject import Subject
from probewise.types import Instrument

Check = Callable[[Subject], str]

# The blanker before all that asks for it, geometry before what needs two places apart, close at the end.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("protocol", description.protocol),
    ("describe", description.describe),
    ("frame", scanning.frame),
    ("channels", scanning.channels),
    ("blanker", exits.blanker),
    ("orientation of a frame", geometry.orientation),
    ("sub-scan of the survey field", geometry.sub_scan),
    ("site field", geometry.site_field),
    ("rotation", geometry.rotation),
    ("list of positions", geometry.positions),
    ("a site can be reached", geometry.reachable),
    ("dwell", scanning.dwell),
    ("duration", scanning.duration),
    ("buffer", scanning.buffer),
    ("wrong buffers", refusals.buffers),
    ("channels refused", refusals.channels),
    ("dwell refused", refusals.dwell),
    ("points refused", refusals.points),
    ("positions refused", refusals.positions),
    ("NaN refused", refusals.not_finite),
    ("unclaimed capabilities refused", refusals.unclaimed),
    ("abort when idle", stopping.idle),
    ("abort before the read", stopping.before_read),
    ("abort in mid-scan", stopping.mid_scan),
    ("late frames", stopping.late),
    ("safe after a frame", exits.normal),
    ("safe after an error", exits.failure),
    ("safe after a timeout", exits.timeout),
    ("park", exits.park),
    ("another thread", scanning.another_thread),
    ("close", exits.close),
)
NEEDED = ("describe", "blanker", "close")
LIMIT_S = 60.0  # for one check


def check(
    instrument: Instrument,
    *,
    fov_nm: float | tuple[float, float] | None = None,
    shows: np.ndarray[Any, Any] | None = None,
    beam: Callable[[], str] | None = None,
    only: Collection[str] | None = None,
    limit_s: float = LIMIT_S,
) -> list[Result]:
    """Run the checks on `instrument`, which is closed at the end.

    All verbs but `abort` are called on one thread of the suite's own, as a session does. Expose a sample that may be
    scanned: about a hundred frames of the survey field.

    fov_nm   survey field, the side or both sides (y, x); None: the instrument's own `fov_nm`
    shows    (rows, cols), what the survey field holds: integers are classes, floats brightness. None: the class map of
             the instrument's own `truth` where it has one, otherwise frames are only compared with each other
    beam     says whether the beam is blanked, parked, scanning or on, when something else than the driver can;
             None: the instrument's own `beam`, or counts without unblanking
    only     names of checks; None: all. Those that others rest upon are run in any case
    limit_s  for one check; an instrument that hangs longer is aborted and left
    returns  one Result for each check
    raises   ConfigurationError when the survey field is not known, or a check
    """
    chosen = _chosen(only)
    subject = Subject(instrument, _field(instrument, fov_nm), _shown(instrument, shows), beam)
    outcomes: SimpleQueue[Result] = SimpleQueue()
    threading.Thread(target=_run, args=(subject, chosen, outcomes), daemon=True).start()
    results: list[Result] = []
    for name, _ in chosen:
        try:
            results.append(outcomes.get(timeout=limit_s))
        except Empty:
            subject.elsewhere(instrument.abort)
            results.append(Result(name, "failed", f"did not end within {limit_s:g} s, expected no verb to hang"))
            break
    reason = "not asked, since the check before it did not end"
    return results + [Result(name, "not applicable", reason) for name, _ in chosen[len(results) :]]


def _chosen(only: Collection[str] | None) -> Sequence[tuple[str, Check]]:
    known = [name for name, _ in CHECKS]
    for name in only or ():
        if name not in known:
            raise ConfigurationError(f"there is no check {name!r}, expected one of {', '.join(known)}")
    return [(name, check) for name, check in CHECKS if only is None or name in only or name in NEEDED]


def _run(subject: Subject, chosen: Sequence[tuple[str, Check]], outcomes: SimpleQueue[Result]) -> None:
    for name, function in chosen:
        outcome: Outcome = "passed"
        try:
            sentence = function(subject)
        except NotApplicable as reason:
            outcome, sentence = "not applicable", str(reason)
        except Failed as reason:
            outcome, sentence = "failed", str(reason)
        except BaseException as error:  # noqa: BLE001  whatever a driver raises is a finding
            outcome, sentence = "failed", f"raises {said(error)}, expected no error"
        if name != "close":
            subject.recover()
        outcomes.put(Result(name, outcome, sentence))


def _field(instrument: Instrument, fov_nm: float | tuple[float, float] | None) -> tuple[float, float]:
    chosen = getattr(instrument, "fov_nm", None) if fov_nm is None else fov_nm
    if chosen is None:
        raise ConfigurationError("the survey field is not known, expected fov_nm: the instrument does not say its own")
    sides = (chosen, chosen) if isinstance(chosen, int | float) else tuple(chosen)
    if len(sides) != 2 or not all(np.isfinite(side) and side > 0 for side in sides):
        raise ConfigurationError(f"fov_nm is {fov_nm}, expected a positive length, or two (y, x)")
    return (float(sides[0]), float(sides[1]))


def _shown(instrument: Instrument, shows: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any] | None:
    if shows is None:
        truth = getattr(instrument, "truth", None)
        return None if truth is None else np.asarray(truth.labels)
    if shows.ndim != 2 or min(shows.shape) < 8 or not np.isfinite(shows).all():
        raise ConfigurationError(f"shows is {shows.dtype} of shape {shows.shape}, expected a finite picture")
    return shows
