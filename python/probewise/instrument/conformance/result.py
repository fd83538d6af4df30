# SPDX-License-Identifier: BSD-3-Clause
"""What one check of the suite says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Result:
    """name, outcome, and a sentence that says what came and, of a failure, what was expected."""

    name: str
    outcome: Outcome
    sentence: str


class Failed(Exception):
    """The instrument does not do what it should; the text says what came and what was expected."""


class NotApplicable(Exception):
    """The check has nothing to ask of this instrument; the text says why."""


def said(error: BaseException) -> str:
    """An error on one line, with its type."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200] or 'no text'}"
