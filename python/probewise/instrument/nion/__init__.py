# SPDX-License-Identifier: BSD-3-Clause
"""Nion Swift: the scan device of a running Swift, or of its simulator. What is GPL-3.0-only is imported when opened."""

from probewise.instrument.nion.microscope import NionInstrument as NionInstrument
from probewise.instrument.nion.microscope import open_nion as open_nion
