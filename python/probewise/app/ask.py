# SPDX-License-Identifier: BSD-3-Clause
"""`--component ask`: show the components as a saved picture and let the person at the terminal pick one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probewise.errors import ConfigurationError

if TYPE_CHECKING:
    from probewise.types import Description, Frame

PICTURE = "components.png"


class Asker:
    """The experiment's `ask` hook: (descriptions, frames, workflow) -> index of the component to follow.

    directory  where the picture is saved
    raises     ConfigurationError when nobody can answer (standard input is not a terminal, or ends)
    """

    def __init__(self, directory: Path, *, read: Callable[[], str] | None = None) -> None:
        self.directory = directory
        self._read = read

    def __call__(self, descriptions: Sequence[Description], frames: Sequence[Frame], workflow: Any) -> int:
        from probewise.descriptors import component_picture

        check_answerable(self._read)
        path = self.directory / PICTURE
        component_picture(descriptions, frames, workflow, path)
        return choose(path, int(workflow.components), read=self._read)


def check_answerable(read: Callable[[], str] | None = None) -> None:
    """Refuse `ask` before any beam moves where nobody is there to answer."""
    if read is None and not sys.stdin.isatty():
        raise ConfigurationError(
            "component.by: got ask without a terminal to answer at, expected rare, max-variance, an index "
            "(--component 2) or a template file"
        )


def choose(path: Path, components: int, *, read: Callable[[], str] | None = None) -> int:
    """Print where the picture is and read a component's number until it is one of 0 .. components - 1."""
    ask = read or input
    print(f"components and their extreme patches: {path}", file=sys.stderr)
    while True:
        print(f"component to follow, 0 to {components - 1}: ", end="", file=sys.stderr, flush=True)
        try:
            answer = ask().strip()
        except EOFError:
            raise ConfigurationError(
                f"component.by: got no answer, expected a number from 0 to {components - 1} (or --component INDEX)"
            ) from None
        if answer.isascii() and answer.isdigit() and int(answer) < components:
            return int(answer)
        print(f"got {answer!r}, expected a number from 0 to {components - 1}", file=sys.stderr)
