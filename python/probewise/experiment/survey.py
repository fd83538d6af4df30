# SPDX-License-Identifier: BSD-3-Clause
"""The survey: one frame of the whole field at a low dose, and from it the sites where measuring is useful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError
from probewise.experiment.config import Configuration
from probewise.experiment.sites import Sites, always_excluded, averages, is_lattice
from probewise.experiment.sources import LiveSource, ReplaySource, open_source
from probewise.types import BoolArray, FloatArray, Frame, SiteLattice

MASKS = ("vacuum", "holes", "thick", "contamination")


@dataclass(frozen=True, eq=False)
class Survey:
    """What a survey showed.

    frame       None where `survey.shape` is "none", and in a replay
    masks       (sites,) bool by name, and `class_map` (rows, cols) uint8 of the frame; empty without a frame
    excluded    (sites,) bool: the border, `sites.exclude` and the masks that `survey.mask` names
    site_means  (sites,) mean counts in each site's square, None without a frame
    """

    sites: Sites
    frame: Frame | None
    masks: dict[str, Any]
    excluded: BoolArray
    site_means: FloatArray | None
    notices: tuple[str, ...] = ()


def take_survey(configuration: Configuration, source: LiveSource | ReplaySource) -> Survey:
    """Scan, mask, and say which sites are left; ConfigurationError when none is."""
    sites = source.sites
    excluded = always_excluded(sites, configuration)
    frame = source.survey()
    masks: dict[str, Any] = {}
    means: FloatArray | None = None
    notices: tuple[str, ...] = ()
    if frame is not None:
        image = np.ascontiguousarray(frame.image())
        masks, notices = _masks(sites, frame, image)
        for name in configuration.survey.mask:
            excluded = excluded | masks[name]
        means = averages(image, sites)
    if excluded.all():
        raise ConfigurationError(f"all {sites.size} sites are excluded by border, masks and sites.exclude")
    return Survey(sites, frame, masks, excluded, means, notices)


def survey_only(configuration: Configuration) -> Survey:
    """A survey and nothing else: opens the instrument, scans once, leaves the beam safe."""
    source = open_source(configuration, None)
    try:
        return take_survey(configuration, source)
    finally:
        source.close()


def _masks(sites: Sites, frame: Frame, image: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    from probewise.image import survey_masks

    whole = sites if isinstance(sites, SiteLattice) else SiteLattice((1, 1), min(sites.fov_nm), sites.fov_nm)
    found = survey_masks(image, pixel_nm=frame.pixel_nm, sites=whole)
    masks: dict[str, Any] = {"class_map": found.class_map}
    for number, name in enumerate(MASKS, start=1):
        masks[name] = averages((found.class_map == number).astype(np.float32), sites) >= 0.5
    return masks, found.notices if is_lattice(sites) else ()
