# SPDX-License-Identifier: BSD-3-Clause
"""Is the instrument one, and is what it says of itself of the right types?"""

from __future__ import annotations

import math
from typing import Any

from probewise.instrument.conformance.result import Failed
from probewise.instrument.conformance.subject import Subject
from probewise.types import Capability, Instrument, Limits


def protocol(subject: Subject) -> str:
    if not isinstance(subject.instrument, Instrument):
        verbs = ("describe", "arm", "start", "read_into", "abort", "park", "blank", "close")
        missing = [verb for verb in verbs if not callable(getattr(subject.instrument, verb, None))]
        raise Failed(f"{type(subject.instrument).__name__} has no {', '.join(missing)}, expected the eight verbs")
    return "has the eight verbs"


def describe(subject: Subject) -> str:
    answer: Any = subject.instrument.describe()  # a driver may give anything
    if not (
        isinstance(answer, tuple)
        and len(answer) == 2
        and isinstance(answer[0], Capability)
        and isinstance(answer[1], Limits)
    ):
        raise Failed(f"describe gave {answer!r}, expected (Capability, Limits)")
    subject.capability, subject.limits = answer
    again = subject.instrument.describe()
    if again != answer:
        raise Failed(f"describe gave {answer!r} and then {again!r}, expected the same each time")
    _limits(answer[1])
    claimed = ", ".join(flag.name or "" for flag in Capability if flag in answer[0]) or "no capability"
    return f"claims {claimed}; channels {', '.join(answer[1].channels)}"


def _limits(limits: Limits) -> None:
    channels: Any = limits.channels
    if not channels or len(set(channels)) != len(channels) or not all(isinstance(c, str) and c for c in channels):
        raise Failed(f"limits.channels is {channels!r}, expected names, each once")
    if not 1 <= limits.dwell_min_ns <= limits.dwell_max_ns or limits.dwell_step_ns < 1:
        raise Failed(
            f"limits have dwell_min_ns {limits.dwell_min_ns}, dwell_max_ns {limits.dwell_max_ns}, dwell_step_ns "
            f"{limits.dwell_step_ns}, expected 1 <= dwell_min_ns <= dwell_max_ns and a step of at least 1"
        )
    for name, least in (("dac_bits", 1), ("max_points", 1), ("flyback_ns", 0), ("settle_ns", 0)):
        value = getattr(limits, name)
        if not isinstance(value, int) or value < least:
            raise Failed(f"limits.{name} is {value!r}, expected a whole number of at least {least}")
    for name in ("max_fov_nm", "max_velocity_per_s", "max_acceleration_per_s2"):
        value = getattr(limits, name)
        if math.isnan(value) or value <= 0:
            raise Failed(f"limits.{name} is {value!r}, expected a positive number, or infinity for none")
