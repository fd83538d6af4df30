# SPDX-License-Identifier: BSD-3-Clause
"""Lines of a frame on their way from a scan device of Nion Swift into the caller's buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probewise.errors import ScanError
from probewise.types import Float32Array


class Lines:
    """What of a frame has come.

    counts    (channels, rows, cols)
    channels  the device's own number of each
    discard   lines before the first one that is kept
    """

    def __init__(self, counts: Float32Array, channels: list[int], discard: int) -> None:
        self._counts = counts
        self._channels = channels
        self._discard = discard
        self.total = counts.shape[1] + discard
        self.done = 0
        self.notices: tuple[str, ...] = ()

    def take(self, elements: Sequence[Any], area: Any) -> None:
        """The whole lines of `area`, ((top, left), (height, width)), those that came before left out."""
        (top, _), (height, _) = area
        if top > self.done:
            raise ScanError(f"lines {self.done} to {top} of the frame did not come")
        end = top + height
        if end <= self.done:
            return
        of_channel = {int(element["properties"]["channel_id"]): element["data"] for element in elements}
        for index, channel in enumerate(self._channels):
            if channel not in of_channel:
                raise ScanError(f"channel {channel} did not come, only {sorted(of_channel)}")
            self._copy(np.asarray(of_channel[channel]), self._counts[index], end)
        self.done = end

    def _copy(self, data: Any, counts: Float32Array, end: int) -> None:
        if data.shape != (self.total, counts.shape[1]) or data.dtype.kind not in "fiu":
            raise ScanError(
                f"data is {data.dtype} of shape {data.shape}, expected numbers of shape {(self.total, counts.shape[1])}"
            )
        if data.dtype != np.float32:
            self.notices = (f"counts of {data.dtype} became float32",)
        first = max(self.done, self._discard)
        counts[first - self._discard : end - self._discard] = data[first:end]
