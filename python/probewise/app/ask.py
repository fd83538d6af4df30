# SPDX-License-Identifier: BSD-3-Clause
"""`--component ask`: show the components as a saved picture and let the person at the terminal pick one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probewise.errors import ConfigurationError

if TYPE_CHECKING:
    from probewise.experiment import Experiment
    from probewise.types import FloatArray, Frame

PICTURE = "components.png"


class Asker:
    """The experiment's `ask` hook: called once, with the window values (n, components) of the first basis.

    It fits the same basis again, with the same seed, to the frames of the journal and the one just taken, since a
    picture needs the frames and the hook is given values only.

    read    replaces the terminal
    raises  ConfigurationError when nobody can answer (standard input is not a terminal, or ends)
    """

    def __init__(self, *, read: Callable[[], str] | None = None) -> None:
        self._read = read
        self._experiment: Experiment | None = None
        self._newest: Frame | None = None

    def watch(self, experiment: Experiment) -> None:
        self._experiment = experiment
        experiment.on("frame", self._keep)

    def _keep(self, frame: Frame) -> None:
        self._newest = frame

    def __call__(self, values: FloatArray) -> int:
        check_answerable(self._read)
        return choose(self._draw(values), np.shape(values)[1], read=self._read)

    def _draw(self, values: FloatArray) -> Path:
        from probewise.descriptors import component_picture
        from probewise.experiment import open_run
        from probewise.experiment.describer import make_describer

        assert self._experiment is not None
        assert self._experiment.directory is not None
        configuration = self._experiment.configuration
        with open_run(self._experiment.directory) as run:
            frames = [*run.frames, *([] if self._newest is None else [self._newest])]
        workflow = make_describer(configuration, None, "max-variance")
        descriptions = [workflow.describe(frame) for frame in frames]
        workflow.fit(descriptions, seed=configuration.run.seed)
        path = self._experiment.directory / PICTURE
        component_picture(descriptions, frames, workflow, path)  # type: ignore[arg-type]
        return path


def check_answerable(read: Callable[[], str] | None = None) -> None:
    """Refuse `ask` before any beam moves where nobody is there to answer."""
    if read is None and not sys.stdin.isatty():
        raise ConfigurationError(
            "component.by: got ask without a terminal to answer at, expected rare, max-variance, an index "
            "(--component 2) or a template file"
        )


def choose(path: Path, components: int, *, read: Callable[[], str] | None = None) -> int:
    """Print where the picture is and read a component's number until it is one of 0 .. components - 1."""
    ask = read or _input
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


def _input() -> str:
    """A line from the terminal; Ctrl-C interrupts the wait instead of waiting for the step to finish."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input()
    finally:
        signal.signal(signal.SIGINT, before)
