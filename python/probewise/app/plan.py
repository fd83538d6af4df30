# SPDX-License-Identifier: BSD-3-Clause
"""`--dry-run`: what a run would cost and where it would begin, without moving the beam."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.app.panels import number

if TYPE_CHECKING:
    from probewise.experiment import Configuration

FIRST = 5


def predict(configuration: Configuration, *, as_json: bool) -> int:
    predicted = prediction(configuration)
    print(json.dumps(predicted) if as_json else "\n".join(as_text(predicted)))
    return 0


def prediction(configuration: Configuration) -> dict[str, Any]:
    """Beam time, dose and positions; what the masks of a survey will exclude is not known yet.

    raises  ConfigurationError for what the instrument would refuse
    """
    from probewise.experiment.devices import check_device, taken
    from probewise.experiment.drift import visit_dose, visits_of
    from probewise.experiment.policy import site_order
    from probewise.experiment.sites import always_excluded
    from probewise.experiment.sources import LiveSource, open_source

    check_device(configuration)
    source = open_source(configuration, None)
    try:
        sites, excluded = source.sites, always_excluded(source.sites, configuration)
        order = site_order(configuration.start.design, sites, configuration.run.seed)
        order = order[~excluded[order]]
        survey, site = source.survey_dose(), source.dose(int(order[0]))
        name, full_ns = source.name, source.full_raster_ns
        follows = configuration.drift.correct != "off"
        patch = visit_dose(configuration, source) if follows and isinstance(source, LiveSource) else None
    finally:
        source.close()
    steps = _steps(configuration, len(order), survey, site)
    visits = 0 if patch is None else visits_of(configuration, steps, site.duration_ns)
    beam_ns = survey.duration_ns + steps * site.duration_ns
    centres = sites.centres_nm[order]
    electrons = None if site.electrons is None else (survey.electrons or 0.0) + steps * site.electrons
    if patch is not None:
        beam_ns += visits * patch.duration_ns
        electrons = None if electrons is None else electrons + visits * (patch.electrons or 0.0)
    fluence = None if site.fluence_e_per_A2 is None else (survey.fluence_e_per_A2 or 0.0) + site.fluence_e_per_A2
    if patch is not None and fluence is not None:  # a site may lie under the patch
        fluence += visits * (patch.fluence_e_per_A2 or 0.0)
    return {
        "source": name,
        "unit": "px" if configuration.run.replay else "nm",
        "sites": int(sites.size),
        "free": len(order),
        "steps": steps,
        "drift_visits": visits,
        "extent": {"y": [float(v) for v in _ends(centres[:, 0])], "x": [float(v) for v in _ends(centres[:, 1])]},
        "first": [[float(value) for value in centre] for centre in centres[:FIRST]],
        "beam_s": {"survey": survey.duration_ns * 1e-9, "site": site.duration_ns * 1e-9, "all": beam_ns * 1e-9},
        "raster_equivalents": None if full_ns is None else beam_ns / full_ns,
        "electrons": electrons,
        "max_e_per_A2": fluence,
        "device": taken(configuration),
    }


def _steps(configuration: Configuration, free: int, survey: Any, site: Any) -> int:
    """The tightest of the budgets; time counts the beam only, decisions come on top."""
    budget = configuration.budget
    allowed = [free, *([] if budget.limit_of_steps is None else [budget.limit_of_steps])]
    if budget.seconds is not None and site.duration_ns:
        allowed.append(int((budget.seconds - survey.duration_ns * 1e-9) / (site.duration_ns * 1e-9)))
    if budget.electrons is not None and site.electrons:
        allowed.append(int((budget.electrons - (survey.electrons or 0.0)) / site.electrons))
    if budget.max_e_per_A2 is not None and site.fluence_e_per_A2 is not None:
        fits = (survey.fluence_e_per_A2 or 0.0) + site.fluence_e_per_A2 <= budget.max_e_per_A2
        allowed.append(free if fits else 0)
    return max(0, min(allowed))


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def as_text(predicted: dict[str, Any]) -> list[str]:
    unit, beam, extent = predicted["unit"], predicted["beam_s"], predicted["extent"]
    spans = [f"{axis} {number(extent[axis][0])} to {number(extent[axis][1])}" for axis in ("y", "x")]
    first = ", ".join(f"({number(y)}, {number(x)})" for y, x in predicted["first"])
    parts = f"survey {number(beam['survey'])} s, each site {number(beam['site'])} s"
    dose = "unknown: no beam current"
    if predicted["electrons"] is not None:
        most = number(predicted["max_e_per_A2"])
        dose = f"{number(predicted['electrons'])} electrons, at most {most} e/A^2 at any place"
    cost = predicted["raster_equivalents"]
    visits = predicted["drift_visits"]
    if visits:
        parts += f", {visits} scans of the patch that shows the drift"
    return [
        f"{predicted['source']}: nothing was moved",
        f"positions  {predicted['steps']} of {predicted['free']} free sites of {predicted['sites']}; masks come on top",
        f"extent     {', '.join(spans)} {unit}; first (y, x): {first} {unit}",
        f"time       beam {number(beam['all'])} s ({parts})",
        f"dose       {dose}" + ("" if cost is None else f", {number(cost)} raster equivalents"),
        f"device     {predicted['device']}",
    ]
