# SPDX-License-Identifier: BSD-3-Clause
"""`probewise models train`: an autoencoder of the user's own picture."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probewise.errors import ConfigurationError

if TYPE_CHECKING:
    from probewise.training.autoencoder import Rotation

PARTS = ("encoder", "decoder")
SPOTS = 2.0  # rad per pixel: the spots of a spectrum are two or three pixels wide


def train_rvae(
    image: Path,
    out: Path,
    *,
    name: str | None,
    window_px: int,
    spectrum: bool,
    rotation: Rotation,
    translation: bool | None,
    content: int,
    steps: int,
    seed: int,
    as_json: bool,
) -> int:
    """Learn the windows of `image`, or their spectra; NAME-encoder and NAME-decoder come into `out` with cards."""
    for module in ("torch", "onnx"):
        if importlib.util.find_spec(module) is None:
            raise ConfigurationError(
                f"models train needs {module}, which is not installed: pip install 'probewise[train]'"
            )
    import torch

    from probewise.training.autoencoder import Invariances
    from probewise.training.picture import train_on_picture

    called = name if name is not None else re.sub("[^a-z0-9]+", "-", image.stem.lower()).strip("-")[:48] or "picture"
    if not re.fullmatch("[a-z0-9-]{1,56}", called):
        raise ConfigurationError(f"--name: got {called!r}, expected 1 to 56 of a-z, 0-9 and -")
    for part in PARTS:
        if (out / f"{called}-{part}.onnx").exists():
            raise ConfigurationError(f"--out: {out / f'{called}-{part}.onnx'} is there already, expected a new name")
    if spectrum and translation:
        raise ConfigurationError("--translation: got it with --input spectrum, which does not change with a shift")
    if spectrum and window_px % 4:
        raise ConfigurationError(f"--window-px: got {window_px} with --input spectrum, expected a multiple of 4")
    moves = not spectrum if translation is None else translation
    try:
        if spectrum:
            invariances = Invariances(window_px // 2 - 1, rotation, False, content, detail=SPOTS)
        else:
            invariances = Invariances(window_px, rotation, moves, content)
    except ValueError as problem:
        raise ConfigurationError(str(problem)) from problem
    if steps < 1:
        raise ConfigurationError(f"--steps: got {steps}, expected at least 1")
    torch.set_num_threads(1)  # the same result on every machine with the same torch
    options: Sequence[str] = [
        "probewise", "models", "train", "rvae", "--image", image.name, "--window-px", str(window_px),
        "--input", "spectrum" if spectrum else "raw",
        "--rotation", rotation, "--translation" if moves else "--no-translation",
        "--content", str(content), "--steps", str(steps), "--seed", str(seed),
    ]  # fmt: skip
    made = train_on_picture(
        image,
        out,
        called,
        invariances,
        spectrum=spectrum,
        steps=steps,
        seed=seed,
        command=shlex.join(options),
        progress=lambda step, loss: print(f"step {step} of {steps}  loss {loss:.2f}", file=sys.stderr, flush=True),
    )
    found = {
        "encoder": str(made.encoder),
        "decoder": str(made.decoder),
        "windows": made.windows,
        "minutes": round(made.minutes, 2),
        "noise": round(made.noise, 4),
    }
    print(json.dumps(found) if as_json else "\n".join(f"{key:<8}  {value}" for key, value in found.items()))
    return 0
