# SPDX-License-Identifier: BSD-3-Clause
"""`--component ask`: show the components as a saved picture and let the person at the terminal pick one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probewise.errors import ConfigurationError

if TYPE_CHECKING:
    from probewise.descriptors import AtomWorkflow, LatentWorkflow, LinearWorkflow
    from probewise.types import Description, Frame

PICTURE = "components.png"


class Asker:
    """The experiment's `ask` hook: (descriptions, frames, workflow) of the sites seen so far -> component to follow.

    directory  of the run, known once it has begun; the picture is saved there
    read       replaces the terminal
    raises     ConfigurationError when nobody can answer (standard input is not a terminal, or ends)
    """

    def __init__(self, directory: Callable[[], Path | None], *, read: Callable[[], str] | None = None) -> None:
        self._directory = directory
        self._read = read

    def __call__(
        self,
        descriptions: Sequence[Description],
        frames: Sequence[Frame],
        workflow: LinearWorkflow | AtomWorkflow | LatentWorkflow,
    ) -> int:
        from probewise.descriptors import LinearWorkflow, component_picture

        check_answerable(self._read)
        path = (self._directory() or Path()) / PICTURE
        if isinstance(workflow, LinearWorkflow):
            component_picture(descriptions, frames, workflow, path)
            return choose(path, workflow.components, read=self._read)
        workflow.picture(descriptions, frames, path)
        return choose(path, len(workflow.columns), workflow.columns, read=self._read)


def check_answerable(read: Callable[[], str] | None = None) -> None:
    """Refuse `ask` before any beam moves where nobody is there to answer."""
    if read is None and not sys.stdin.isatty():
        raise ConfigurationError(
            "component.by: got ask without a terminal to answer at, expected rare, max-variance, an index "
            "(--component 2) or a template file"
        )


def choose(path: Path, components: int, names: Sequence[str] = (), *, read: Callable[[], str] | None = None) -> int:
    """Print where the picture is and read until it is one of 0 .. components - 1, or a name."""
    ask = read or _input
    wanted = f"a number from 0 to {components - 1}" + (f" or one of {', '.join(names)}" if names else "")
    print(f"components and their extreme patches: {path}", file=sys.stderr)
    while True:
        print(f"component to follow, 0 to {components - 1}: ", end="", file=sys.stderr, flush=True)
        try:
            answer = ask().strip()
        except EOFError:
            raise ConfigurationError(f"component.by: got no answer, expected {wanted} (or --component INDEX)") from None
        if answer.isascii() and answer.isdigit() and int(answer) < components:
            return int(answer)
        if answer in names:
            return names.index(answer)
        print(f"got {answer!r}, expected {wanted}", file=sys.stderr)


def confirmer(read: Callable[[], str] | None = None) -> Callable[[str], bool] | None:
    """The experiment's `confirm` hook: a question, answered yes or no; None where there is no terminal to answer at."""
    if read is None and not sys.stdin.isatty():
        return None
    ask = read or _input

    def confirm(question: str) -> bool:
        print(f"{question}; the beam is safe", file=sys.stderr)
        while True:
            print("go on all the same? yes or no: ", end="", file=sys.stderr, flush=True)
            try:
                answer = ask().strip().lower()
            except EOFError:
                return False
            if answer in ("yes", "no"):
                return answer == "yes"
            print(f"got {answer!r}, expected yes or no", file=sys.stderr)

    return confirm


def _input() -> str:
    """A line from the terminal; Ctrl-C interrupts the wait instead of waiting for the step to finish."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input()
    finally:
        signal.signal(signal.SIGINT, before)
