# SPDX-License-Identifier: BSD-3-Clause
"""A small experiment on the fake microscope: one bright bump, 64 free sites, values by mean counts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fakes import FakeInstrument, Fault
from probewise.experiment import Experiment
from probewise.types import Armed, Float32Array, Frame

SITES = 100
FREE = 64


def bump(armed: Armed, sequence: int) -> Float32Array:
    """Noise that depends on the sequence only, on a bump that depends on the place."""
    rows, cols = armed.scan.shape
    y, x = armed.context.shift_nm
    level = 50.0 + 40.0 * np.exp(-((y - 20.0) ** 2 + (x + 30.0) ** 2) / 800.0)
    noise = np.random.default_rng(sequence).normal(size=(len(armed.channels), rows * cols))
    return np.asarray(level + noise, dtype=np.float32)


def mean(frame: Frame) -> float:
    return float(frame.counts.mean(dtype=np.float64))


def tables(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "instrument": {"fov_nm": 100.0, "beam_current_pA": 50.0},
        "survey": {"shape": (64, 64)},
        "sites": {"shape": (10, 10), "side_nm": 8.0, "pixel_nm": 0.5},
        "scan": {"dwell_ns": 1000},
        "measure": {"scalarize": mean},
        "start": {"sites": 6},
        "surrogate": {"fit_every": 5},
        "budget": {"steps": 20},
    }
    for name, table in changes.items():
        base[name] = {**base.get(name, {}), **table}
    return base


def fake(faults: Iterable[Fault] = (), **options: Any) -> FakeInstrument:
    return FakeInstrument(faults, counts=bump, **options)


def tiny(directory: Path, instrument: FakeInstrument | None = None, **changes: dict[str, Any]) -> Experiment:
    return Experiment(instrument or fake(), out=directory, **tables(**changes))


def resumed(directory: Path, instrument: FakeInstrument | None = None) -> Experiment:
    return Experiment.resume(directory, instrument or fake(), scalarize=mean)
