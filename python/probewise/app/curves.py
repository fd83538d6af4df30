# SPDX-License-Identifier: BSD-3-Clause
"""The panels of a report that are not maps: recall against baselines, values by step, latency, extreme frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.app.panels import BLANK, GREY, INK, VALUE, below, number, scale_bar, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from probewise.experiment import Run

COLOURS = {
    "raster": "#8c6d31",
    "serpentine": "#bd9e39",
    "coarse-to-fine": "#17becf",
    "halton": "#2c7fb8",
    "random": "#7f7f7f",
    "survey-threshold": "#d95f02",
    "max-std": "#7b3294",
}
STAGES = ("scan", "vendor", "describe", "surrogate", "acquire", "decision")
WITHOUT_LOOKING = ("raster", "coarse-to-fine", "halton")


def random_band(interesting: int, reachable: int, free: int, visits: np.ndarray) -> np.ndarray:
    """Mean and central 95 % of the recall of visiting sites in random order, (visits, 3).

    interesting  sites of interest in all, those that no run may visit included
    reachable    sites of interest that may be visited, out of `free` sites
    source       the number found is hypergeometric; no simulation is needed
    """
    drawn = np.minimum(visits, free)[:, None]
    found = np.arange(reachable + 1)[None]
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, free + 1)))])  # of factorials
    possible = (found <= drawn) & (drawn - found <= free - reachable)
    kept, rest = np.where(possible, found, 0), np.where(possible, drawn - found, 0)
    ways = logs[reachable] - logs[kept] - logs[reachable - kept]
    ways += logs[free - reachable] - logs[rest] - logs[free - reachable - rest]
    chance = np.where(possible, np.exp(ways - (logs[free] - logs[drawn] - logs[free - drawn])), 0.0)
    below_or_at = np.cumsum(chance, axis=1) + 1e-12  # the last sum may round to just under one
    low, high = ((below_or_at >= share).argmax(axis=1) for share in (0.025, 0.975))
    return np.stack([drawn[:, 0] * (reachable / max(free, 1)), low, high], axis=1) / max(interesting, 1)


def recall(run: Run, axes: Axes) -> str:
    """What share of the interesting sites was found, against what it cost, beside all baselines."""
    curve = np.asarray(run.recall_curve, dtype=np.float64)
    replay = unit(run) != "nm"
    column = 0 if replay else 1
    visits = np.rint(curve[:, 0] * run.sites.size).astype(np.int64)
    x = curve[:, column]
    foi = np.asarray(run.foi)
    free = ~np.asarray(run.excluded)
    band = random_band(int(foi.sum()), int((foi & free).sum()), int(free.sum()), visits)
    axes.fill_between(x, band[:, 1], band[:, 2], color=COLOURS["random"], alpha=0.25, linewidth=0, label="random, 95 %")
    axes.plot(x, band[:, 0], color=COLOURS["random"], linestyle="--", linewidth=1.2, label="random, mean")
    for name in (*WITHOUT_LOOKING, *(["survey-threshold"] if run.survey is not None else [])):
        other = run.baseline(name)
        if other is not None:
            axes.plot(other[:, column], other[:, 2], color=COLOURS[name], linewidth=1.3, linestyle="-.", label=name)
    axes.plot(x, curve[:, 2], color=INK, linewidth=2.4, label=f"this run ({run.policy_name})")
    reachable = float((foi & free).sum()) / max(int(foi.sum()), 1)
    top = max(float(curve[-1, 2]), float(band[-1, 2]), 0.05)
    if reachable < 1:
        axes.axhline(reachable, color=GREY, linewidth=0.8, linestyle=":", label=f"reachable ({reachable:.2f})")
    axes.set_xlim(0, float(x[-1]) * 1.02 or 1.0)
    axes.set_ylim(0, min(1.0, max(1.15 * top, 0.1)) if reachable > 1.3 * top else 1.02)
    axes.set_xlabel("fraction of sites visited" if replay else "dose spent, raster equivalents")
    axes.set_ylabel("recall of sites of interest")
    axes.set_title("Recall against baselines" + ("" if replay else ", survey's dose included"))
    axes.grid(color=BLANK, linewidth=0.6)
    below(axes, *axes.get_legend_handles_labels(), columns=4)
    where = "fraction of sites" if replay else "raster equivalents"
    return (
        f"Recall {curve[-1, 2]:.2f} at {number(float(x[-1]))} {where}; random order gives {band[-1, 0]:.2f} "
        f"(95 % between {band[-1, 1]:.2f} and {band[-1, 2]:.2f})."
    )


def trace(run: Run, axes: Axes) -> str:
    """The value found at each visit and the largest so far."""
    told = np.asarray(run.values, dtype=np.float64)
    steps = np.arange(1, len(told) + 1)
    kept = np.isfinite(told)
    axes.set_title("Values in the order of visit")
    axes.set_xlabel("visit")
    axes.set_ylabel(VALUE)
    axes.grid(color=BLANK, linewidth=0.6)
    if not kept.any():
        axes.text(0.5, 0.5, "no site has a value", ha="center", va="center", transform=axes.transAxes)
        return "No site has a value."
    axes.scatter(steps[kept], told[kept], s=14 if len(told) <= 300 else 4, color="#2c7fb8", label="measured")
    best = np.fmax.accumulate(np.where(kept, told, -np.inf))
    axes.step(
        steps[np.isfinite(best)], best[np.isfinite(best)], where="post", color=INK, linewidth=1.2, label="largest"
    )
    if not kept.all():
        low = axes.get_ylim()[0]
        axes.scatter(steps[~kept], np.full((~kept).sum(), low), marker="x", s=26, color="#ff3b30", label="rejected")
    axes.set_xlim(0.5, len(told) + 0.5)
    axes.legend(loc="lower right", fontsize=7.5, framealpha=0.9)
    return f"Values of {int(kept.sum())} visits in order, from {number(np.nanmin(told))} to {number(np.nanmax(told))}."


def latency(run: Run, axes: Axes) -> str:
    """Median, 95th and 99th percentile of each stage of a step."""
    given = run.timings
    rows = [(name, np.percentile(given[name], (50, 95, 99))) for name in STAGES if len(given.get(name, ()))]
    axes.set_title("Latency of a step, by stage")
    axes.set_xlabel("ms, log scale")
    if not rows:
        axes.text(0.5, 0.5, "no step was timed", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])
        return "No step was timed."
    positive = [times for _, times in rows if times[0] > 0]
    low = min((times[0] for times in positive), default=1.0)
    high = max((times[2] for times in positive), default=2 * low)
    for place, (_, times) in enumerate(rows):
        p50, p95, p99 = np.maximum(times, low)  # a stage that took no time stands at the left end, with its numbers
        axes.plot([p50, p99], [place, place], color="#9ecae1", linewidth=7, solid_capstyle="butt", zorder=1)
        for value, marker, colour, size in ((p50, "|", INK, 130), (p95, "o", "#2c7fb8", 26), (p99, "D", "#d95f02", 22)):
            if times[2] > 0:
                axes.scatter(
                    value, place, marker=marker, color=colour, s=size, zorder=3, linewidths=2 * (marker == "|")
                )
        axes.annotate(
            " / ".join(number(float(value)) for value in times), (p99, place),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(low / 2, high * (2 * high / low) ** 0.5)
    axes.set_yticks(range(len(rows)), labels=[name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=BLANK, linewidth=0.6)
    handles = [
        axes.scatter([], [], marker="|", color=INK, s=90, linewidths=2),
        axes.scatter([], [], marker="o", color="#2c7fb8", s=26),
        axes.scatter([], [], marker="D", color="#d95f02", s=22),
    ]
    below(axes, handles, ["median", "95 %", "99 %"])
    told = (f"{name}: median {number(float(p50))} ms, 99 % {number(float(p99))} ms" for name, (p50, _, p99) in rows)
    return "; ".join(told)


def extreme_sites(run: Run, each: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Places in the order of visit of the `each` largest and smallest values, none twice."""
    told = np.asarray(run.values, dtype=np.float64)
    kept = np.flatnonzero(np.isfinite(told))
    ranked = kept[np.argsort(-told[kept], kind="stable")]
    high = ranked[:each]
    low = ranked[len(high) :][-each:][::-1]
    return high, low


def thumbnails(run: Run, figure: SubFigure | Any, each: int = 4) -> str:
    """The frames of the sites of largest and smallest value, on one grey scale."""
    high, low = extreme_sites(run, each)
    picks = [(int(index), "#35b779") for index in high] + [(int(index), "#7b3294") for index in low]
    if not picks or not len(run.frames):
        said = "Values were told without frames" if picks else "No frame has a value yet"
        figure.suptitle(said, fontsize=10)
        return f"{said}."
    axes = figure.subplots(1, 2 * each, squeeze=False)[0]
    for blank in axes[len(picks) :]:
        blank.set_axis_off()
    frames = [run.frames[index] for index, _ in picks]
    dark, bright = (
        float(q) for q in np.nanpercentile(np.concatenate([f.image().ravel() for f in frames]), (0.5, 99.5))
    )
    shown: Any = None
    for (index, colour), frame, ax in zip(picks, frames, axes, strict=False):
        shown = ax.imshow(frame.image(), cmap="gray", vmin=dark, vmax=bright, interpolation="antialiased")
        ax.set_title(
            f"site {int(run.visited[index])}, visit {index + 1}\nvalue {number(float(run.values[index]))}",
            fontsize=8.5,
            fontweight="normal",
        )
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set(color=colour, linewidth=2.5)
        if unit(run) == "nm":
            pixel = frame.pixel_nm[1]
            scale_bar(ax, frame.shape[1] * pixel, per_unit=1 / pixel, fontsize=7)
    figure.colorbar(shown, ax=list(axes), fraction=0.012, pad=0.01).set_label("counts")
    figure.suptitle(
        f"Frames with the {len(high)} largest (green) and {len(low)} smallest (violet) values, one grey scale",
        fontsize=10,
    )
    return f"Frames of the sites with the {len(high)} largest and the {len(low)} smallest values."
