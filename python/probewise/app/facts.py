# SPDX-License-Identifier: BSD-3-Clause
"""A run's summary as a report shows it: one headline and a table of facts with units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probewise.app.panels import number

if TYPE_CHECKING:
    from probewise.experiment import Run


def summary_of(run: Run) -> Mapping[str, Any]:
    """As it ended, or as it stands when it has not."""
    return run.summary if run.summary is not None else run.summary_so_far()


def headline(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['source']}: {summary['workflow']} workflow, objective {summary['objective']}, "
        f"policy {summary['policy']}, seed {summary['seed']}"
    )


def facts(run: Run, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The summary table of a report: names and values with units."""
    exposure = summary["exposure"]
    configuration = run.configuration
    listed = [
        ("source", str(summary["source"])),
        ("ended", str(summary["stop_reason"])),
        ("sites", f"{summary['sites']} ({run.sites.shape[0]} x {run.sites.shape[1]})"),
        ("measured", f"{summary['measured']} in {summary['steps']} steps"),
        (
            "not measured",
            f"{summary['rejected']} rejected, {summary['unreachable']} unreachable, {summary['excluded']} excluded",
        ),
        ("exposure", _exposure(exposure)),
        ("dose", _dose(summary)),
        ("found", _found(summary)),
        ("time", _time(summary)),
        ("decision", _latency(summary, "decision")),
    ]
    if not str(summary["source"]).startswith("replay:"):
        instrument = configuration.instrument
        listed.append(
            ("beam", f"{number(instrument.voltage_kV)} kV, detector {_angles(instrument.detector_mrad)} mrad")
        )
    if summary["truth"] is not None and summary["truth"]["ssim"] is not None:
        listed.append(("SSIM", f"{summary['truth']['ssim']:.3f} of the posterior mean with the target"))
    if run.hyperparameters:
        step, fit = run.hyperparameters[-1]
        listed.append(
            (
                "surrogate",
                f"lengthscale {number(fit.lengthscale)} pitches, noise {number(fit.noise)} (fit at step {step + 1})",
            )
        )
    listed.append(("version", f"probewise {summary['version']}, on {summary['device']}"))
    return listed


def _angles(angles: Any) -> str:
    return " to ".join(number(float(angle)) for angle in angles)


def _exposure(exposure: Mapping[str, Any]) -> str:
    parts = [f"{exposure['site_fraction']:.1%} of sites"]
    if exposure.get("exposed_fraction") is not None:
        parts.append(f"{exposure['exposed_fraction']:.1%} of area")
    if exposure.get("raster_equivalents") is not None:
        parts.append(f"{number(exposure['raster_equivalents'])} rasters")
    return ", ".join(parts)


def _dose(summary: Mapping[str, Any]) -> str:
    dose = summary["dose"]
    if dose is None:
        return (
            "dose unknown (no beam current)" if not str(summary["source"]).startswith("replay:") else "no dose (replay)"
        )
    lost = f", {number(dose['lost_electrons'])} electrons lost" if dose["lost_electrons"] else ""
    return f"at most {number(dose['max_e_per_A2'])} e/Å² ({dose['current_source']} current){lost}"


def _found(summary: Mapping[str, Any]) -> str:
    truth = summary["truth"]
    if truth is None:
        return "no truth to compare with"
    recall = truth["recall"][-1][2] if truth["recall"] else 0.0
    return f"recall {recall:.2f} of {truth['foi_sites']} sites, {truth['objects_found']} of {truth['objects']} objects"


def _time(summary: Mapping[str, Any]) -> str:
    time = summary["time_s"]
    text = f"{number(time['wall'])} s"
    if time["beam"] is not None:
        text += f", beam {number(time['beam'])} s"
    if time["beam_duty"] is not None:
        text += f" ({time['beam_duty']:.0%} of it)"
    return text


def _latency(summary: Mapping[str, Any], stage: str) -> str:
    times = summary["latency_ms"].get(stage)
    if not times or times["p50"] is None:
        return "not timed"
    return f"median {number(times['p50'])} ms, 99 % {number(times['p99'])} ms"
