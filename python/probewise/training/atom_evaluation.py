# SPDX-License-Identifier: BSD-3-Clause
"""How good an atom finder, or an ensemble, is on labelled frames: F1, counts of each class, risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probewise.image import AtomFinder
from probewise.training.given import UNKNOWN, Given
from probewise.training.matching import FrameEdge, Score, pairs
from probewise.types import Atoms, BoolArray, FloatArray

_SHOWN = 6  # frames in the picture
_POINTS = 20  # of the curve in the answer


def risk_coverage(score: FloatArray, correct: BoolArray) -> tuple[FloatArray, FloatArray, float]:
    """Share of false answers among the surest ones, for each share that is kept.

    score    (n,) how sure; of equal ones, the mean over their orders
    correct  (n,)
    returns  coverage (n,), risk (n,), and the mean risk over all coverages (area under the curve)
    raises   ValueError for no answers
    """
    if not len(score):
        raise ValueError("score is empty, expected at least one answer")
    order = np.argsort(-score, kind="stable")
    _, first, count = np.unique(-score[order], return_index=True, return_counts=True)
    false = (~correct[order]).astype(np.float64)
    evened = np.repeat(np.add.reduceat(false, first) / count, count)
    number = np.arange(1, len(score) + 1)
    risk = np.cumsum(evened) / number
    return number / len(score), risk, float(risk.mean())


def evaluate(
    finder: AtomFinder, frames: Sequence[Given], *, tolerance_nm: float, picture: Path | None = None
) -> dict[str, Any]:
    """Answers as plain values; frames without labels are left out.

    tolerance_nm  between a found and a labelled atom
    picture       where an overlay of the first frames and the curve are drawn
    raises        ValueError where no frame has labels
    """
    known = [frame for frame in frames if frame.yx is not None]
    if not known:
        raise ValueError("frames has no labels, expected at least one frame with them")
    total, rows, scores, hits = Score(), [], [], []
    classes = {name: {"found": 0, "labelled": 0, "correct": 0} for name in finder.card.classes}
    looked: list[tuple[Given, Atoms, BoolArray]] = []
    for frame in known:
        assert frame.yx is not None
        assert frame.label is not None
        found = finder(frame.counts, pixel_nm=frame.pixel_nm)
        tolerance, edge = tolerance_nm / frame.pixel_nm, FrameEdge(frame.counts.shape, 0.0)
        own = Score()
        for tally in (own, total):
            tally.add(found.yx, frame.yx, tolerance, edge)
        i, j = pairs(found.yx, frame.yx, tolerance)
        hit = np.zeros(len(found), dtype=bool)
        hit[i] = True
        for number, count in enumerate(classes.values()):
            count["found"] += int((found.label == number).sum())
            count["labelled"] += int((frame.label == number).sum())
            count["correct"] += int(((found.label[i] == number) & (frame.label[j] == number)).sum())
        judged = found.familiarity
        rows.append({"frame": frame.name, **own.table(), "unfamiliar": None if judged is None else judged.unfamiliar})
        scores.append(found.score)
        hits.append(hit)
        looked.append((frame, found, hit))
    score, hit = np.concatenate(scores), np.concatenate(hits)
    named = any((frame.label != UNKNOWN).any() for frame in known if frame.label is not None)
    answer: dict[str, Any] = {
        "models": [{"name": model.card.name, "sha256": model.card.sha256} for model in finder.models],
        "tolerance_nm": tolerance_nm,
        **total.table(),
        "classes": {name: count for name, count in classes.items() if any(count.values())} if named else None,
        "risk_coverage": None,
        "frames": rows,
    }
    if len(score):
        coverage, risk, area = risk_coverage(score, hit)
        at = np.unique(np.linspace(0, len(score) - 1, min(_POINTS, len(score))).astype(int))
        answer["risk_coverage"] = {
            "area": round(area, 5),
            "coverage": coverage[at].round(4).tolist(),
            "risk": risk[at].round(4).tolist(),
        }
    if picture is not None:
        _draw(looked, answer, picture)
    return answer


def _draw(looked: Sequence[tuple[Given, Atoms, BoolArray]], answer: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    shown = looked[:_SHOWN]
    figure = Figure(figsize=(4 * (len(shown) + 1), 4.4), layout="constrained")
    axes = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
    for one, (frame, found, hit) in zip(axes, shown, strict=False):
        assert frame.yx is not None
        one.imshow(frame.counts, cmap="gray", vmax=float(np.percentile(frame.counts, 99.7)))
        for yx, colour, name in ((found.yx[hit], "#3ec46d", "found"), (found.yx[~hit], "#ff5a4f", "false")):
            one.scatter(yx[:, 1], yx[:, 0], s=14, facecolors="none", edgecolors=colour, linewidths=0.8, label=name)
        one.scatter(frame.yx[:, 1], frame.yx[:, 0], s=4, color="#ffd84a", marker="x", linewidths=0.5, label="labelled")
        one.set(title=frame.name, xticks=[], yticks=[])
    axes[0].legend(loc="lower right", fontsize=7)
    curve = answer["risk_coverage"]
    if curve is not None:
        axes[-1].plot(curve["coverage"], curve["risk"], color="black")
    axes[-1].set(xlabel="share of the found atoms kept, surest first", ylabel="share of false ones", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
