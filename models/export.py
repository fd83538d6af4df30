# SPDX-License-Identifier: BSD-3-Clause
"""From a trained network to NAME.onnx: folded, checked, one file."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from networks import MULTIPLE_OF, Exported
from probewise.inference import Card, ModelInput, ModelOutput, PixelRange

OPSET = 18
INPUT, OUTPUTS = "frame", ("presence", "classes")
PIXEL_RANGE_NM = (0.01, 0.05)  # of the frames that the networks are trained on
TOLERANCE = 1e-4  # of probabilities; float32 sums in another order


def folded(network: nn.Module) -> nn.Module:
    """A copy for inference with each batch normalisation that follows a convolution folded into it."""
    out = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    for module in out.modules():
        if isinstance(module, nn.Sequential):
            for number in range(len(module) - 1):
                if isinstance(module[number], nn.Conv2d) and isinstance(module[number + 1], nn.BatchNorm2d):
                    module[number] = fuse_conv_bn_eval(module[number], module[number + 1])
                    module[number + 1] = nn.Identity()
    return out


def export(network: nn.Module, path: Path) -> float:
    """Write the atom finder's network; see `write`."""
    return write(Exported(folded(network)), path, OUTPUTS, MULTIPLE_OF)


def write(model: nn.Module, path: Path, outputs: tuple[str, ...], multiple_of: int) -> float:
    """Write a network of frames; returns the largest difference between ONNX Runtime and torch for two shapes."""
    model = model.eval()
    size = torch.export.Dim("rows", min=1, max=1024), torch.export.Dim("cols", min=1, max=1024)
    shapes = {
        "frame": {0: torch.export.Dim("frames", min=1, max=1024), 2: multiple_of * size[0], 3: multiple_of * size[1]}
    }
    program = torch.onnx.export(
        model,
        (torch.rand(2, 1, 64, 72),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=list(outputs),
        dynamic_shapes=shapes,
        verbose=False,
    )
    program.save(path, external_data=False)
    return difference(model, path, outputs)


def difference(model: nn.Module, path: Path, outputs: tuple[str, ...]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    worst = 0.0
    for shape in ((1, 1, 256, 256), (2, 1, 104, 192)):
        frame = random.random(shape, dtype=np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(frame))
        expected = expected if isinstance(expected, tuple) else (expected,)
        got = session.run(list(outputs), {INPUT: frame})
        worst = max(worst, *(float(np.abs(a.numpy() - b).max()) for a, b in zip(expected, got, strict=True)))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"{path}: ONNX Runtime and torch differ by {worst:.2g}, expected at most {TOLERANCE:g}")
    return worst


def pinned(path: Path) -> tuple[str, int]:
    """SHA-256 and size in bytes."""
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest(), len(content)


def card_of_frames(
    path: Path,
    kind: Literal["atoms", "segments"],
    outputs: tuple[ModelOutput, ...],
    classes: tuple[str, ...],
    native_nm: float,
    *,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Card:
    """The card of a written network of frames."""
    sha256, size = pinned(path)
    return Card(
        name=path.stem,
        kind=kind,
        sha256=sha256,
        size_bytes=size,
        opset=OPSET,
        input=ModelInput(INPUT, "N1HW", MULTIPLE_OF, None),
        outputs=outputs,
        classes=classes,
        background="absent",
        pixel_nm=PixelRange(native_nm, *PIXEL_RANGE_NM),
        normalisation="robust",
        latent=None,
        ood=None,
        licence="BSD-3-Clause",
        recipe=recipe,
        metrics=metrics,
    )
