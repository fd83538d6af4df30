# SPDX-License-Identifier: BSD-3-Clause
"""Whether the frames of a run are like those that its networks were made for, and who decides when they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probewise.errors import ModelError
from probewise.types import Familiarity

PATIENCE = 10  # frames running: a run seeks odd places, and stays on one kind of them for some frames
ASKED = "asked whether to go on"  # begins the notice by which a resumed run knows that somebody has decided

Confirm = Callable[[str], bool]


class Watch:
    """Counts unfamiliar frames. `see` is told what each network says of a frame, `frame_done` that it was described.

    asks     whether somebody is to decide after PATIENCE unfamiliar frames running
    noticed  notices of the run so far: what was decided in an earlier segment holds
    """

    def __init__(self, *, asks: bool, noticed: Sequence[str] = ()) -> None:
        self._asks = asks and not any(text.startswith(ASKED) for text in noticed)
        self._worst: tuple[str, Familiarity] | None = None
        self._running = 0
        self._said = ""

    def see(self, model: str, familiarity: Familiarity | None) -> None:
        if familiarity is not None and (self._worst is None or familiarity.distance > self._worst[1].distance):
            self._worst = (model, familiarity)

    def frame_done(self) -> str | None:
        """What to note of the frame, None of a familiar one."""
        worst, self._worst = self._worst, None
        if worst is None or not worst[1].unfamiliar:
            self._running = 0
            return None
        self._running += 1
        model, found = worst
        self._said = f"the model {model} was not made for such frames: {found.reason}"
        return f"{self._said} ({found.distance:.3g} times the limit that {found.rate:g} of its own frames pass)"

    def question(self) -> str | None:
        """What has to be decided before the next frame; None while nothing has to be."""
        if not self._asks or self._running < PATIENCE:
            return None
        return f"{PATIENCE} frames running are unfamiliar: {self._said}"

    def answered(self) -> None:
        """Not asked again in this run."""
        self._asks = False


def refusal(question: str) -> ModelError:
    return ModelError(
        f"{question}. The beam is safe. Look at the frames; resume the run to go on all the same, or begin another "
        f"with descriptor.models that fit (probewise models adapt)"
    )
