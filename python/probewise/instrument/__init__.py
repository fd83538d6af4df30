# SPDX-License-Identifier: BSD-3-Clause
"""Microscopes behind eight verbs: how one is opened, kept safe and read.

The public names are loaded on first use, so that a backend costs nothing until it is opened.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probewise.instrument.driven import from_driver as from_driver
    from probewise.instrument.imperfections import Detector as Detector
    from probewise.instrument.imperfections import Distortions as Distortions
    from probewise.instrument.optics import Probe as Probe
    from probewise.instrument.picture import PictureInstrument as PictureInstrument
    from probewise.instrument.readers import Picture as Picture
    from probewise.instrument.readers import read_picture as read_picture
    from probewise.instrument.registry import known_schemes as known_schemes
    from probewise.instrument.registry import open_instrument as open_instrument
    from probewise.instrument.sessions import Session as Session
    from probewise.instrument.sessions import session as session
    from probewise.instrument.simulated import SimulatedInstrument as SimulatedInstrument
    from probewise.instrument.simulated import render as render
    from probewise.instrument.specimens import SPECIMENS as SPECIMENS
    from probewise.instrument.specimens import atoms as atoms
    from probewise.instrument.specimens import truth as truth

_HOME = {
    "Detector": "imperfections",
    "Distortions": "imperfections",
    "Picture": "readers",
    "PictureInstrument": "picture",
    "Probe": "optics",
    "SPECIMENS": "specimens",
    "Session": "sessions",
    "SimulatedInstrument": "simulated",
    "atoms": "specimens",
    "from_driver": "driven",
    "known_schemes": "registry",
    "open_instrument": "registry",
    "read_picture": "readers",
    "render": "simulated",
    "session": "sessions",
    "truth": "specimens",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'probewise.instrument' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"probewise.instrument.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
