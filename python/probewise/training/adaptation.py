# SPDX-License-Identifier: BSD-3-Clause
"""An atom finder trained on a user's frames, as new models with cards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probewise.convert.export import export_model
from probewise.errors import ConfigurationError
from probewise.image import AtomFinder
from probewise.image.familiarity import Statistics, widened
from probewise.inference import Card
from probewise.training.adapting import REHEARSED, Adapted, rehearsal, train_on
from probewise.training.atom_network import Exported, from_onnx
from probewise.training.given import Given

SQUARE_PX = 256  # of the squares of a frame whose statistics the card keeps


def adapt(
    parent: str | Path,
    frames: Sequence[Given],
    folder: Path,
    name: str,
    *,
    minutes: float,
    members: int = 1,
    seed: int = 0,
    command: str = "",
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Train a shipped or own atom finder on `frames`; NAME, or NAME-1, NAME-2, ... (an ensemble), into `folder`.

    minutes  of one processor, for each member
    raises   ModelError for a parent that is refused or no atom finder of this project, ConfigurationError for frames
             outside its pixel range or names that are taken
    """
    network, card = from_onnx(parent)
    known = card.pixel_nm
    for frame in frames:
        if known is not None and not known.low <= frame.pixel_nm <= known.high:
            raise ConfigurationError(
                f"{frame.name}: got pixels of {frame.pixel_nm:g} nm, expected {known.low:g} to {known.high:g} nm, the "
                f"range of model {card.name}"
            )
    names = [name] if members == 1 else [f"{name}-{number + 1}" for number in range(members)]
    for one in names:
        if (folder / f"{one}.onnx").exists():
            raise ConfigurationError(f"--name: {folder / one}.onnx is there already, expected a new name")
    home = rehearsal(card, seed, REHEARSED)
    paths = []
    for number, one in enumerate(names):
        if progress is not None:
            progress(f"{one}: {number + 1} of {members}")
        adapted = train_on(network, card, frames, home, minutes=minutes, seed=seed + number, progress=progress)
        recipe = {
            "command": command,
            "parent": {"name": card.name, "sha256": card.sha256},
            "seed": seed + number,
            "minutes": round(adapted.minutes, 2),
            "steps": adapted.steps,
            "frames": [frame.name for frame in frames if frame.yx is None],
            "frames_with_labels": [frame.name for frame in frames if frame.yx is not None],
            "data": f"the frames, and {REHEARSED} rendered home frames with the parent's answers",
        }
        paths.append(_write(adapted, dataclasses.replace(card, name=one, recipe=recipe), frames, folder))
    return paths


def _write(adapted: Adapted, card: Card, frames: Sequence[Given], folder: Path) -> Path:
    metrics: dict[str, Any] = {
        "home_f1_before": round(adapted.home_before, 4),
        "home_f1_after": round(adapted.home_after, 4),
        "toward_learnt_weights": adapted.toward,
        "confident_share": None if adapted.confident is None else round(adapted.confident, 4),
    }
    random = np.random.default_rng(0)
    inputs = [random.random(shape, dtype=np.float32) for shape in ((2, 1, 64, 72), (1, 1, 128, 104))]
    path = export_model(Exported(adapted.network), dataclasses.replace(card, metrics=metrics), inputs, folder)
    if card.ood is not None:
        finder = AtomFinder(path, refine=False)
        reference = widened(card.ood, list(_statistics(finder, frames)))
        path.with_suffix(".json").write_text(dataclasses.replace(finder.card, ood=reference).to_json())
    return path


def _statistics(finder: AtomFinder, frames: Sequence[Given]) -> Iterator[Statistics]:
    """Of overlapping squares of each frame."""
    native = None if finder.card.pixel_nm is None else finder.card.pixel_nm.native
    for frame in frames:
        side = SQUARE_PX if native is None else round(SQUARE_PX * native / frame.pixel_nm)
        tops, lefts = (
            sorted({*range(0, max(1, n - side + 1), side // 2), max(0, n - side)}) for n in frame.counts.shape
        )
        for top in tops:
            for left in lefts:
                square = np.ascontiguousarray(frame.counts[top : top + side, left : left + side])
                found = finder.statistics(square, pixel_nm=frame.pixel_nm)
                if found is not None:
                    yield found
