# SPDX-License-Identifier: BSD-3-Clause
"""The numbers a run ends with: summary.json and the last line on stdout."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from probewise.experiment.config import Configuration
from probewise.experiment.dose import exposure
from probewise.experiment.history import History
from probewise.experiment.states import SiteState
from probewise.experiment.truth import Target, recall_curve
from probewise.types import BoolArray, FloatArray

STAGES = ("scan", "vendor", "describe", "surrogate", "acquire", "decision")


class Summary(dict[str, Any]):
    """A dictionary with the keys of summary.json."""

    def to_json(self) -> str:
        return json.dumps(self, allow_nan=False)

    def lines(self) -> list[str]:
        """Five lines for a person."""
        shown, truth, dose = self["exposure"], self["truth"], self["dose"]
        equivalents = shown["raster_equivalents"]
        cost = "" if equivalents is None else f", {equivalents:.3g} raster equivalents"
        lines = [
            f"{self['source']}: {self['policy']} ({self['objective']}), seed {self['seed']}",
            f"{self['measured']} of {self['sites']} sites in {self['steps']} steps{cost}; {self['stop_reason']}",
        ]
        if truth is None:
            lines.append("no truth to compare with")
        else:
            recall = truth["recall"][-1][2] if truth["recall"] else 0.0
            lines.append(f"recall {recall:.2f}, {truth['objects_found']} of {truth['objects']} objects found")
        if dose is None:
            lines.append("dose unknown: no beam current")
        else:
            lines.append(f"{dose['electrons']:.3g} electrons, at most {dose['max_e_per_A2']:.3g} e/A^2")
        lines.append(f"{self['time_s']['wall']:.1f} s, {len(self['notices'])} notices")
        return lines

    def _repr_html_(self) -> str:
        return "<br>".join(html.escape(line) for line in self.lines())


def summarise(
    configuration: Configuration,
    history: History,
    *,
    source: str,
    policy: str,
    stop_reason: str,
    target: Target | None,
    ssim: float | None,
    full_raster_ns: float | None,
    device: str,
    models: list[dict[str, str]],
    notices: Iterable[str],
    wall_s: float,
) -> Summary:
    from probewise import __version__

    states = history.states
    return Summary(
        schema=1,
        version=__version__,
        source=source,
        workflow=configuration.descriptor.workflow,
        objective=configuration.acquisition.objective,
        policy=policy,
        seed=configuration.run.seed,
        device=device,
        sites=history.sites.size,
        measured=int((states == SiteState.MEASURED).sum()),
        rejected=int((states == SiteState.REJECTED).sum()),
        unreachable=int((states == SiteState.UNREACHABLE).sum()),
        excluded=int((states == SiteState.EXCLUDED).sum()),
        steps=len(history.steps),
        stop_reason=stop_reason,
        exposure=_exposure(history, full_raster_ns),
        truth=_truth(history, target, ssim, full_raster_ns),
        dose=_dose(configuration, history),
        time_s={
            "wall": wall_s,
            "beam": history.beam_ns * 1e-9,
            "beam_duty": history.steps_ns * 1e-9 / wall_s if _real_clock(configuration) and wall_s > 0 else None,
        },
        latency_ms=latency([step.timings_ms for step in history.steps]),
        models=models,
        notices=list(dict.fromkeys(notices)),
    )


def _real_clock(configuration: Configuration) -> bool:
    """Simulated samples and pictures are scanned in no time unless told to take it."""
    table = configuration.instrument
    virtual = configuration.run.replay or table.simulated or table.uri.startswith(("image:", "pyro5:"))
    return table.realtime or not virtual


def _exposure(history: History, full_raster_ns: float | None) -> dict[str, Any]:
    fraction = float(len(np.unique(history.measured)) / history.sites.size)
    if full_raster_ns is None:
        return {"site_fraction": fraction, "exposed_fraction": None, "raster_equivalents": None, "max_hits": None}
    frames = history.exposed
    centres = history.sites.centres_nm[[step.site for step in frames]]
    touched = exposure(centres, history.sites.side_nm, [0.0] * len(frames), history.sites.fov_nm)
    return {
        "site_fraction": fraction,
        "exposed_fraction": touched.fraction,
        "raster_equivalents": history.beam_ns / full_raster_ns,
        "max_hits": touched.max_hits,
    }


def _truth(
    history: History, target: Target | None, ssim: float | None, full_raster_ns: float | None
) -> dict[str, Any] | None:
    if target is None:
        return None
    interesting: BoolArray = target.interesting
    count = int(interesting.sum())
    curve: FloatArray = recall_curve(history, interesting, full_raster_ns)
    return {
        "foi_sites": count,
        "objects": target.objects,
        "objects_found": target.objects_found(history),
        "reachable": float((interesting & ~history.excluded).sum() / count) if count else None,
        "recall": [[float(f), None if np.isnan(e) else float(e), float(r)] for f, e, r in curve],
        "ssim": ssim,
    }


def _dose(configuration: Configuration, history: History) -> dict[str, Any] | None:
    if configuration.current_pA is None:
        return None
    frames = history.exposed
    touched = exposure(
        history.sites.centres_nm[[step.site for step in frames]],
        history.sites.side_nm,
        [step.fluence_e_per_A2 for step in frames],
        history.sites.fov_nm,
    )
    return {
        "electrons": history.electrons,
        "lost_electrons": history.lost_electrons,
        "max_e_per_A2": max(history.survey_fluence + touched.max_fluence, history.patch_fluence),
        "current_source": configuration.instrument.current_source,
    }


def latency(timings: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Percentiles in ms of each stage; None where a stage never ran."""
    table = {}
    rows = list(timings)
    for stage in STAGES:
        values = [row[stage] for row in rows if stage in row]
        table[stage] = {
            f"p{percent}": float(np.percentile(values, percent)) if values else None for percent in (50, 95, 99)
        }
    return table
