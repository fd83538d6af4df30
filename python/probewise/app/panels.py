# SPDX-License-Identifier: BSD-3-Clause
"""The panels of a report: each function draws one thing of a run on one axes and returns its text alternative.

Maps share the survey field's coordinates, (y, x) from the top left corner, in nm; a replay without calibration is in
pixels and says so. What was not measured is never drawn as if it were: visited sites carry a dot on predicted maps,
excluded sites are hatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from probewise.types import SiteLattice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probewise.experiment import Run

INK = "#1a1a1a"
GREY = "#6b6b6b"
BLANK = "#e6e6e6"
VALUE = "value of the chosen component"
REJECTED, UNREACHABLE = 2, 3
MASKS = {"vacuum": "#4cc9f0", "holes": "#f72585", "thick": "#ffb703", "contamination": "#80ed99"}


class Panel(Protocol):
    def __call__(self, run: Run, axes: Axes) -> str: ...


def unit(run: Run) -> str:
    """Of the field's coordinates: a told map has neither length nor pixels."""
    if not run.source.startswith("replay:"):
        return "nm"
    return "px" if len(run.frames) else "sites"


def extent(run: Run) -> tuple[float, float, float, float]:
    """The survey field as matplotlib's (left, right, bottom, top), the first row on top."""
    height, width = run.sites.fov_nm
    return (0.0, width, height, 0.0)


def lattice_extent(run: Run) -> tuple[float, float, float, float] | None:
    """Outer edges of the cells around the sites; None where the sites form no regular lattice."""
    rows, cols = run.sites.shape
    if rows < 2 or cols < 2:
        return extent(run) if isinstance(run.sites, SiteLattice) else None
    grid = np.asarray(run.sites.centres_nm).reshape(rows, cols, 2)
    step = (grid[-1, -1] - grid[0, 0]) / (rows - 1, cols - 1)
    regular = grid[0, 0] + step * np.moveaxis(np.indices((rows, cols)), 0, -1)
    if not np.allclose(grid, regular, atol=1e-6 * float(step.max())):
        return None
    top, left = grid[0, 0] - step / 2
    bottom, right = grid[-1, -1] + step / 2
    return (float(left), float(right), float(bottom), float(top))


def measured(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Sites (n,) with a value, in order, and their values (n,)."""
    values = np.asarray(run.values, dtype=np.float64)
    kept = np.isfinite(values)
    return np.asarray(run.visited)[kept], values[kept]


def limits(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; a constant map gets a range that shows it as its middle colour."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if high > low:
        return (low, high)
    half = abs(low) / 2 or 0.5
    return (low - half, high + half)


def frame_axes(run: Run, axes: Axes) -> None:
    left, right, bottom, top = extent(run)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_xlabel(f"x ({unit(run)})")
    axes.set_ylabel(f"y ({unit(run)})")


def colour_bar(axes: Axes, image: Any, label: str, marks: Sequence[float] | None = None) -> None:
    """A bar whose label states the quantity; its ticks are the limits of the colours and their middle, or `marks`."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.045, 1.0)))
    bar.set_label(label)
    low, high = image.get_clim()
    shown = [low, (low + high) / 2, high] if marks is None else list(marks)
    bar.minorticks_off()
    bar.set_ticks(shown, labels=[number(mark if abs(mark) > 1e-6 * (high - low) else 0.0) for mark in shown])


def number(value: float) -> str:
    """Three significant digits, without an exponent where people do without."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.2e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def scale_bar(axes: Axes, width: float, *, per_unit: float = 1.0, fontsize: float = 8) -> None:
    """A bar of a round length in nm, at most a third of the axes' `width` in nm; `per_unit` data units make a nm."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle

    power = float(10.0 ** np.floor(np.log10(width)))
    length = max(power * factor for factor in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if power * factor <= width / 3)
    bar = AuxTransformBox(axes.transData)
    bar.add_artist(Rectangle((0, 0), length * per_unit, 0, edgecolor="white", linewidth=2.5, facecolor="none"))
    text = TextArea(f"{length:g} nm", textprops={"color": "white", "fontsize": fontsize})
    box = AnchoredOffsetbox("lower left", child=VPacker(children=[text, bar], align="center", pad=0, sep=2), pad=0.3)
    box.patch.set(facecolor="black", alpha=0.65, linewidth=0)
    axes.add_artist(box)


def squares(run: Run, sites: np.ndarray, side: float | None = None, **style: Any) -> Any:
    """A collection of the outlines of `sites`."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    side = run.sites.side_nm if side is None else side
    corners = run.sites.centres_nm[sites] - side / 2
    return PatchCollection([Rectangle((x, y), side, side) for y, x in corners], **style)


def hatch_excluded(run: Run, axes: Axes, colour: str = GREY) -> None:
    """Hatch the cells of excluded sites: a border, a mask, or the user's own list."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    if not run.excluded.any():
        return
    pitch = np.array(run.sites.pitch_nm)
    corners = run.sites.centres_nm[np.flatnonzero(run.excluded)] - pitch / 2
    cells = [Rectangle((x, y), pitch[1], pitch[0]) for y, x in corners]
    axes.add_collection(
        PatchCollection(cells, facecolor="none", edgecolor=colour, linewidth=0, hatch="////", alpha=0.5)
    )


def dots(run: Run, axes: Axes) -> None:
    """Mark the measured sites, so that all the rest reads as predicted."""
    sites, _ = measured(run)
    if not len(sites):
        return
    centres = run.sites.centres_nm[sites]
    size = _dot_size(run)
    mark = axes.scatter(centres[:, 1], centres[:, 0], s=size, c="white", edgecolors=INK, linewidths=0.4)
    below(axes, [mark], ["measured; elsewhere predicted"])


def _dot_size(run: Run) -> float:
    return float(np.clip(4000 / run.sites.size, 1.0, 14.0))


def below(axes: Axes, handles: list[Any], labels: list[str], *, columns: int = 3) -> None:
    """A legend under the axes' label, at a distance in points, where it covers nothing."""
    from matplotlib.transforms import offset_copy

    if handles:
        under = offset_copy(axes.transAxes, axes.get_figure(root=True), y=-30, units="points")
        axes.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=under, borderpad=0.1,
            ncols=min(columns, len(handles)), frameon=False, fontsize=8, handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip


def survey(run: Run, axes: Axes) -> str:
    """The survey frame, its masks, and the sites in the order of their visit."""
    from matplotlib.patches import Patch

    frame_axes(run, axes)
    handles: list[Any] = []
    labels: list[str] = []
    if run.survey is not None:
        image = run.survey.image()
        low, high = np.nanpercentile(image, (0.5, 99.5))
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent(run), interpolation="antialiased")
        axes.set_title(f"Survey ({number(low)} to {number(high)} counts) and visited sites")
    else:
        axes.set_facecolor(BLANK)
        axes.set_title("Visited sites (no survey was taken)")
    for name, colour in MASKS.items():
        sites = np.flatnonzero(np.asarray(run.masks.get(name, ())))
        if len(sites):
            side = min(run.sites.pitch_nm)
            axes.add_collection(squares(run, sites, side, facecolor=colour, edgecolor="none", alpha=0.35))
            handles.append(Patch(facecolor=colour, alpha=0.5))
            labels.append(f"{name} ({len(sites)})")
    hatch_excluded(run, axes, "#c0c0c0" if run.survey is not None else GREY)
    if run.excluded.any():
        handles.append(Patch(facecolor="none", edgecolor=GREY, hatch="////", linewidth=0))
        labels.append(f"excluded ({int(run.excluded.sum())})")
    order = np.arange(1, len(run.visited) + 1)
    if len(order):
        width = 1.6 if len(order) <= 200 else 0.8 if len(order) <= 800 else 0.4
        outline = squares(run, np.asarray(run.visited), facecolor="none", linewidth=width, cmap=_bright_plasma())
        outline.set_array(order)
        outline.set_clim(1, max(len(order), 2))
        axes.add_collection(outline)
        colour_bar(axes, outline, "order of visit", np.unique(np.linspace(1, len(order), 5).round()).tolist())
    for state, marker, name in ((REJECTED, "x", "rejected"), (UNREACHABLE, "+", "unreachable")):
        lost = np.flatnonzero(np.asarray(run.states) == state)
        if len(lost):
            centres = run.sites.centres_nm[lost]
            handles.append(axes.scatter(centres[:, 1], centres[:, 0], marker=marker, c="#ff3b30", s=28, linewidths=1.3))
            labels.append(f"{name} ({len(lost)})")
    if unit(run) == "nm":
        scale_bar(axes, run.sites.fov_nm[1])
    below(axes, handles, labels)
    what = "Survey image" if run.survey is not None else "Map of the field"
    return f"{what} with {len(order)} visited sites outlined in the order of visit; {', '.join(labels) or 'no masks'}."


def _bright_plasma() -> Any:
    """plasma without its darkest quarter, which is lost on a dark survey."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["plasma"](np.linspace(0.25, 1.0, 256)))


def site_map(run: Run, axes: Axes, values: np.ndarray, *, cmap: str, bounds: tuple[float, float], label: str) -> None:
    """A map of (c,) values with one cell a candidate, or one square a site of a list; NaN cells stay blank."""
    import matplotlib

    colours = matplotlib.colormaps[cmap].with_extremes(bad=BLANK)
    shown = np.ma.masked_invalid(values)
    cells = lattice_extent(run)
    if cells is not None:
        shape = run.sites.shape if shown.size == run.sites.size else shape_of(run)
        image: Any = axes.imshow(
            shown.reshape(shape), cmap=colours, vmin=bounds[0], vmax=bounds[1], extent=cells, interpolation="nearest"
        )
    else:
        image = squares(run, np.arange(run.sites.size), cmap=colours, edgecolor=GREY, linewidth=0.3)
        image.set_array(shown)
        image.set_clim(*bounds)
        axes.add_collection(image)
    frame_axes(run, axes)
    colour_bar(axes, image, label)


def shape_of(run: Run) -> tuple[int, int]:
    """(rows, cols) of the candidates' lattice."""
    rows, cols = run.candidates
    return (rows, cols)


def truth(run: Run, axes: Axes) -> str:
    """What is really there: the target of a replay, or the sites a specimen says are of interest."""
    from matplotlib.lines import Line2D

    foi = np.zeros(run.sites.size, bool) if run.foi is None else np.asarray(run.foi)
    source = run.source
    if run.target is not None:
        target = np.asarray(run.target, dtype=np.float64)
        site_map(run, axes, target, cmap="viridis", bounds=limits(target), label="target value")
        axes.set_title("Target (known, never shown to the run)")
    else:
        site_map(
            run, axes, foi.astype(float), cmap="viridis", bounds=(0.0, 1.0),
            label="holds the feature",
        )  # fmt: skip
        axes.set_title("Truth of the specimen (never shown to the run)")
    found = np.zeros(run.sites.size, bool)
    found[measured(run)[0]] = True
    handles = []
    labels = []
    for chosen, colour, name in (
        (foi & found, "#ffffff", "of interest, measured"),
        (foi & ~found, "#ff3b30", "missed"),
    ):
        axes.add_collection(
            squares(
                run,
                np.flatnonzero(chosen),
                0.72 * min(run.sites.pitch_nm),
                facecolor="none",
                edgecolor=colour,
                linewidth=1.1,
            )
        )
        handles.append(
            Line2D(
                [],
                [],
                marker="s",
                markersize=8,
                markeredgewidth=1.6,
                markerfacecolor="#404040",
                markeredgecolor=colour,
                linestyle="none",
            )
        )
        labels.append(f"{name} ({int(chosen.sum())})")
    if foi.any():
        below(axes, handles, labels)
    return (
        f"Known truth of {source}: {int(foi.sum())} sites of interest, {int((foi & found).sum())} of them measured, "
        f"{int((foi & ~found).sum())} missed."
    )


def value_bounds(run: Run) -> tuple[float, float]:
    """Limits shared by the measured and the predicted map, so that the same colour is the same value."""
    return limits(np.concatenate([measured(run)[1], np.asarray(run.mean, dtype=np.float64).ravel()]))


def values(run: Run, axes: Axes) -> str:
    """Only what was measured, on the sites where it was."""
    sites, told = measured(run)
    grid = np.full(run.sites.size, np.nan)
    grid[sites] = told
    site_map(run, axes, grid, cmap="viridis", bounds=value_bounds(run), label=VALUE)
    axes.set_title(f"Measured values ({len(sites)} of {run.sites.size} sites)")
    hatch_excluded(run, axes)
    if not len(sites):
        return "No site has a measured value."
    span = f"from {number(told.min())} to {number(told.max())}"
    return f"Values of the {len(sites)} measured sites, {span}; the rest is blank."


def mean(run: Run, axes: Axes) -> str:
    grid = np.asarray(run.mean, dtype=np.float64)
    site_map(run, axes, grid, cmap="viridis", bounds=value_bounds(run), label=VALUE)
    axes.set_title("Posterior mean (prediction)")
    hatch_excluded(run, axes, "#ffffff")
    dots(run, axes)
    low, high = limits(grid)
    return (
        f"Posterior mean over {grid.size} candidates, from {number(low)} to {number(high)}; measured sites are dotted."
    )


def deviation(run: Run, axes: Axes) -> str:
    grid = np.asarray(run.std, dtype=np.float64)
    finite = grid[np.isfinite(grid)]
    high = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    site_map(run, axes, grid, cmap="magma", bounds=(0.0, high), label="standard deviation (of the value)")
    axes.set_title("Posterior standard deviation")
    hatch_excluded(run, axes, "#ffffff")
    dots(run, axes)
    return f"Posterior standard deviation, 0 to {number(high)}; smallest at the measured sites."


def dose(run: Run, axes: Axes) -> str:
    import matplotlib
    from matplotlib.colors import LogNorm

    grid = run.dose_map()
    assert grid is not None
    grid = np.asarray(grid, dtype=np.float64)
    hit = grid > 0
    frame_axes(run, axes)
    axes.set_title("Dose booked on the sample")
    if not hit.any():
        axes.set_facecolor(BLANK)
        return "No dose was booked."
    low, high = float(grid[hit].min()), float(grid[hit].max())
    if high <= low:
        low = high / 10
    colours = matplotlib.colormaps["cividis"].with_extremes(bad=BLANK, under=BLANK)
    image = axes.imshow(
        np.ma.masked_array(grid, ~hit),
        cmap=colours,
        norm=LogNorm(low, high),
        extent=extent(run),
        interpolation="nearest",
    )
    colour_bar(axes, image, "fluence (e/Å²), log scale", [low, float(np.sqrt(low * high)), high])
    blank = "" if hit.all() else "; grey was never exposed"
    axes.annotate(
        f"{np.mean(hit):.0%} of the field exposed{blank}", (0.5, 0.0), xycoords="axes fraction", xytext=(0, -32),
        textcoords="offset points", ha="center", va="top", fontsize=8,
    )  # fmt: skip
    span = f"{number(low)} to {number(high)} electrons per square angstrom"
    return f"Fluence over the survey field, {span}, log scale{blank}."
