# SPDX-License-Identifier: BSD-3-Clause
"""Components as a person sees them: maps over the visited sites and the most extreme windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probewise.descriptors.workflow import LinearWorkflow
from probewise.types import Description, Float32Array, FloatArray, Frame, RasterROI

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXTREMES = 3


@dataclass(frozen=True, slots=True)
class ComponentChoice:
    """What a person needs to choose a component.

    index, name  the column
    explained    share of the variance of the spectra
    skewness     of its window values; high: few high values over many low ones
    highest      ((site, window), ...) of the largest values, one window a site, in order
    lowest       the same for the smallest
    followed     whether the workflow follows it now
    """

    index: int
    name: str
    explained: float
    skewness: float
    highest: tuple[tuple[int, int], ...]
    lowest: tuple[tuple[int, int], ...]
    followed: bool


def ask_choices(descriptions: Sequence[Description], workflow: LinearWorkflow) -> tuple[ComponentChoice, ...]:
    """The components of a fitted workflow over the visited sites, in column order."""
    tables = [workflow.values(description) for description in descriptions]
    table = np.concatenate(tables)
    choices = []
    for index in range(workflow.components):
        column = table[:, index]
        centred = column - column.mean()
        spread = float(np.sqrt(np.mean(centred**2)))
        choices.append(
            ComponentChoice(
                index=index,
                name=workflow.columns[index],
                explained=float(workflow.explained[index]),
                skewness=float(np.mean(centred**3)) / spread**3 if spread > 0 else 0.0,
                highest=extremes(tables, index, 1.0),
                lowest=extremes(tables, index, -1.0),
                followed=index == workflow.component,
            )
        )
    return tuple(choices)


def component_picture(
    descriptions: Sequence[Description], frames: Sequence[Frame], workflow: LinearWorkflow, path: str | Path
) -> None:
    """Write a PNG: for each component its map over the visited windows, its spectrum, and its extreme windows.

    descriptions, frames  of the visited sites, in the same order
    workflow              fitted
    path                  of the picture
    raises                ValueError when there are no sites, or as many descriptions as frames are not given

    Maps run from the 2nd to the 98th percentile, written beside the bar; windows of one component share one grey
    scale, so that differences of brightness stay visible.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not descriptions or len(descriptions) != len(frames):
        raise ValueError(
            f"{len(descriptions)} descriptions and {len(frames)} frames, expected as many of both, and some"
        )
    choices = ask_choices(descriptions, workflow)
    spectra = workflow.basis_spectra()
    columns = 2 + 2 * _EXTREMES
    figure = Figure(figsize=(1.7 * columns + 2.2, 2.35 * len(choices) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(choices), columns, squeeze=False, width_ratios=[1.7, 1.0] + [1.0] * (2 * _EXTREMES))
    table = np.concatenate([workflow.values(description) for description in descriptions])
    for row, choice in zip(axes, choices, strict=True):
        _draw_map(row[0], descriptions, frames, table[:, choice.index], workflow)
        mark = ", followed" if choice.followed else ""
        row[0].set_title(
            f"{choice.name}{mark}\nskewness {choice.skewness:.2g}, explains {choice.explained:.0%}", size=8
        )
        _draw_spectrum(row[1], spectra[choice.index])
        picks = [*choice.highest, *choice.lowest]
        patches = [_patch(frames[site], descriptions[site], window, workflow.window_px) for site, window in picks]
        low, high = np.percentile(np.stack(patches), (1, 99))
        for side, chosen in (("highest", choice.highest), ("lowest", choice.lowest)):
            cells = row[2 : 2 + _EXTREMES] if side == "highest" else row[2 + _EXTREMES :]
            cut = [_patch(frames[site], descriptions[site], window, workflow.window_px) for site, window in chosen]
            grey_patches(cells, cut, side, [f"site no. {site}" for site, _ in chosen], (float(low), float(high)))
    figure.savefig(path, dpi=110)


def positions_nm(frame: Frame, centre_yx: FloatArray) -> FloatArray:
    """Places (n, 2), fractions of a frame, in nm from the centre of the survey field; rotation is left out."""
    fov, shift = np.array(frame.context.fov_nm), np.array(frame.context.shift_nm)
    centre, size = np.array([0.5, 0.5]), np.array([1.0, 1.0])
    if isinstance(frame.scan, RasterROI):
        centre, size = np.array(frame.scan.centre_yx), np.array(frame.scan.size_yx)
    inside = centre + (centre_yx - 0.5) * size
    return np.asarray(shift + (inside - 0.5) * fov)


def grey_patches(
    axes: Sequence[Axes],
    patches: Sequence[Float32Array],
    title: str,
    labels: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw patches in a row on one grey scale: `limits`, or from their 1st to their 99th percentile."""
    for axis in axes:
        axis.set_axis_off()
    if not patches:
        return
    counts = np.concatenate([patch.ravel() for patch in patches])
    low, high = np.percentile(counts[np.isfinite(counts)], (1, 99)) if limits is None else limits
    axes[0].set_title(f"{title}, {low:.3g} to {high:.3g} counts", size=7, loc="left")
    for axis, patch, label in zip(axes, patches, labels, strict=False):
        axis.imshow(patch, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.text(0.02, 0.98, label, transform=axis.transAxes, va="top", size=6, color="yellow")


def _draw_map(
    axis: Axes,
    descriptions: Sequence[Description],
    frames: Sequence[Frame],
    values: FloatArray,
    workflow: LinearWorkflow,
) -> None:
    from matplotlib.collections import PolyCollection

    places = np.concatenate(
        [positions_nm(frame, seen.centre_yx) for frame, seen in zip(frames, descriptions, strict=True)]
    )
    half = np.array(frames[0].pixel_nm) * workflow.step_px / 2
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half
    squares = (places[:, None, :] + corners)[:, :, ::-1]
    finite = values[np.isfinite(values)]
    limits = np.percentile(finite, (2, 98)) if finite.size else (0.0, 1.0)
    cells = PolyCollection(list(squares), array=values, cmap="viridis", linewidths=0)
    cells.set_clim(*limits)
    axis.add_collection(cells)
    margin = 4 * half
    axis.set_xlim(places[:, 1].min() - margin[1], places[:, 1].max() + margin[1])
    axis.set_ylim(places[:, 0].max() + margin[0], places[:, 0].min() - margin[0])
    axis.set_aspect("equal")
    axis.tick_params(labelsize=6)
    axis.set_ylabel("nm", size=7)
    bar = axis.figure.colorbar(cells, ax=axis, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("2 to 98 %", size=6)


def _draw_spectrum(axis: Axes, spectrum: FloatArray) -> None:
    """The half spectrum and its mirror image; square root, so that weak peaks show."""
    whole = np.concatenate([spectrum[1:, :0:-1][::-1], spectrum[1:, :]], axis=1)
    limit = float(np.abs(whole).max()) or 1.0
    shown = np.sign(whole) * np.sqrt(np.abs(whole) / limit)
    signed = bool((whole < 0).any())
    axis.imshow(shown, cmap="PuOr" if signed else "magma", vmin=-1 if signed else 0, vmax=1, interpolation="nearest")
    axis.set_title("spectrum, square root", size=7)
    axis.set_axis_off()


def _patch(frame: Frame, description: Description, window: int, side: int) -> Float32Array:
    image = frame.image(0)
    centre = description.centre_yx[window] * np.array(image.shape)
    row, col = np.round(centre - side / 2).astype(int)
    return image[row : row + side, col : col + side]


def extremes(tables: Sequence[FloatArray], index: int, sign: float) -> tuple[tuple[int, int], ...]:
    """((site, place), ...) of the largest values of sign * column, one place a site, in order."""
    signed = [np.where(np.isfinite(table[:, index]), sign * table[:, index], -np.inf) for table in tables]
    best = [(site, int(np.argmax(values))) for site, values in enumerate(signed) if np.isfinite(values).any()]
    best.sort(key=lambda pick: -signed[pick[0]][pick[1]])
    return tuple(best[:_EXTREMES])
