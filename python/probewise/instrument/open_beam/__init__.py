# SPDX-License-Identifier: BSD-3-Clause
"""Open Beam Interface: a scan generator that takes commands over TCP."""

from probewise.instrument.open_beam.microscope import OpenBeamInstrument as OpenBeamInstrument
from probewise.instrument.open_beam.microscope import open_open_beam as open_open_beam
