# SPDX-License-Identifier: BSD-3-Clause
"""Instruments: one file a backend, and the simulated microscope."""

from __future__ import annotations

from probewise.instrument.simulated import Detector as Detector
from probewise.instrument.simulated import Distortions as Distortions
from probewise.instrument.simulated import SimulatedInstrument as SimulatedInstrument
from probewise.instrument.simulated import open_simulated as open_simulated
from probewise.instrument.simulated import render as render
from probewise.instrument.specimens import SPECIMENS as SPECIMENS
from probewise.instrument.specimens import atoms as atoms
from probewise.instrument.specimens import truth as truth
