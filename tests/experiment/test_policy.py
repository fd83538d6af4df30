# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from probewise.experiment import Experiment, open_run
from probewise.experiment.belief import Belief
from probewise.experiment.history import History, StepRecord
from probewise.experiment.loading import load
from probewise.experiment.policy import Chooser, farthest
from probewise.experiment.sites import Candidates, SiteList, averages, sites_of
from probewise.experiment.states import Plan, SiteState
from probewise.types import Frame, SiteLattice
from tiny_experiment import tiny

MAP = np.add.outer(np.sin(np.arange(12) / 3.0), np.cos(np.arange(12) / 2.0))


def told_map(path: Path, values: np.ndarray) -> str:
    np.savez(path, value=values, foi=values > 1.0)
    return f"image:{path}"


def replay(tmp_path: Path, values: np.ndarray, steps: int = 60, **acquisition: object) -> Experiment:
    return Experiment(
        told_map(tmp_path / "map.npz", values),
        out=tmp_path / "run",
        run={"replay": True},
        sites={"border": 0},
        acquisition=acquisition,
        budget={"steps": steps},
    )


def test_values_dealt_at_random_are_said_to_be_noise(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(20, 20))
    summary = replay(tmp_path, values, steps=90).run()
    assert any("neighbouring sites tell little of each other" in text for text in summary["notices"])
    # 90 of 400 sites; of the 64 sites of interest a random choice finds as many, with a hypergeometric deviation of 3
    recall, count = summary["truth"]["recall"][-1][2], int((values > 1.0).sum())
    assert abs(recall - 90 / 400) * count < 3 * np.sqrt(count * 0.225 * 0.775)


def test_a_smooth_map_is_followed(tmp_path: Path) -> None:
    summary = replay(tmp_path, MAP).run()
    assert summary["source"] == "replay:map.npz"
    assert summary["dose"] is None
    assert summary["exposure"] == {
        "site_fraction": 60 / 144, "exposed_fraction": None, "raster_equivalents": None, "max_hits": None,
    }  # fmt: skip
    assert summary["truth"]["recall"][-1][1] is None
    # Random sites would give 60/144 with a hypergeometric deviation of 0.07: five of them above.
    assert summary["truth"]["recall"][-1][2] > 60 / 144 + 5 * 0.07
    assert 0.5 < summary["truth"]["ssim"] <= 1.0


def test_constant_values_end_in_space_filling(tmp_path: Path) -> None:
    summary = replay(tmp_path, np.ones((12, 12)), steps=40).run()
    assert any("unstable" in text for text in summary["notices"])
    assert summary["measured"] == 40


def test_the_threshold_is_journalled_in_standardised_units(tmp_path: Path) -> None:
    replay(tmp_path, MAP, policy="straddle", threshold=1.0).run()
    with open_run(tmp_path / "run") as run:
        fits = dict(run.hyperparameters)
        fit = None
        for step in run.steps:
            if "threshold" in step.plan.details:
                assert fit is not None
                assert step.plan.details["threshold"] == pytest.approx((1.0 - fit.offset) / fit.scale)
            fit = fits.get(step.step, fit)


@pytest.mark.parametrize("refine", [1, 2])
def test_a_pending_site_is_believed_as_in_a_batch(refine: int) -> None:
    """Chosen while the first of a batch is being scanned, a site is the second of the batch."""
    sites = SiteLattice((8, 8), 1.0, (8.0, 8.0))
    excluded = np.zeros(64, dtype=bool)
    visited = np.random.default_rng(2).permutation(64)[:15]
    chosen = []
    for batch in (2, 1):
        configuration = load(sets=[f"acquisition.batch={batch}", "acquisition.policy=ucb", "start.sites=4"])
        belief = Belief(Candidates.over(sites, refine), configuration.surrogate)
        history = History(sites, excluded)
        for number, site in enumerate(visited.tolist()):
            belief.tell(site, belief.candidates.of_site[site], np.full(refine**2, np.sin(site / 9.0)))
            history.steps.append(StepRecord(number, Plan(site, "halton"), SiteState.MEASURED, None, 0, 0.0, 0.0, 0))
        belief.fit()
        chooser = Chooser(configuration, sites, belief, survey_means=None, excluded=excluded)
        taken = history.states != SiteState.FREE
        plans = chooser.choose(history, taken).plans
        if batch == 1:
            taken[plans[0].site] = True
            plans += chooser.choose(history, taken, [plans[0].site]).plans
        chosen.append([plan.site for plan in plans])
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 2


def test_travel_costs_shorten_the_way(tmp_path: Path) -> None:
    lengths = []
    for number, weight in enumerate((0.0, 5.0)):
        tiny(tmp_path / f"r{number}", acquisition={"cost_weight": weight}).run()
        with open_run(tmp_path / f"r{number}") as run:
            centres = run.sites.centres_nm[run.visited]
            lengths.append(np.sqrt((np.diff(centres[6:], axis=0) ** 2).sum(axis=1)).sum())
    assert lengths[1] < lengths[0]


def test_the_same_seed_gives_the_same_trajectory(tmp_path: Path) -> None:
    visits = []
    for number, seed in enumerate((7, 7, 8)):
        tiny(tmp_path / f"r{number}", run={"seed": seed}).run()
        with open_run(tmp_path / f"r{number}") as run:
            visits.append(run.visited.tolist())
    assert visits[0] == visits[1] != visits[2]


def test_candidates_of_a_site_are_its_own() -> None:
    sites = SiteLattice((4, 5), 2.0, (8.0, 10.0))
    candidates = Candidates.over(sites, 3)
    rng = np.random.default_rng(0)
    for site in (0, 7, 19):
        inside = rng.uniform(0.01, 0.99, size=(50, 2))
        assert set(candidates.nearest(site, inside).tolist()) <= set(candidates.of_site[site].tolist())
    centres = (np.stack(np.meshgrid(range(3), range(3), indexing="ij"), -1).reshape(-1, 2) + 0.5) / 3
    assert candidates.nearest(7, centres).tolist() == candidates.of_site[7].tolist()
    assert candidates.to_sites(np.arange(180.0)).shape == (20,)


def test_the_farthest_of_a_list() -> None:
    sites = SiteList(np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 5.0]]), 1.0, (10.0, 10.0))
    assert farthest(sites, np.array([True, False, False]), (0, 0)) == 2
    assert farthest(sites, np.array([True, False, True]), (0, 0)) == 1


def test_site_averages_weigh_pixels_by_area() -> None:
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    sites = SiteLattice((2, 3), 3.0, (8.0, 12.0))  # pixels of 2 nm, squares of 3 nm about the middle of 2 x 2 of them
    expected = image.reshape(2, 2, 3, 2).mean(axis=(1, 3)).ravel()
    assert averages(image, sites) == pytest.approx(expected)


def test_a_field_that_the_instrument_names_is_checked() -> None:
    configuration = load(sets=["instrument.uri=image:a.png"])
    with pytest.raises(ValueError, match=r"sites\.side_nm is 8, expected at most the pitch of 2 nm"):
        sites_of(configuration, (50.0, 50.0))


def test_a_picture_is_replayed_window_by_window(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:160, :160]
    picture = 100 + 20 * np.cos(2 * np.pi * x / np.where(y + x > 160, 6.0, 9.0)) + rng.normal(size=(160, 160))
    np.save(tmp_path / "picture.npy", picture.astype(np.float32))
    summary = Experiment(
        f"image:{tmp_path / 'picture.npy'}",
        out=tmp_path / "run",
        run={"replay": True},
        sites={"window_px": 32, "step_px": 16},
        descriptor={"components": 2, "refit_every": 8},
        budget={"steps": 20},
    ).run()
    assert summary["truth"] is None
    assert summary["measured"] == 20
    with open_run(tmp_path / "run") as run:
        assert isinstance(run.frames[0], Frame)
        assert run.frames[0].counts.shape == (1, 32, 32)
        assert np.isfinite(run.values).all()
        assert np.isfinite(run.mean).all()
