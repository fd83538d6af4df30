# SPDX-License-Identifier: BSD-3-Clause
"""From a torch module to NAME.onnx with NAME.json: exported, cleaned, loaded as a user would, compared with torch."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from probewise.errors import ConfigurationError, ModelError
from probewise.inference import Card, load_model
from probewise.types import Float32Array

OPSET = 20
TOLERANCE = 1e-5  # float32 through some twenty layers


def export_onnx(module: torch.nn.Module, example: Float32Array, card: Card) -> bytes:
    """A single ONNX file with the card's names; the batch, and H and W of frames, are free.

    example  at least two in the batch, so that the size one is not taken for a constant
    """
    frames = card.input.axes == "N1HW"
    free = {0: "n", 2: "h", 3: "w"} if frames else {0: "n"}
    with warnings.catch_warnings(), _no_log():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.from_numpy(example),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[card.input.name],
            output_names=[output.name for output in card.outputs],
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.AUTO),),
            verbose=False,
        )
    model = program.model_proto
    for values, is_output in ((model.graph.input, False), (model.graph.output, True)):
        for index, value in enumerate(values):
            scale = card.outputs[index].stride if is_output else 1
            for axis, name in free.items():
                dimension = value.type.tensor_type.shape.dim[axis]
                dimension.dim_param = name if axis == 0 or scale == 1 else f"{name}/{scale}"
    # traces of the exporting program: paths, source lines
    for message in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """The exporter logs each operator of torchvision that it does not find."""
    kept = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(kept)


def export_model(module: torch.nn.Module, card: Card, inputs: Sequence[Float32Array], folder: Path) -> Path:
    """NAME.onnx and NAME.json in `folder`, loaded and compared with torch on `inputs` before they appear there.

    The card's hash, size, opset and metrics["difference_from_torch"] are filled in.

    raises  ConfigurationError when either is there already, ModelError when it is refused or differs by over 1e-5
    """
    for suffix in (".onnx", ".json"):
        if (folder / f"{card.name}{suffix}").exists():
            raise ConfigurationError(f"{folder / card.name}{suffix} exists, expected a new name or another folder")
    content = export_onnx(module, inputs[0], card)
    stamp: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "opset": OPSET}
    card = dataclasses.replace(card, **stamp)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".probewise-", dir=folder) as temporary:
            path = Path(temporary) / f"{card.name}.onnx"
            path.write_bytes(content)
            path.with_suffix(".json").write_text(card.to_json())
            difference = largest_difference(load_model(path).run, in_torch(module), inputs)
            metrics = {**card.metrics, "difference_from_torch": difference}
            path.with_suffix(".json").write_text(dataclasses.replace(card, metrics=metrics).to_json())
            path.with_suffix(".json").replace(folder / f"{card.name}.json")
            return path.replace(folder / path.name)
    except OSError as problem:
        raise ConfigurationError(
            f"{folder}: got {problem.strerror or problem}, expected a writable folder"
        ) from problem


Run: TypeAlias = Callable[[Float32Array], tuple[Float32Array, ...]]


def in_torch(module: torch.nn.Module) -> Run:
    """`module` as a function of arrays."""

    def run(x: Float32Array) -> tuple[Float32Array, ...]:
        with torch.no_grad():
            result = module.eval()(torch.from_numpy(x))
        return tuple(part.numpy() for part in (result if isinstance(result, tuple) else (result,)))

    return run


def largest_difference(ours: Run, reference: Run, inputs: Sequence[Float32Array]) -> float:
    """Over all outputs, relative to the largest value of each where that is over 1; ModelError over 1e-5."""
    worst = 0.0
    for x in inputs:
        for got, expected in zip(ours(x), reference(x), strict=True):
            scale = max(1.0, float(np.abs(expected).max()))
            worst = max(worst, float(np.abs(got - expected).max()) / scale)
    if not worst <= TOLERANCE:
        raise ModelError(f"the converted network differs by {worst:.2g}, expected at most {TOLERANCE:g}")
    return worst
