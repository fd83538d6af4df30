# SPDX-License-Identifier: BSD-3-Clause
"""What a site can be, what is planned for it, and what one step of the loop gave."""

from __future__ import annotations

import enum
import html
from dataclasses import dataclass, field, replace
from typing import Any

from probewise.types import Frame


class SiteState(enum.IntEnum):
    """Outcome of a site. None of these ends a run by itself."""

    FREE = 0
    MEASURED = 1
    REJECTED = 2
    UNREACHABLE = 3
    EXCLUDED = 4


@dataclass(frozen=True)
class Plan:
    """A site that waits for its turn, and why it was chosen.

    attempt      0, or the number of rejected frames before this one
    acquisition  value of the policy there, None for space filling
    reason       why another policy than the configured one chose it, "" otherwise
    """

    site: int
    policy: str
    acquisition: float | None = None
    reason: str = ""
    attempt: int = 0
    details: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "policy": self.policy,
            "acquisition": self.acquisition,
            "reason": self.reason,
            "attempt": self.attempt,
            "details": self.details,
        }

    def again(self) -> Plan:
        """The retry after a rejected frame."""
        return replace(self, attempt=self.attempt + 1)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Plan:
        return cls(**table)


@dataclass(frozen=True, eq=False)
class Step:
    """One sub-scan, as handed to callbacks and to whoever iterates.

    index        from 0
    site         flat index
    value        of the site as the basis stands, None while there is no basis or the frame was rejected
    acquisition  value of the policy at the site, None for space filling
    timings_ms   by stage: scan, vendor, describe, surrogate, acquire, decision
    """

    index: int
    site: int
    state: SiteState
    value: float | None
    policy: str
    acquisition: float | None
    frame: Frame | None
    timings_ms: dict[str, float]
    notices: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        value = "none" if self.value is None else f"{self.value:.4g}"
        told = html.escape(f"site {self.site}, {self.state.name.lower()}, value {value}, {self.policy}")
        return f"<b>step {self.index}</b>: {told}"
