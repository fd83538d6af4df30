# SPDX-License-Identifier: BSD-3-Clause
"""The networks of a run: opened and checked before anything moves, named in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probewise.errors import ConfigurationError, ModelError
from probewise.experiment.config import Configuration
from probewise.experiment.devices import network_device

if TYPE_CHECKING:
    from probewise.inference import Model

SHIPPED = {"dcnn": ("atoms", "segments")}
ENCODER, DECODER = "-encoder", "-decoder"
ANY = 16
# Of each kind the least and the most that a workflow takes, and what such a model does.
WANTED = {
    "dcnn": {
        "atoms": (1, ANY, "finds atoms"),
        "segments": (0, 1, "finds areas"),
        "encoder": (0, 0, "reads patches"),
        "decoder": (0, 0, "draws patches"),
    },
    "rvae": {
        "atoms": (0, ANY, "finds atoms"),
        "segments": (0, 0, "finds areas"),
        "encoder": (1, 1, "reads patches"),
        "decoder": (0, 1, "draws patches"),
    },
}
SCALE_TOLERANCE = 1e-6  # relative, over rounding


@dataclass(frozen=True)
class Networks:
    """Opened models by what they are for; several finders of atoms are an ensemble.

    decoder  of the encoder, to draw what its latent variables mean
    """

    atoms: tuple[Model, ...] = ()
    segments: tuple[Model, ...] = ()
    encoder: tuple[Model, ...] = ()
    decoder: tuple[Model, ...] = ()

    @property
    def all(self) -> tuple[Model, ...]:
        return (*self.atoms, *self.segments, *self.encoder, *self.decoder)

    @property
    def table(self) -> list[dict[str, str]]:
        """As summary.json lists them."""
        return [
            {"name": model.card.name, "sha256": model.card.sha256, "provider": model.provider} for model in self.all
        ]

    @property
    def notices(self) -> tuple[str, ...]:
        texts = [text for model in self.all for text in model.notices]
        for card in (model.card for model in self.encoder if not self.atoms):
            if card.normalisation != "spectrum" and card.latent is not None and not card.latent.translation:
                texts.append(
                    f"{card.name} was trained without translation: what it says of windows depends on where in them "
                    f"the atoms lie"
                )
        return tuple(texts)

    def check_frames(self, shape: tuple[int, int], pixel_nm: float) -> None:
        """Refuse frames (rows, cols) of a pixel size outside what a model was made for, or smaller than a patch."""
        for model in (*self.atoms, *self.segments, *self.encoder):
            span = model.card.pixel_nm
            if span is None or span.low * (1 - SCALE_TOLERANCE) <= pixel_nm <= span.high * (1 + SCALE_TOLERANCE):
                continue
            raise ConfigurationError(
                f"sites.pixel_nm is {pixel_nm:g}, expected {span.low:g} to {span.high:g} for the model "
                f"{model.card.name!r}"
            )
        for model in self.encoder:
            from probewise.descriptors.cut_patches import window_px

            span = model.card.pixel_nm
            needed = window_px(model.card) * (1.0 if span is None else span.native / pixel_nm)
            if min(shape) < needed:
                raise ConfigurationError(
                    f"sites.side_nm gives frames of {shape[0]} x {shape[1]} px, expected at least the {needed:.0f} px "
                    f"that the model {model.card.name!r} looks at together"
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
    if table.workflow == "linear" or not configuration.by_windows:
        if table.models:
            raise ConfigurationError(
                f"descriptor.models is {list(table.models)}, expected none: nothing here runs a network"
            )
        return Networks()
    from probewise import models
    from probewise.inference import load_model

    if not table.models and table.workflow not in SHIPPED:
        encoders = [name for name in models.names() if name.endswith(ENCODER)]
        raise ConfigurationError(
            f"descriptor.models is not set, expected an encoder and, for patches about atoms, what finds them: "
            f'["atoms", NAME] (--model atoms --model NAME) with NAME one of {", ".join(encoders)} or a .onnx file'
        )
    opened: dict[str, list[Model]] = {"atoms": [], "segments": [], "encoder": [], "decoder": []}
    device = network_device(configuration)
    for name in (*(table.models or SHIPPED[table.workflow]), *_decoders(configuration)):
        model = load_model(name, device=device)
        opened[model.card.kind].append(model)
    found = {kind: [model.card.name for model in several] for kind, several in opened.items() if several}
    for kind, (least, most, what) in WANTED[table.workflow].items():
        count = len(opened[kind])
        if not least <= count <= most:
            number = "none" if most == 0 else "at least one" if most == ANY else "one" if least else "at most one"
            raise ConfigurationError(
                f"descriptor.models is {list(table.models)}, which holds {found or 'nothing'}, expected {number} that "
                f"{what} among them"
            )
    networks = Networks(*(tuple(opened[kind]) for kind in ("atoms", "segments", "encoder", "decoder")))
    known = networks.atoms[0].card.classes if networks.atoms else ()
    for name in table.of:
        if name not in known:
            raise ConfigurationError(
                f"descriptor.of holds {name!r}, expected classes of the model that finds atoms: "
                f"{', '.join(known) or 'there is none among descriptor.models'}"
            )
    if networks.atoms and any(model.card.normalisation == "spectrum" for model in networks.encoder):
        raise ConfigurationError(
            f"descriptor.models is {list(table.models)}, expected none that finds atoms: "
            f"{networks.encoder[0].card.name!r} reads spectra of windows"
        )
    for decoder in networks.decoder:
        ours, theirs = networks.encoder[0].card, decoder.card
        if (ours.latent, ours.input.patch_px) != (theirs.latent, theirs.input.patch_px):
            raise ConfigurationError(
                f"descriptor.models holds {theirs.name!r}, which draws other patches than {ours.name!r} reads, "
                f"expected the decoder that it was trained with"
            )
    return networks


def _decoders(configuration: Configuration) -> list[str]:
    """To ask a person: NAME-decoder that stands beside NAME-encoder, unless one is named."""
    from probewise import models

    named = configuration.descriptor.models
    if configuration.component.by != "ask" or any(_stem(name).endswith(DECODER) for name in named):
        return []
    found = []
    for name in named:
        beside = name.removesuffix(".onnx").removesuffix(ENCODER) + DECODER
        if _stem(name).endswith(ENCODER):
            if name in models.names() and beside in models.names():
                found.append(beside)
            elif Path(f"{beside}.onnx").is_file():
                found.append(f"{beside}.onnx")
    return found


def _stem(name: str) -> str:
    return name.removesuffix(".onnx")


def _brief(models: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({sha[:12]})" for name, sha in sorted(models.items())) or "none"
