# SPDX-License-Identifier: BSD-3-Clause
"""report.png and report.html of a run, drawn from its journal."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from probewise.app import curves, panels
from probewise.app.facts import facts, headline, summary_of
from probewise.app.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probewise.experiment import Run

Pixels: TypeAlias = npt.NDArray[np.uint8]

DPI = 110
COLUMNS = 3
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True, eq=False)
class Overview:
    """A drawn report and its parts: (title, text alternative, axes or subfigure) each."""

    figure: Figure
    parts: list[tuple[str, str, Any]]


def draw_report(run: Run, directory: Path) -> tuple[Path, Path]:
    """Write report.png and report.html into `directory`, each replaced in one move; return their paths."""
    import matplotlib

    from probewise.app.page import page

    with matplotlib.rc_context(STYLE):
        drawn = overview(run)
        pixels = rendered(drawn.figure)
        html = page(run, [(name, text, encoded(part)) for name, text, part in cut(drawn, pixels)])
    png = directory / "report.png"
    write_atomically(png, encoded(pixels))
    text = directory / "report.html"
    write_atomically(text, html.encode())
    return png, text


def chosen_panels(run: Run) -> list[tuple[str, panels.Panel]]:
    """The panels that this run can fill, maps first."""
    known = run.foi is not None or run.target is not None
    maps: list[tuple[str, panels.Panel, bool]] = [
        ("Survey and visited sites", panels.survey, True),
        ("Truth", panels.truth, known),
        ("Measured values", panels.values, True),
        ("Posterior mean", panels.mean, True),
        ("Posterior deviation", panels.deviation, True),
        ("Dose", panels.dose, run.dose_map() is not None),
        ("Recall", curves.recall, run.foi is not None and run.recall_curve is not None and len(run.recall_curve) > 0),
        ("Values by visit", curves.trace, True),
        ("Latency", curves.latency, True),
    ]
    return [(name, draw) for name, draw, there in maps if there]


def overview(run: Run) -> Overview:
    """All panels, the extreme frames, the facts and the notices on one figure."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tiles = chosen_panels(run)
    rows = -(-len(tiles) // COLUMNS)
    heights = [0.62, *([4.55] * rows), 2.55 if len(run.frames) else 0.4, 2.3]
    parts: list[tuple[str, str, Any]] = []
    figure = Figure(figsize=(16.6, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.16, h_pad=0.1))
    figure.set_dpi(DPI)
    strips: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    head, *body, frames, foot = strips
    head.text(0.01, 0.86, headline(summary_of(run)), fontsize=15, fontweight="bold", va="top")
    head.text(0.01, 0.22, str(run.directory.name), fontsize=9, color=panels.GREY, va="center")
    for row, strip in enumerate(body):
        here = tiles[row * COLUMNS : (row + 1) * COLUMNS]
        widths = [1.0] * (len(here) - 1) + [COLUMNS - len(here) + 1.0]
        axes_of = strip.subplots(1, len(here), squeeze=False, width_ratios=widths)[0]
        for axes, (name, draw) in zip(axes_of, here, strict=True):
            parts.append((name, draw(run, axes), axes))
    parts.append(("Extreme frames", curves.thumbnails(run, frames), frames))
    _foot(run, foot)
    return Overview(figure, parts)


def _foot(run: Run, area: Any) -> None:
    """Two columns of facts and one of notices."""
    listed = facts(run, summary_of(run))
    half = -(-len(listed) // 2)
    for column, part in enumerate((listed[:half], listed[half:])):
        for row, (name, value) in enumerate(part):
            y = 0.9 - row * 0.86 / max(half, 1)
            left = 0.01 + 0.31 * column
            area.text(left, y, name, fontsize=8.5, color=panels.GREY, va="top")
            area.text(left + 0.105, y, textwrap.shorten(value, 56, placeholder=" ..."), fontsize=8.5, va="top")
    lines: list[str] = []
    for notice in run.notices:
        lines += textwrap.wrap(str(notice), 76, initial_indent="- ", subsequent_indent="  ")
    room = 11
    if len(lines) > room:
        lines = [*lines[: room - 1], "... the rest is in report.html"]
    area.text(0.64, 0.9, "Notices", fontsize=8.5, fontweight="bold", va="top")
    area.text(0.64, 0.81, "\n".join(lines) or "none", fontsize=8, va="top", linespacing=1.25)


def cut(drawn: Overview, pixels: Pixels) -> list[tuple[str, str, Pixels]]:
    """(title, text alternative, pixels) of every part of a rendered overview."""
    from matplotlib.figure import SubFigure

    height = pixels.shape[0]
    shown = []
    for name, alternative, part in drawn.parts:
        box = part.bbox if isinstance(part, SubFigure) else part.get_tightbbox().padded(8)
        rows = slice(max(0, int(height - box.y1)), int(np.ceil(height - box.y0)))
        cols = slice(max(0, int(box.x0)), int(np.ceil(box.x1)))
        shown.append((name, alternative, pixels[rows, cols]))
    return shown


def rendered(figure: Figure) -> Pixels:
    """(rows, cols, 3) uint8 of a figure at its own dpi."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]


def encoded(pixels: Pixels) -> bytes:
    """As PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png")
    return buffer.getvalue()
