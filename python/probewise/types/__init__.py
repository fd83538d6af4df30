# SPDX-License-Identifier: BSD-3-Clause
"""The values that pass between rooms: frozen, calibrated, with units in their names.

Axes are (row, col), points (y, x). A fraction refers to the outer edges of a context's frame: pixel (r, c) of a
(rows, cols) frame has its centre at ((r + 0.5)/rows, (c + 0.5)/cols). Times are integer nanoseconds.
"""

from __future__ import annotations

from probewise.types.arrays import ELEMENTARY_CHARGE_C as ELEMENTARY_CHARGE_C
from probewise.types.arrays import BoolArray as BoolArray
from probewise.types.arrays import Float32Array as Float32Array
from probewise.types.arrays import FloatArray as FloatArray
from probewise.types.arrays import IntArray as IntArray
from probewise.types.found import Atoms as Atoms
from probewise.types.found import Description as Description
from probewise.types.found import Familiarity as Familiarity
from probewise.types.found import Latents as Latents
from probewise.types.found import NetworkInput as NetworkInput
from probewise.types.found import Segments as Segments
from probewise.types.instruments import Armed as Armed
from probewise.types.instruments import Capability as Capability
from probewise.types.instruments import Checkpointed as Checkpointed
from probewise.types.instruments import Frame as Frame
from probewise.types.instruments import Instrument as Instrument
from probewise.types.instruments import Limits as Limits
from probewise.types.posterior import Posterior as Posterior
from probewise.types.scans import Context as Context
from probewise.types.scans import Lattice as Lattice
from probewise.types.scans import RasterROI as RasterROI
from probewise.types.scans import Scan as Scan
from probewise.types.scans import ScanPath as ScanPath
from probewise.types.scans import SiteLattice as SiteLattice
from probewise.types.spectra import Spectrum as Spectrum
from probewise.types.spectra import SpectrumInstrument as SpectrumInstrument
from probewise.types.truth import Truth as Truth
from probewise.types.truth import TruthObject as TruthObject
