# SPDX-License-Identifier: BSD-3-Clause
"""probewise under bluesky's RunEngine: an instrument as a device, a whole experiment as one run.

Only `run_plan` imports bluesky (extra `bluesky`); the devices follow its protocols without it.
"""

from __future__ import annotations

from probewise.bluesky.flyer import ExperimentFlyer as ExperimentFlyer
from probewise.bluesky.flyer import run_plan as run_plan
from probewise.bluesky.microscope import Microscope as Microscope

__all__ = ["ExperimentFlyer", "Microscope", "run_plan"]
