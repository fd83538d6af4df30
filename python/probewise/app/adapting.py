# SPDX-License-Identifier: BSD-3-Clause
"""`probewise models adapt` and `evaluate`: an atom finder on a user's own frames."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from probewise.errors import ConfigurationError


def adapt(
    model: str,
    frames: Sequence[Path],
    out: Path,
    *,
    pixel_nm: float | None,
    labels: Path | None,
    name: str | None,
    members: int,
    minutes: float,
    seed: int,
    as_json: bool,
) -> int:
    """NAME.onnx with its card into `out`, or NAME-1, NAME-2, ... of several members."""
    for module in ("torch", "onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise ConfigurationError(
                f"models adapt needs {module}, which is not installed: pip install 'probewise[train]'"
            )
    import torch

    from probewise.inference import Card
    from probewise.training import adaptation
    from probewise.training.atom_network import from_onnx
    from probewise.training.user_frames import read_frames

    _check(pixel_nm=pixel_nm, minutes=minutes)
    if not 1 <= members <= 16:
        raise ConfigurationError(f"--members: got {members}, expected 1 to 16")
    _, card = from_onnx(model)
    called = name if name is not None else f"{card.name}-adapted"
    if not re.fullmatch("[a-z0-9-]{1,60}", called):
        raise ConfigurationError(f"--name: got {called!r}, expected 1 to 60 of a-z, 0-9 and -")
    given = read_frames(frames, card.classes, pixel_nm=pixel_nm, labels=labels)
    torch.set_num_threads(1)  # members side by side do better than one on many cores
    command = ["probewise", "models", "adapt", Path(model).name, "--members", str(members)]
    command += ["--minutes", f"{minutes:g}", "--seed", str(seed)]
    made = adaptation.adapt(
        model,
        given,
        out,
        called,
        minutes=minutes,
        members=members,
        seed=seed,
        command=shlex.join(command),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    found = [{"model": str(path), **Card.load(path.with_suffix(".json")).metrics} for path in made]
    if as_json:
        print(json.dumps(found))
    for one in () if as_json else found:
        print("\n".join(f"{key:<22}  {'none' if value is None else value}" for key, value in one.items()))
    return 0


def evaluate(
    models: Sequence[str],
    frames: Sequence[Path],
    labels: Path,
    *,
    pixel_nm: float | None,
    tolerance_nm: float,
    threshold: float,
    picture: Path | None,
    as_json: bool,
) -> int:
    """F1 on labelled frames; several models are an ensemble."""
    from probewise.image import AtomFinder
    from probewise.training.atom_evaluation import evaluate as answer
    from probewise.training.user_frames import read_frames

    _check(pixel_nm=pixel_nm, tolerance_nm=tolerance_nm)
    if not 0 <= threshold < 1:
        raise ConfigurationError(f"--threshold: got {threshold:g}, expected at least 0 and below 1")
    finder = AtomFinder([_path(model) for model in models], threshold=threshold)
    given = read_frames(frames, finder.card.classes, pixel_nm=pixel_nm, labels=labels)
    found = answer(finder, given, tolerance_nm=tolerance_nm, picture=picture)
    if as_json:
        print(json.dumps(found))
        return 0
    print(f"F1 {_number(found['f1'])}: {found['hit']} found, {found['false']} false, {found['missed']} missed")
    if found["risk_coverage"] is not None:
        print(f"area under risk against coverage {found['risk_coverage']['area']:.4f}")
    for name, count in (found["classes"] or {}).items():
        print(f"{name}: {count['correct']} of {count['labelled']} labelled, {count['found']} found")
    for row in found["frames"]:
        print(f"{row['frame']}: F1 {_number(row['f1'])}{', unfamiliar' if row['unfamiliar'] else ''}")
    if picture is not None:
        print(picture)
    return 0


def _path(model: str) -> str | Path:
    return Path(model) if model.endswith(".onnx") else model


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _check(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigurationError(f"--{name.replace('_', '-')}: got {value:g}, expected a positive number")
