# SPDX-License-Identifier: BSD-3-Clause
"""The networks of a run: opened and checked before anything moves, named in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probewise.errors import ConfigurationError, ModelError
from probewise.experiment.config import Configuration

if TYPE_CHECKING:
    from probewise.inference import Model

SHIPPED = {"dcnn": ("atoms", "segments")}
SCALE_TOLERANCE = 1e-6  # relative, over rounding


@dataclass(frozen=True)
class Networks:
    """Opened models by what they are for; several finders of atoms are an ensemble."""

    atoms: tuple[Model, ...] = ()
    segments: tuple[Model, ...] = ()
    encoder: tuple[Model, ...] = ()

    @property
    def all(self) -> tuple[Model, ...]:
        return (*self.atoms, *self.segments, *self.encoder)

    @property
    def table(self) -> list[dict[str, str]]:
        """As summary.json lists them."""
        return [
            {"name": model.card.name, "sha256": model.card.sha256, "provider": model.provider} for model in self.all
        ]

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(text for model in self.all for text in model.notices)

    def check_pixel(self, pixel_nm: float) -> None:
        """Refuse a pixel size outside what a model was made for."""
        for model in (*self.atoms, *self.segments):
            span = model.card.pixel_nm
            if span is None or span.low * (1 - SCALE_TOLERANCE) <= pixel_nm <= span.high * (1 + SCALE_TOLERANCE):
                continue
            raise ConfigurationError(
                f"sites.pixel_nm is {pixel_nm:g}, expected {span.low:g} to {span.high:g} for the model "
                f"{model.card.name!r}"
            )

    def check_journalled(self, journalled: Sequence[Mapping[str, Any]]) -> None:
        """A resumed run goes on with the very models that it began with."""
        before = {str(row["name"]): str(row["sha256"]) for row in journalled}
        now = {model.card.name: model.card.sha256 for model in self.all}
        if before != now:
            raise ModelError(
                f"the run began with the models {_brief(before)}, the ones here are {_brief(now)}, expected the same"
            )


def open_networks(configuration: Configuration) -> Networks:
    """Load what the workflow needs; none for a workflow without networks.

    raises  ConfigurationError for a model of a kind that the workflow has no use for, or without onnxruntime;
            ModelError for one that is refused
    """
    table = configuration.descriptor
    described = configuration.measure.kind == "frame" and configuration.measure.scalarize is None
    if table.workflow not in SHIPPED or not described:
        if table.models:
            raise ConfigurationError(
                f"descriptor.models is {list(table.models)}, expected none: nothing here runs a network"
            )
        return Networks()
    from probewise.inference import load_model

    opened: dict[str, list[Model]] = {"atoms": [], "segments": [], "encoder": []}
    device = "cpu" if configuration.run.device == "auto" else configuration.run.device
    for name in table.models or SHIPPED[table.workflow]:
        model = load_model(name, device=device)
        if model.card.kind not in opened:
            raise ConfigurationError(
                f"descriptor.models has {name!r}, a {model.card.kind}, expected models that look at frames or patches"
            )
        opened[model.card.kind].append(model)
    if len(opened["segments"]) > 1:
        raise ConfigurationError(
            f"descriptor.models is {list(table.models)}, expected at most one that finds areas among them"
        )
    if not opened["atoms"]:
        raise ConfigurationError(f"descriptor.models is {list(table.models)}, expected one that finds atoms among them")
    return Networks(*(tuple(opened[kind]) for kind in ("atoms", "segments", "encoder")))


def _brief(models: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({sha[:12]})" for name, sha in sorted(models.items())) or "none"
