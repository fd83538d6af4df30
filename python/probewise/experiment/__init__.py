# SPDX-License-Identifier: BSD-3-Clause
"""The hall: asks, tells, times, journals and stops. It sees every room and holds no formula of theirs."""

from __future__ import annotations

from probewise.experiment.config import Configuration as Configuration
from probewise.experiment.experiment import Experiment as Experiment
from probewise.experiment.loading import load as load
from probewise.experiment.run import Run as Run
from probewise.experiment.run import open_run as open_run
from probewise.experiment.second_look import atom_sites as atom_sites
from probewise.experiment.states import SiteState as SiteState
from probewise.experiment.states import Step as Step
from probewise.experiment.summary import Summary as Summary
from probewise.experiment.values import Values as Values

__all__ = [
    "Configuration",
    "Experiment",
    "Run",
    "SiteState",
    "Step",
    "Summary",
    "Values",
    "atom_sites",
    "load",
    "open_run",
]
