# SPDX-License-Identifier: BSD-3-Clause
"""When a run may go on: steps, seconds, electrons and fluence, asked before the beam moves."""

from __future__ import annotations

from probewise.experiment.config import BudgetTable
from probewise.experiment.dose import ScanDose
from probewise.experiment.history import History


def reason_to_stop(budget: BudgetTable, history: History, dose: ScanDose, elapsed_s: float) -> str | None:
    """Why the next scan must not begin, None when it may. A scan is refused rather than cut, so none runs over."""
    steps = budget.limit_of_steps
    if steps is not None and len(history.steps) >= steps:
        return "budget: steps"
    if budget.seconds is not None and elapsed_s >= budget.seconds:
        return "budget: seconds"
    if budget.electrons is not None and dose.electrons is not None:
        spent = history.electrons + history.lost_electrons
        if spent + dose.electrons > budget.electrons:
            return "budget: electrons"
    return None


def over_fluence(budget: BudgetTable, history: History, site: int, dose: ScanDose) -> bool:
    """Would one more scan of `site` bring a point of it over the limit?"""
    if budget.max_e_per_A2 is None or dose.fluence_e_per_A2 is None:
        return False
    return history.fluence_at(site) + dose.fluence_e_per_A2 > budget.max_e_per_A2
