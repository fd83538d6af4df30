# SPDX-License-Identifier: BSD-3-Clause
"""Automated experiments in scanning transmission electron microscopy.

The public names are loaded on first use, so that `import probewise` costs numpy and the compiled core only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as _numpy  # noqa: F401  loaded here so that the first call does not pay for it

from probewise._core import __version__ as __version__

if TYPE_CHECKING:
    from probewise import acquisition as acquisition
    from probewise import scan as scan
    from probewise.acquisition import choose as choose
    from probewise.descriptors import LatentEncoder as LatentEncoder
    from probewise.descriptors import Unmixing as Unmixing
    from probewise.descriptors import select_component as select_component
    from probewise.descriptors import sliding_spectra as sliding_spectra
    from probewise.errors import ConfigurationError as ConfigurationError
    from probewise.errors import CudaError as CudaError
    from probewise.errors import Error as Error
    from probewise.errors import InstrumentError as InstrumentError
    from probewise.errors import StorageError as StorageError
    from probewise.experiment import Experiment as Experiment
    from probewise.experiment import Values as Values
    from probewise.experiment import atom_sites as atom_sites
    from probewise.experiment import open_run as open_run
    from probewise.image import AtomFinder as AtomFinder
    from probewise.image import extract_patches as extract_patches
    from probewise.image import find_atoms as find_atoms
    from probewise.image import to_image as to_image
    from probewise.instrument import open_instrument as open_instrument
    from probewise.instrument import render as render
    from probewise.instrument import truth as truth
    from probewise.surrogate import GaussianProcess as GaussianProcess
    from probewise.types import Context as Context
    from probewise.types import Frame as Frame
    from probewise.types import Instrument as Instrument
    from probewise.types import Lattice as Lattice
    from probewise.types import RasterROI as RasterROI
    from probewise.types import ScanPath as ScanPath

_HOME = {
    "acquisition": "probewise.acquisition",
    "scan": "probewise.scan",
    "choose": "probewise.acquisition",
    "LatentEncoder": "probewise.descriptors",
    "Unmixing": "probewise.descriptors",
    "select_component": "probewise.descriptors",
    "sliding_spectra": "probewise.descriptors",
    "ConfigurationError": "probewise.errors",
    "CudaError": "probewise.errors",
    "Error": "probewise.errors",
    "InstrumentError": "probewise.errors",
    "StorageError": "probewise.errors",
    "Experiment": "probewise.experiment",
    "atom_sites": "probewise.experiment",
    "open_run": "probewise.experiment",
    "AtomFinder": "probewise.image",
    "extract_patches": "probewise.image",
    "find_atoms": "probewise.image",
    "to_image": "probewise.image",
    "open_instrument": "probewise.instrument",
    "render": "probewise.instrument",
    "truth": "probewise.instrument",
    "GaussianProcess": "probewise.surrogate",
    "Context": "probewise.types",
    "Frame": "probewise.types",
    "Instrument": "probewise.types",
    "Lattice": "probewise.types",
    "RasterROI": "probewise.types",
    "ScanPath": "probewise.types",
    "Values": "probewise.experiment",
}
_MODULES = ("acquisition", "scan")

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'probewise' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
