# SPDX-License-Identifier: BSD-3-Clause
"""Columns of a network's values as a person sees them: maps, extreme places, and what a latent variable draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.descriptors.components import constant_components
from probewise.descriptors.picture import extremes, grey_patches, positions_nm
from probewise.types import Description, Float32Array, FloatArray, Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCH = 1.7  # of one small picture
_FEW = 1000
_MOST_POINTS = 4000  # in a map: more hide one another


@dataclass(frozen=True, eq=False)
class Manifold:
    """What a decoder draws over the first two content variables, the others at their median.

    drawn    (rows, cols, side, side) float32; content 1 grows upwards, content 0 to the right
    content  (n, 2) of the visited patches
    low, high  (2,) content at the outermost pictures
    """

    drawn: Float32Array
    content: FloatArray
    low: FloatArray
    high: FloatArray


def columns_picture(
    descriptions: Sequence[Description],
    frames: Sequence[Frame],
    columns: Sequence[str],
    tables: Sequence[FloatArray],
    part_yx: tuple[float, float],
    path: str | Path,
    *,
    manifold: Manifold | None = None,
) -> None:
    """Write a PNG: for each column that varies its map over the visited places and its extreme places.

    descriptions, frames  of the visited sites, in the same order
    columns, tables       names, and for each site its values (places, columns)
    part_yx               share of a frame that one value is about
    manifold              drawn on top, where there is a decoder
    raises                ValueError when there are no sites, or as many descriptions as frames are not given
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not descriptions or len(descriptions) != len(frames):
        raise ValueError(
            f"{len(descriptions)} descriptions and {len(frames)} frames, expected as many of both, and some"
        )
    table = np.concatenate(tables)
    shown = np.flatnonzero(~constant_components(np.nan_to_num(table)))
    height = 1.3 * _INCH * len(shown)
    top = 0.3 if manifold is None else 5.2
    figure = Figure(figsize=(8.2 * _INCH, height + top))
    FigureCanvasAgg(figure)
    if manifold is not None:
        _draw_manifold(
            figure.add_gridspec(1, 2, left=0.06, right=0.97, bottom=(height + 0.9) / (height + top), top=0.97), manifold
        )
    grid = figure.add_gridspec(
        len(shown),
        7,
        width_ratios=[1.7] + [1.0] * 6,
        left=0.06, right=0.99, bottom=0.02, top=(height - 0.1) / (height + top), wspace=0.08, hspace=0.35,
    )  # fmt: skip
    axes = grid.subplots(squeeze=False)
    places = np.concatenate(
        [positions_nm(frame, seen.centre_yx) for frame, seen in zip(frames, descriptions, strict=True)]
    )
    few = np.linspace(0, len(table) - 1, min(len(table), _MOST_POINTS)).round().astype(np.int64)
    for row, index in zip(axes, shown.tolist(), strict=True):
        values = table[:, index]
        known = values[np.isfinite(values)]
        _draw_map(row[0], places[few], values[few])
        spread = float(known.std())
        skewness = float(np.mean((known - known.mean()) ** 3)) / spread**3 if spread > 0 else 0.0
        row[0].set_title(f"{index}: {columns[index]}\nskewness {skewness:.2g}", size=8)
        for side, sign, cells in (("highest", 1.0, row[1:4]), ("lowest", -1.0, row[4:7])):
            picks = extremes(tables, index, sign)
            sizes = (np.array(part_yx) * frames[0].shape).round().astype(int)
            cut = [_cut(frames[site], descriptions[site].centre_yx[place], sizes) for site, place in picks]
            labels = [f"site no. {site}: {tables[site][place, index]:.3g}" for site, place in picks]
            grey_patches(cells, cut, side, labels)
    figure.savefig(path, dpi=100)


def _draw_map(axis: Axes, places: FloatArray, values: FloatArray) -> None:
    known = np.isfinite(values)
    limits = np.percentile(values[known], (2, 98)) if known.any() else (0.0, 1.0)
    size = 2 if len(places) > _FEW else 10
    dots = axis.scatter(
        places[known, 1], places[known, 0], c=values[known], s=size, vmin=limits[0], vmax=limits[1], linewidths=0
    )
    axis.set_aspect("equal")
    axis.invert_yaxis()
    axis.tick_params(labelsize=6)
    axis.set_ylabel("nm", size=7)
    bar = axis.figure.colorbar(dots, cax=axis.inset_axes((1.03, 0.0, 0.05, 1.0)))
    bar.ax.tick_params(labelsize=6)
    bar.set_label("2 to 98 %", size=6)


def _draw_manifold(grid: Any, manifold: Manifold) -> None:
    """Left what the decoder draws, right where the visited patches lie."""
    left, right = grid.subplots()
    rows, cols, side, _ = manifold.drawn.shape
    whole = manifold.drawn[::-1].transpose(0, 2, 1, 3).reshape(rows * side, cols * side)
    half = (manifold.high - manifold.low) / (2 * (cols - 1))
    low, high = manifold.low - half, manifold.high + half
    extent = (low[0], high[0], low[1], high[1])
    left.imshow(whole, cmap="gray", extent=extent, aspect="auto", interpolation="nearest")
    left.set(xlabel="content 0", ylabel="content 1", title="what the decoder draws, other content at its median")
    left.set_box_aspect(1)
    # The tails go on outside: what is rare lies there.
    right.scatter(*manifold.content[:, :2].T, s=2, alpha=0.3, linewidths=0)
    right.set(xlabel="content 0", ylabel="content 1", title="visited patches; framed: what is drawn")
    right.plot([low[0], high[0], high[0], low[0], low[0]], [low[1], low[1], high[1], high[1], low[1]], color="black")


def _cut(frame: Frame, centre: FloatArray, sizes: Any) -> Float32Array:
    image = frame.image(0)
    first = np.round(centre * image.shape - sizes / 2).astype(int)
    row, col = np.clip(first, 0, np.maximum(np.array(image.shape) - sizes, 0))
    return image[row : row + sizes[0], col : col + sizes[1]]
