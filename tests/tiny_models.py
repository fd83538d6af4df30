# SPDX-License-Identifier: BSD-3-Clause
"""Small ONNX models with their cards, written with the onnx package."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from probewise.inference import Card, LatentLayout, ModelInput, ModelOutput, PixelRange

FRAME = ("n", 1, "h", "w")


def segmenter_graph(extra=(), initialisers=(), *, x=FRAME, y=("n", 2, "h", "w"), kind=TensorProto.FLOAT, result="p"):
    """A 3 x 3 convolution and a softmax over one class and the background; `extra` nodes may change the result."""
    weights = helper.make_tensor("k", TensorProto.FLOAT, [2, 1, 3, 3], [0.1 * i for i in range(18)])
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["c"], ["p"], axis=1),
        *extra,
        helper.make_node("Identity", [result], ["y"]),
    ]
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [weights, *initialisers],
    )


def as_model(graph, **fields):
    opsets = fields.pop("opset_imports", [helper.make_opsetid("", 20)])
    return helper.make_model(graph, ir_version=10, opset_imports=opsets, **fields)


def segmenter_card(**changes) -> Card:
    card = Card(
        name="tiny",
        kind="segments",
        sha256="0" * 64,
        size_bytes=1,
        opset=20,
        input=ModelInput("x", "N1HW", 8, None),
        outputs=(ModelOutput("y", "softmax", 1),),
        classes=("grain",),
        background="last",
        pixel_nm=PixelRange(0.02, 0.01, 0.05),
        normalisation="robust",
        latent=None,
        ood=None,
        licence="BSD-3-Clause",
        recipe={"command": "tests/tiny_models.py"},
        metrics={},
    )
    return dataclasses.replace(card, **changes)


def write(folder: Path, model: onnx.ModelProto | bytes, card: Card | None = None) -> Path:
    """NAME.onnx and NAME.json, the card's hash and size being those of the file."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    card = card or segmenter_card()
    card = dataclasses.replace(card, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    path = folder / f"{card.name}.onnx"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(card.to_json())
    return path


def encoder(folder: Path, content: int = 2, side: int = 8, card: Card | None = None) -> Path:
    """Flattened patches times a constant matrix; the second output is its negative."""
    width = 3 + content
    weights = helper.make_tensor("w", TensorProto.FLOAT, [side * side, width], [0.01] * (side * side * width))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"], axis=1),
            helper.make_node("MatMul", ["f", "w"], ["z_mean"]),
            helper.make_node("Neg", ["z_mean"], ["z_logsd"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name in ("z_mean", "z_logsd")],
        [weights],
    )
    card = card or segmenter_card(
        kind="encoder",
        input=ModelInput("x", "NHW", 1, side),
        outputs=(ModelOutput("z_mean", "none", 1), ModelOutput("z_logsd", "none", 1)),
        classes=(),
        background="absent",
        normalisation="none",
        latent=LatentLayout("full", True, content, 6),
    )
    return write(folder, as_model(graph), card)
