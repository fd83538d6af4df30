# SPDX-License-Identifier: BSD-3-Clause
"""What a surrogate believes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from probewise.types.arrays import FloatArray


@runtime_checkable
class Posterior(Protocol):
    """All that acquisition knows of a surrogate."""

    @property
    def mean(self) -> FloatArray: ...

    @property
    def std(self) -> FloatArray: ...

    def sample(self, key: tuple[int, int]) -> FloatArray:
        """One joint draw of the latent function at all candidates, (c,)."""
        ...

    def believe(self, index: int) -> Posterior:
        """A copy in which `index` was told its own posterior mean (Kriging believer)."""
        ...

    def bound(self, tile: slice) -> tuple[float, float]:
        """Upper bounds of (mean, std) over a run of candidates."""
        ...
