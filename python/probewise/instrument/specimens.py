# SPDX-License-Identifier: BSD-3-Clause
"""The simulated specimens: pure functions of a name, options and a seed, with their own truth."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from probewise._core import instrument as _core
from probewise.errors import ConfigurationError
from probewise.instrument.build import Blob, Model, Species
from probewise.instrument.monolayers import graphene, mos2
from probewise.instrument.optics import Probe, cross_section_A2
from probewise.instrument.oxides import bfo, nio_lsmo, strained
from probewise.instrument.particles import particles
from probewise.types import FloatArray, IntArray, Truth

SiteUnit = Literal["nm^2", "nm", "count"]
FEATURES = ("hole", "thick", "contamination")


@dataclass(frozen=True)
class _Kind:
    """labels: names of the class map; a sub-scan holds the feature from `site_holds` (in `unit`) on."""

    make: Callable[..., None]
    labels: tuple[str, ...]
    unit: SiteUnit
    site_holds: float


_KINDS = {
    # 6.4 nm^2 and 32 nm^2 are a tenth and a half of the default 8 nm sub-scan.
    "nio-lsmo": _Kind(nio_lsmo, ("LSMO", "NiO"), "nm^2", 6.4),
    "bfo": _Kind(bfo, ("+y+x", "+y-x", "-y-x", "-y+x"), "nm", 2.0),
    "graphene": _Kind(graphene, ("graphene", "boundary", "Si dopant", "vacancy"), "count", 1.0),
    "mos2": _Kind(mos2, ("MoS2", "S vacancy", "S2 vacancy", "W dopant"), "count", 1.0),
    "particles": _Kind(particles, ("film", "particle", "junction"), "nm^2", 2.0),
    "strained": _Kind(strained, ("matrix", "strained"), "nm^2", 32.0),
}
SPECIMENS: tuple[str, ...] = tuple(_KINDS)


@dataclass(frozen=True, eq=False)
class Specimen:
    """The compiled columns, what stands in each kind of column, and the truth."""

    core: _core.Specimen
    species: tuple[Species, ...]
    truth: Truth


def build(
    name: str,
    *,
    seed: int = 0,
    fov_nm: float | tuple[float, float] = 200.0,
    features: tuple[str, ...] = (),
    probe: Probe | None = None,
    **options: Any,
) -> Specimen:
    """Make a specimen.

    name      one of SPECIMENS
    fov_nm    side of the survey field, or (y, x)
    features  of "hole", "thick", "contamination": areas that a survey should mask; they remove no truth
    options   of the specimen (defect_statistics, defects, strain, mistilt_pm)
    raises    ConfigurationError for an unknown name, feature or option, ValueError for a value out of range
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise ConfigurationError(f"specimen is {name!r}, expected one of {', '.join(SPECIMENS)}")
    known = [p.name for p in inspect.signature(kind.make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigurationError(
                f"{option} is no option of specimen {name}, expected one of {['features', *known]}"
            )
    for feature in features:
        if feature not in FEATURES:
            raise ConfigurationError(f"features has {feature!r}, expected names of {FEATURES}")
    sides = (float(fov_nm), float(fov_nm)) if isinstance(fov_nm, int | float) else (float(fov_nm[0]), float(fov_nm[1]))
    ordered = tuple(feature for feature in FEATURES if feature in features)
    return _build(name, seed, sides, ordered, probe or Probe(), tuple(sorted(options.items())))


@functools.lru_cache(maxsize=8)
def _build(
    name: str,
    seed: int,
    fov_nm: tuple[float, float],
    features: tuple[str, ...],
    probe: Probe,
    options: tuple[tuple[str, Any], ...],
) -> Specimen:
    kind = _KINDS[name]
    model = Model(name, seed, fov_nm, kind.labels + features, kind.unit, kind.site_holds)
    kind.make(model, **dict(options))
    _add_features(model, features, len(kind.labels), probe)
    columns = functools.partial(atoms, name, seed=seed, fov_nm=fov_nm, features=features, probe=probe, **dict(options))
    return Specimen(model.core, tuple(model.species), replace(model.truth(), columns_in=columns))


def _add_features(model: Model, features: tuple[str, ...], first_label: int, probe: Probe) -> None:
    """Near three corners of the field, out of the way of most of it."""
    height, width = model.fov_nm
    scale = min(height, width)
    corner = {"hole": (0.16, 0.18), "thick": (0.84, 0.20), "contamination": (0.18, 0.82)}
    for number, feature in enumerate(features):
        y, x = corner[feature]
        blob = Blob(y * height, x * width, 0.1 * scale)
        carbon = (
            4.0 * 100 * 1e-2 * cross_section_A2(6, probe.voltage_kV, probe.detector_mrad, probe.convergence_mrad)
        )  # 4 nm of carbon, 100 atoms/nm^3
        amount = {"hole": 0.0, "thick": 3.0, "contamination": carbon}[feature]
        model.core.add_patch(feature, (blob.y, blob.x), blob.radius, amount, 0.0 if feature == "hole" else 2.0)
        model.paint(blob, first_label + number)
    model.mask_names = features
    if features:
        model.notes["features"] = ", ".join(features)


def truth(specimen: str, *, seed: int = 0, fov_nm: float | tuple[float, float] = 200.0, **options: Any) -> Truth:
    """What the specimen holds: objects, class map, what makes a site interesting.

    specimen, seed, fov_nm, options  as for `build`
    raises  ConfigurationError, ValueError as `build`
    """
    return build(specimen, seed=seed, fov_nm=fov_nm, **options).truth


def atoms(
    specimen: str,
    box_nm: tuple[float, float, float, float],
    *,
    seed: int = 0,
    fov_nm: float | tuple[float, float] = 200.0,
    **options: Any,
) -> tuple[FloatArray, IntArray]:
    """The atom columns inside a box of the survey field, enumerated on demand.

    box_nm   (y0, x0, y1, x1) from the field's top left corner
    returns  yx_nm (n, 2) and Z (n,): the heaviest element of each column
    raises   ValueError for a box that is not finite or empty
    """
    y0, x0, y1, x1 = box_nm
    if not (np.isfinite(box_nm).all() and y0 < y1 and x0 < x1):
        raise ValueError(f"box_nm is {box_nm}, expected finite (y0, x0, y1, x1) with y0 < y1 and x0 < x1")
    made = build(specimen, seed=seed, fov_nm=fov_nm, **options)
    yx, species, _ = made.core.atoms([y0, x0, y1, x1])
    heaviest = np.array([max(number for number, _ in column) for column in made.species], dtype=np.int64)
    return yx, heaviest[species]
