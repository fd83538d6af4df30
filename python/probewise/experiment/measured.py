# SPDX-License-Identifier: BSD-3-Clause
"""What was measured in a run, read from its journal when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from probewise.experiment.history import StepRecord
from probewise.experiment.recorder import Recorder
from probewise.experiment.states import SiteState
from probewise.types import Frame, Spectrum


class Frames(Sequence[Frame]):
    """Frames of the measured sites in order, read when they are asked for."""

    def __init__(self, recorder: Recorder, steps: list[StepRecord]) -> None:
        self._recorder = recorder
        self._numbers = [
            number
            for step in steps
            if step.state is SiteState.MEASURED and (number := recorder.frame_number(step.step)) is not None
        ]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self._recorder.journal.frame(number) for number in self._numbers[index]]
        return self._recorder.journal.frame(self._numbers[index])


class Spectra(Sequence[Spectrum]):
    """Spectra of the measured sites in order, read when they are asked for; none of a run that measured frames."""

    def __init__(self, recorder: Recorder, steps: list[StepRecord]) -> None:
        self._recorder = recorder
        self._steps = [step.step for step in steps if step.state is SiteState.MEASURED]
        if not self._steps or "spectrum" not in self._extra(self._steps[0]):
            self._steps = []

    def _extra(self, step: int) -> dict[str, Any]:
        description = self._recorder.description(step)
        return {} if description is None else description.extra

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Spectrum: ...

    @overload
    def __getitem__(self, index: slice) -> list[Spectrum]: ...

    def __getitem__(self, index: int | slice) -> Spectrum | list[Spectrum]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        step = self._steps[index]
        number = self._recorder.frame_number(step)
        assert number is not None
        extra = self._extra(step)
        return Spectrum(extra["spectrum"], extra["energy_eV"], self._recorder.journal.frame(number))
