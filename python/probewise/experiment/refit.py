# SPDX-License-Identifier: BSD-3-Clause
"""A fit of the surrogate beside the loop: on a snapshot, in a thread of its own, taken when it is due."""

from __future__ import annotations

import threading

from probewise.experiment.belief import Belief, FitRecord


class Refit:
    """Asked for once `asked` frames were seen. Its outcome depends on the snapshot alone, not on when it is done."""

    def __init__(self, belief: Belief, asked: int) -> None:
        self.asked = asked
        self._make = belief.snapshot()
        self._thread: threading.Thread | None = None
        self._fitted: Belief | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="probewise-fit", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until the thread has ended, if there is one."""
        if self._thread is not None:
            self._thread.join()

    def take(self) -> Belief:
        """The fitted belief; waits for it, and raises what the fit raised."""
        self.start()
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._fitted is not None
        return self._fitted

    def put_back(self, record: FitRecord) -> Belief:
        """The same from what was journalled, without fitting."""
        belief = self._make()
        belief.apply(record)
        return belief

    def _work(self) -> None:
        try:
            belief = self._make()
            belief.fit()
        except BaseException as error:  # noqa: BLE001  raised where the fit is taken
            self._error = error
        else:
            self._fitted = belief
