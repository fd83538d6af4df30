# SPDX-License-Identifier: BSD-3-Clause
"""A finished run that never happened: the attributes of `probewise.experiment.Run`, filled from a synthetic specimen.

It serves the drawing and exporting code, which must cope with more kinds of run than a test has time to perform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from probewise.types import Context, Frame, Lattice, RasterROI, SiteLattice, Truth, TruthObject

STAGES = ("scan", "vendor", "describe", "surrogate", "acquire", "decision")


@dataclass(frozen=True, eq=False)
class StandinRun:
    directory: Path
    source: str
    configuration: Any
    summary: dict[str, Any]
    sites: SiteLattice
    excluded: np.ndarray
    visited: np.ndarray
    states: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    candidates: tuple[int, int]
    frames: list[Frame]
    survey: Frame | None
    masks: Any
    policy_name: str
    choices: tuple[Any, ...]
    hyperparameters: list[dict[str, float]]
    timings: dict[str, np.ndarray]
    notices: tuple[str, ...]
    target: np.ndarray | None
    foi: np.ndarray | None
    truth: Truth | None
    recall_curve: np.ndarray | None
    versions: dict[str, str] = field(default_factory=lambda: {"probewise": "0.1.0", "numpy": np.__version__})
    journal_hash: str = "0" * 64
    dose: np.ndarray | None = None

    def dose_map(self) -> np.ndarray | None:
        return self.dose

    def baseline(self, policy: str) -> np.ndarray | None:
        if self.recall_curve is None:
            return None
        share = np.linspace(0, 1, len(self.recall_curve))
        return np.stack([*self.recall_curve.T[:2], share ** (1 + len(policy) / 9)], axis=1)

    @cached_property
    def raster_equivalents(self) -> float:
        return float(self.summary["exposure"]["raster_equivalents"])

    @cached_property
    def recall(self) -> float:
        return float("nan") if self.recall_curve is None else float(self.recall_curve[-1, 2])


def standin(
    directory: Path,
    *,
    shape: tuple[int, int] = (25, 25),
    steps: int = 60,
    survey: bool = True,
    truth: bool = True,
    replay: bool = False,
    told: bool = False,
    dose: bool = True,
    refine: int = 1,
    rejected: int = 0,
    based: bool = True,
    frame_px: int = 48,
    stop_reason: str = "budget: steps",
    notices: tuple[str, ...] = (),
    seed: int = 0,
) -> StandinRun:
    """Pillars on a square field, visited greedily with some exploration; every array has the documented shape."""
    rng = np.random.default_rng(seed)
    side = 8.0
    fov = (side * shape[0], side * shape[1])
    sites = SiteLattice(shape, side, fov)
    centres = sites.centres_nm
    pillars = rng.uniform(0.08, 0.92, (max(3, sites.size // 28), 2)) * fov
    radius = rng.uniform(3, 9, len(pillars))
    distance = np.sqrt(((centres[:, None] - pillars[None]) ** 2).sum(2))
    target = np.exp(-((distance / (radius + 2)) ** 2)).max(1)
    foi = target > 0.45
    rows, cols = np.indices(shape)
    ring = (rows == 0) | (cols == 0) | (rows == shape[0] - 1) | (cols == shape[1] - 1)
    excluded = ring.ravel() if min(shape) > 4 and not replay else np.zeros(sites.size, bool)
    masks = {}
    if survey:
        vacuum = (centres[:, 0] < 0.25 * fov[0]) & (centres[:, 1] < 0.2 * fov[1])
        excluded = excluded | vacuum
        nothing = np.zeros(sites.size, bool)
        masks = {"vacuum": vacuum, "holes": nothing, "thick": nothing, "contamination": nothing}
    free = np.flatnonzero(~excluded)
    score = target + rng.normal(0, 0.35, sites.size)
    visited = free[np.argsort(-score[free])][: min(steps, len(free))]
    rng.shuffle(visited[: min(12, len(visited))])
    states = np.zeros(sites.size, np.int8)
    states[excluded] = 4
    states[visited] = 1
    states[visited[len(visited) - rejected :]] = 2
    visited = visited[: len(visited) - rejected]
    values = target[visited] * 3 + rng.normal(0, 0.1, len(visited)) if based else np.full(len(visited), np.nan)

    lattice = Lattice((shape[0] * refine, shape[1] * refine), (side / refine, side / refine))
    where = lattice.points() + side / refine / 2
    gap = np.sqrt(((where[:, None] - centres[visited][None]) ** 2).sum(2))
    weight = np.exp(-((gap / 12) ** 2)) + 1e-9
    kept = np.isfinite(values)
    mean = (weight[:, kept] @ values[kept]) / np.maximum(weight[:, kept].sum(1), 1e-12)
    std = 1.0 - 0.95 * weight[:, kept].max(1, initial=0.0)

    context = Context(fov)
    pixel = side / frame_px
    frames = []
    for index, site in enumerate(visited):
        yx = np.indices((frame_px, frame_px)) * pixel
        lattice_image = 1 + np.cos(2 * np.pi * yx[0] / 0.42) * np.cos(2 * np.pi * yx[1] / 0.42)
        counts = rng.poisson(20 * lattice_image * (0.6 + target[site])).astype(np.float32)[None]
        size = (side / fov[0], side / fov[1])
        roi = RasterROI((frame_px, frame_px), 4000, (centres[site] / fov).tolist(), size)
        frames.append(
            Frame(counts, ("haadf",), context, roi, index + 2, 10**9 * index, roi.duration_ns, frame_px**2, ())
        )
    survey_frame = None
    if survey:
        y, x = (np.indices((256, 256)) + 0.5) / 256
        field_yx = np.stack([y * fov[0], x * fov[1]], -1)
        far = np.sqrt(((field_yx[:, :, None] - pillars[None, None]) ** 2).sum(-1))
        image = rng.poisson(40 + 60 * (far < radius).any(-1)).astype(np.float32)[None]
        survey_frame = Frame(image, ("haadf",), context, RasterROI((256, 256), 1000), 1, 0, 65_536_000, 65_536)

    n = len(visited)
    found = np.concatenate([[0], np.cumsum(foi[visited])]) / max(foi.sum(), 1)
    fraction = np.arange(n + 1) / sites.size
    spent = np.full(n + 1, np.nan) if replay else 0.002 * survey + fraction
    curve = np.stack([fraction, spent, found], 1) if truth else None
    dose_map = None
    if dose and not replay:
        dose_map = np.full(shape, 95.0 if survey else 0.0)
        dose_map.ravel()[visited] += 5.2e4
    timings = {
        stage: rng.lognormal(np.log(scale), 0.3, n)
        for stage, scale in zip(STAGES, (640, 2, 35, 0.4, 0.2, 41), strict=True)
    }
    latency = {
        stage: dict(zip(("p50", "p95", "p99"), np.percentile(ms, (50, 95, 99)).tolist(), strict=True)) if n else None
        for stage, ms in timings.items()
    }
    source = "replay:pillars.npy" if replay else "simulated:nio-lsmo"
    summary = {
        "schema": 1,
        "version": "0.1.0",
        "source": source,
        "workflow": "linear",
        "objective": "cover",
        "policy": "ucb",
        "seed": seed,
        "device": "cpu",
        "sites": sites.size,
        "measured": n,
        "rejected": rejected,
        "unreachable": 0,
        "excluded": int(excluded.sum()),
        "steps": n + rejected,
        "stop_reason": stop_reason,
        "exposure": {
            "site_fraction": n / sites.size,
            "exposed_fraction": None,
            "raster_equivalents": None,
            "max_hits": None,
        }
        if replay
        else {
            "site_fraction": n / sites.size,
            "exposed_fraction": n / sites.size,
            "raster_equivalents": float(curve[-1, 1]) if curve is not None else n / sites.size,
            "max_hits": 1,
        },
        "truth": {
            "foi_sites": int(foi.sum()),
            "objects": len(pillars),
            "objects_found": int(found[-1] * len(pillars)) if n else 0,
            "reachable": float((foi & ~excluded).sum() / foi.sum()),
            "recall": curve.tolist(),
            "ssim": 0.8 if replay else None,
        }
        if curve is not None
        else None,
        "dose": {"electrons": 3.1e9, "lost_electrons": 0, "max_e_per_A2": 5.2e4, "current_source": "nominal"}
        if dose_map is not None
        else None,
        "time_s": {"wall": 12.3, "beam": 38.6, "beam_duty": None},
        "latency_ms": latency,
        "models": [],
        "notices": list(notices),
    }
    objects = tuple(TruthObject("pillar", p[None], 1.0, "count") for p in pillars)
    labels = np.zeros((16, 16), np.int16)
    known = (
        Truth("nio-lsmo", seed, fov, objects, 1.0, labels, fov[0] / 16, ("matrix",)) if truth and not replay else None
    )
    configuration = SimpleNamespace(
        current_pA=60.0,
        instrument=SimpleNamespace(
            voltage_kV=60.0, beam_current_pA=60.0, current_source="nominal", detector_mrad=(54, 200)
        ),
        run=SimpleNamespace(seed=seed),
        to_toml=lambda: "[run]\nseed = 0\n",
    )
    return StandinRun(
        directory,
        source,
        configuration,
        summary,
        sites,
        excluded,
        visited,
        states,
        values,
        mean,
        std,
        lattice.shape,
        [] if told else frames,
        survey_frame,
        masks,
        "ucb",
        (),
        [(59, SimpleNamespace(lengthscale=1.8, variance=1.0, noise=0.01))],
        timings,
        notices,
        target if truth else None,
        foi if truth else None,
        known,
        curve,
        dose=dose_map,
    )
