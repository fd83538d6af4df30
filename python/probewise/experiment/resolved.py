# SPDX-License-Identifier: BSD-3-Clause
"""A configuration with all that its source, objective and workflow decide written out as numbers."""

from __future__ import annotations

import hashlib
from typing import Any

from probewise.experiment.checks import pixels
from probewise.experiment.config import Configuration


def resolved(configuration: Configuration) -> Configuration:
    """The same run with what is unset and decided before anything is measured.

    Left out is what only the measurement says (a threshold, sizes in a picture) and the default number of steps: a
    budget that is given switches the objective's own stop rule off.
    """
    tables = {
        "instrument": _instrument(configuration),
        "sites": _sites(configuration),
        "scan": {"discard_lines": configuration.discard_lines},
        "descriptor": _windows(configuration),
        "surrogate": {"refine": configuration.refine},
        "acquisition": _acquisition(configuration),
        "start": {"sites": configuration.start_sites},
    }
    filled = {}
    for name, table in tables.items():
        given = getattr(configuration, name)
        unset = {key: value for key, value in table.items() if getattr(given, key) is None}
        filled[name] = given.model_copy(update=unset)
    return configuration.model_copy(update=filled)


def digest(configuration: Configuration) -> str:
    """sha256 of the resolved configuration without the run's folder."""
    whole = resolved(configuration)
    whole = whole.model_copy(update={"run": whole.run.model_copy(update={"out": None})})
    return hashlib.sha256(whole.to_toml().encode()).hexdigest()


def _instrument(c: Configuration) -> dict[str, Any]:
    if c.run.replay:
        return {}
    fov = c.fov_nm
    return {"fov_nm": fov if fov is None or fov[0] != fov[1] else fov[0], "beam_current_pA": c.current_pA}


def _sites(c: Configuration) -> dict[str, Any]:
    if c.run.replay:
        return {"border": c.border, "window_px": c.replay_window_px, "step_px": c.replay_step_px}
    return {"border": c.border if c.sites.list is None else None, "pixel_nm": c.pixel_nm}


def _windows(c: Configuration) -> dict[str, Any]:
    """Of the frames' windows; a picture's own pixel decides where none is set, and a network of its own."""
    if c.descriptor.workflow != "linear" or c.run.replay or not c.by_windows or c.pixel_nm is None:
        return {}
    from probewise.descriptors.spectra import window_and_step

    side = pixels(c.sites.side_nm, c.pixel_nm)
    window, step = window_and_step(c.descriptor.window_px, c.descriptor.step_px, c.sites.side_nm / side, (side, side))
    return {"window_px": window, "step_px": step}


def _acquisition(c: Configuration) -> dict[str, Any]:
    from probewise.acquisition import objective
    from probewise.acquisition.functions import POLICY_PARAMETERS

    aim = objective(c.acquisition.objective)
    policy = c.acquisition.policy or aim.policy
    known = {**POLICY_PARAMETERS.get(policy, {}), **(aim.parameters if policy == aim.policy else {})}
    return {"policy": policy, "beta": known.get("beta"), "xi": known.get("xi")}
