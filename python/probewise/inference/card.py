# SPDX-License-Identifier: BSD-3-Clause
"""The card of a model: what it takes, what it gives, where it holds and how it was made.

A model is NAME.onnx with its card NAME.json beside it; the card pins the file by its SHA-256.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from probewise.errors import ModelError
from probewise.inference.files import read_regular

Kind: TypeAlias = Literal["atoms", "segments", "encoder", "decoder"]
Axes: TypeAlias = Literal["N1HW", "NHW", "NF"]
Activation: TypeAlias = Literal["none", "sigmoid", "softmax", "log_softmax"]
Background: TypeAlias = Literal["last", "absent"]
Normalisation: TypeAlias = Literal["robust", "minmax", "none", "spectrum"]
Rotation: TypeAlias = Literal["full", "small", "none"]

SCHEMA = 1
MAX_CARD_BYTES = 1 << 20
MAX_MODEL_BYTES = 64 << 20
OPSETS = range(13, 22)
POSE = 3  # latent variables before the content: angle, shift y, shift x

_AXES_OF: Mapping[str, str] = {"atoms": "N1HW", "segments": "N1HW", "encoder": "NHW", "decoder": "NF"}


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The one input, float32.

    axes         N1HW frames, NHW patches, NF latent variables
    multiple_of  H and W of a frame are multiples of it
    patch_px     side of a patch (also of those a decoder draws); None for frames
    """

    name: str
    axes: Axes
    multiple_of: int
    patch_px: int | None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """One output, float32.

    activation  what the graph has applied already; "none": the caller applies it
    stride      input pixels per output pixel
    """

    name: str
    activation: Activation
    stride: int


@dataclass(frozen=True, slots=True)
class PixelRange:
    """nm per pixel: frames within low..high are resampled to native, others are refused."""

    native: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LatentLayout:
    """Invariances of an autoencoder. Its variables are angle, shift y, shift x, then `content` others.

    symmetry  rotations that the pattern does not change under (6 for graphene); None where not known
    """

    rotation: Rotation
    translation: bool
    content: int
    symmetry: int | None


@dataclass(frozen=True)
class Card:
    """Everything that is known of a model; a field that contradicts another is a ValueError.

    classes     without the background
    background  "last": one more output channel after the classes
    ood         reference statistics of the out-of-distribution measure
    recipe      how it was made (command, seed, data, steps, minutes)
    metrics     what was measured, by name
    """

    name: str
    kind: Kind
    sha256: str
    size_bytes: int
    opset: int
    input: ModelInput
    outputs: tuple[ModelOutput, ...]
    classes: tuple[str, ...]
    background: Background
    pixel_nm: PixelRange | None
    normalisation: Normalisation
    latent: LatentLayout | None
    ood: Mapping[str, Any] | None
    licence: str
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]

    def __post_init__(self) -> None:
        _want(bool(re.fullmatch(r"[a-z0-9-]{1,64}", self.name)), "name", self.name, "1 to 64 of a-z, 0-9 and -")
        _one_of("kind", self.kind, Kind)
        _want(bool(re.fullmatch(r"[0-9a-f]{64}", self.sha256)), "sha256", self.sha256, "64 hexadecimal digits")
        _within("size_bytes", self.size_bytes, 1, MAX_MODEL_BYTES)
        _within("opset", self.opset, OPSETS.start, OPSETS.stop - 1)
        _one_of("background", self.background, Background)
        _one_of("normalisation", self.normalisation, Normalisation)
        _want(bool(self.licence.strip()), "licence", self.licence, "the name of a licence")
        self._check_input()
        self._check_outputs()
        self._check_classes()
        if self.pixel_nm is not None:
            pixel = self.pixel_nm
            ordered = 0 < pixel.low <= pixel.native <= pixel.high < math.inf
            _want(ordered, "pixel_nm", dataclasses.asdict(pixel), "0 < low <= native <= high")
        if self.latent is not None:
            _one_of("latent.rotation", self.latent.rotation, Rotation)
            _within("latent.content", self.latent.content, 1, 64)
            if self.latent.symmetry is not None:
                _within("latent.symmetry", self.latent.symmetry, 1, 12)

    def _check_input(self) -> None:
        autoencoder = self.kind in ("encoder", "decoder")
        _one_of("input.axes", self.input.axes, Axes)
        _want(
            self.input.axes == _AXES_OF[self.kind],
            "input.axes",
            self.input.axes,
            f"{_AXES_OF[self.kind]} ({self.kind})",
        )
        _within("input.multiple_of", self.input.multiple_of, 1, 256)
        if autoencoder and self.input.patch_px is not None:
            _within("input.patch_px", self.input.patch_px, 4, 512)
        if self.normalisation == "spectrum":
            _want(autoencoder, "normalisation", self.normalisation, f"one of frames ({self.kind})")
            odd = self.input.patch_px is None or self.input.patch_px % 2 == 1
            _want(odd, "input.patch_px", self.input.patch_px, "an odd number (spectrum)")
        fits = (self.input.patch_px is not None) == autoencoder
        _want(fits, "input.patch_px", self.input.patch_px, "the side of a patch" if autoencoder else "null")
        _want((self.latent is not None) == autoencoder, "latent", self.latent, "a table" if autoencoder else "null")

    def _check_outputs(self) -> None:
        counts = {"atoms": (1, 2), "segments": (1,), "encoder": (2,), "decoder": (1,)}[self.kind]
        _want(
            len(self.outputs) in counts, "outputs", len(self.outputs), f"{' or '.join(map(str, counts))} ({self.kind})"
        )
        names = [output.name for output in self.outputs]
        _want(len(set(names)) == len(names) and all(names), "outputs", names, "different names")
        for index, output in enumerate(self.outputs):
            _one_of(f"outputs[{index}].activation", output.activation, Activation)
            _within(f"outputs[{index}].stride", output.stride, 1, 256)
            divides = self.input.multiple_of % output.stride == 0
            _want(divides, f"outputs[{index}].stride", output.stride, f"a divisor of {self.input.multiple_of}")
        if self.kind == "atoms" and len(self.outputs) == 2:
            given = tuple(output.activation for output in self.outputs)
            _want(given == ("sigmoid", "softmax"), "outputs", given, "presence by sigmoid, classes by softmax")
            _want(self.background == "absent", "background", self.background, "absent (two outputs)")

    def _check_classes(self) -> None:
        autoencoder = self.kind in ("encoder", "decoder")
        good = all(0 < len(name) <= 64 for name in self.classes) and len(set(self.classes)) == len(self.classes)
        _want(good and len(self.classes) <= 64, "classes", list(self.classes), "up to 64 different names")
        _want(
            bool(self.classes) != autoencoder, "classes", list(self.classes), "none" if autoencoder else "at least one"
        )

    def output_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Shapes of all outputs for an input of `shape`."""
        if self.latent is not None:
            side = self.input.patch_px or 0
            width = POSE + self.latent.content
            return ((shape[0], width),) * 2 if self.kind == "encoder" else ((shape[0], side, side),)
        channels = [len(self.classes) + (self.background == "last")]
        if len(self.outputs) == 2:
            channels.insert(0, 1)
        return tuple(
            (shape[0], count, shape[2] // output.stride, shape[3] // output.stride)
            for count, output in zip(channels, self.outputs, strict=True)
        )

    def to_json(self) -> str:
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Card:
        """Read NAME.json; ModelError names the file and the field."""
        path = Path(path)
        try:
            card = cls.parse(read_regular(path, MAX_CARD_BYTES).decode())
            _want(card.name == path.stem, "name", card.name, f"{path.stem}, as the file is called")
        except (ValueError, RecursionError) as problem:
            raise ModelError(f"{path}: {problem}") from problem
        return card

    @classmethod
    def parse(cls, text: str) -> Card:
        """A card from its JSON; ValueError names the field."""
        table = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        given = _table("card", table, {"schema": int, **_FIELDS})
        _want(given.pop("schema") == SCHEMA, "schema", table["schema"], str(SCHEMA))
        outputs = given["outputs"]
        given["input"] = ModelInput(**_table("input", given["input"], _INPUT))
        given["outputs"] = tuple(
            ModelOutput(**_table(f"outputs[{index}]", output, _OUTPUT)) for index, output in enumerate(outputs)
        )
        good = all(isinstance(name, str) for name in given["classes"])
        _want(good, "classes", given["classes"], "names")
        given["classes"] = tuple(given["classes"])
        if given["pixel_nm"] is not None:
            pixel = _table("pixel_nm", given["pixel_nm"], _PIXEL)
            given["pixel_nm"] = PixelRange(**{key: float(value) for key, value in pixel.items()})
        if given["latent"] is not None:
            given["latent"] = LatentLayout(**_table("latent", given["latent"], _LATENT))
        return cls(**given)


_Spec: TypeAlias = Mapping[str, type | tuple[type, ...]]
_NONE = type(None)
_FIELDS: _Spec = {
    "name": str, "kind": str, "sha256": str, "size_bytes": int, "opset": int, "input": dict, "outputs": list,
    "classes": list, "background": str, "pixel_nm": (dict, _NONE), "normalisation": str, "latent": (dict, _NONE),
    "ood": (dict, _NONE), "licence": str, "recipe": dict, "metrics": dict,
}  # fmt: skip
_INPUT: _Spec = {"name": str, "axes": str, "multiple_of": int, "patch_px": (int, _NONE)}
_OUTPUT: _Spec = {"name": str, "activation": str, "stride": int}
_PIXEL: _Spec = {"native": (int, float), "low": (int, float), "high": (int, float)}
_LATENT: _Spec = {"rotation": str, "translation": bool, "content": int, "symmetry": (int, _NONE)}
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


def _table(where: str, given: Any, spec: _Spec) -> dict[str, Any]:
    """`given` with exactly the keys of `spec`, each of its type."""
    prefix = "" if where == "card" else f"{where}."
    _want(isinstance(given, dict), where, given, "a table")
    unknown = sorted(set(given) - set(spec))
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]} is unknown, expected one of {', '.join(spec)}")
    for key, types in spec.items():
        if key not in given:
            raise ValueError(f"{prefix}{key} is missing, expected {_named(types)}")
        value = given[key]
        # bool is an int to Python, not to a reader of the card
        good = isinstance(value, types) and (not isinstance(value, bool) or types is bool)
        _want(good, f"{prefix}{key}", value, _named(types))
    return dict(given)


def _named(types: type | tuple[type, ...]) -> str:
    several = types if isinstance(types, tuple) else (types,)
    return " or ".join("null" if one is _NONE else _WORDS[one] for one in several)


def _want(good: bool, field: str, got: object, expected: str) -> None:
    if not good:
        shown = repr(got)
        raise ValueError(f"{field} is {shown if len(shown) <= 120 else shown[:117] + '...'}, expected {expected}")


def _one_of(field: str, got: str, kind: Any) -> None:
    _want(got in get_args(kind), field, got, f"one of {', '.join(get_args(kind))}")


def _within(field: str, got: int, low: int, high: int) -> None:
    _want(low <= got <= high, field, got, f"{low} to {high}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    _want(len(table) == len(pairs), "card", sorted(key for key, _ in pairs), "each key once")
    return table


def _no_constant(name: str) -> Any:
    raise ValueError(f"card holds {name}, expected finite numbers")
