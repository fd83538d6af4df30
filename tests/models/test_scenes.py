# SPDX-License-Identifier: BSD-3-Clause
"""Labels of training frames lie on the atoms of the distorted scan, and SNRs are those of the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

import frames
import scenes
from probewise.instrument import Detector, Distortions, SimulatedInstrument
from probewise.instrument.optics import Probe
from probewise.instrument.specimens import build
from probewise.types import Context, RasterROI


def scene_of(name: str, distortions: Distortions | None = None, **options: object) -> scenes.Scene:
    specimen = build(name, seed=5, fov_nm=30.0, **options)
    scope = SimulatedInstrument(specimen, seed=3, detector=Detector.ideal(), distortions=distortions)
    context = Context((4.0, 4.0), (2.0, -3.0), 0.7)
    table = scenes.scene_tables(Probe(), specimen, scope.distortions.tilt_deg)
    return scenes.make_scene(scope, RasterROI((200, 200), 4000), context, specimen, name, table)


def test_labels_lie_on_the_brightest_spots_of_a_distorted_scan() -> None:
    strong = Distortions(
        line_jitter_nm=(0.0, 0.0), scale_error=(0.03, -0.03), shear_deg=2.0, drift_nm_per_min=(20.0, 30.0)
    )
    scene = scene_of("bfo", strong)
    heavy = scene.yx[scene.label == scenes.CLASSES.index("perovskite A")]
    heavy = heavy[((heavy > 8) & (heavy < 191)).all(axis=1)]
    assert len(heavy) > 50
    for y, x in heavy:
        row, col = round(float(y)), round(float(x))
        spot = scene.fraction[row - 4 : row + 5, col - 4 : col + 5].astype(float)
        at = np.array(center_of_mass(np.maximum(spot - spot.max() / 2, 0))) + np.array([row - 4, col - 4])
        # half a pixel: settling moves the probe within a spot and neighbours' tails tilt it
        assert math.dist(at, (y, x)) < 0.5


def test_vacancies_and_dopants_carry_their_class() -> None:
    scene = scene_of("graphene", defects=20000)
    seen = {
        name: scene.fraction[tuple(np.rint(scene.yx[scene.label == k]).astype(int).T)]
        for k, name in enumerate(scenes.CLASSES)
    }
    assert len(seen["vacancy"]) > 2
    assert len(seen["dopant"]) > 2
    assert np.median(seen["vacancy"]) < 0.7 * np.median(seen["C"])
    assert np.median(seen["dopant"]) > 2 * np.median(seen["C"])


def test_snr_is_the_sum_over_pixels() -> None:
    scene = scene_of("graphene", defects=0)
    electrons, read = 400.0, 0.3
    got = scenes.atom_snr(scene, electrons=electrons, read_noise=read)
    middle = int(np.argmin(((scene.yx - 100) ** 2).sum(axis=1)))
    rows, cols = np.indices(scene.fraction.shape)
    r2 = ((rows - scene.yx[middle, 0]) ** 2 + (cols - scene.yx[middle, 1]) ** 2) * scene.pixel_nm**2
    steps = np.arange(scenes.TABLE_STEPS + 2) / scenes.TABLE_STEPS * scenes.REACH_NM**2
    signal = electrons * np.interp(r2, steps, scene.table[0])
    variance = (1 + scenes.EXCESS_VARIANCE) * electrons * scene.fraction + read**2
    expected = math.sqrt((signal**2 / variance).sum())
    assert got[middle] == pytest.approx(expected, rel=0.03)  # the window ends at 0.22 nm, the table is not interpolated


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(-0.05, 0.05), st.floats(-math.pi, math.pi))
def test_pixel_grid_inverts_an_affine_scan(seed: int, stretch: float, turn: float) -> None:
    random = np.random.default_rng(seed)
    matrix = (
        0.02
        * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        @ np.diag([1, 1 + stretch])
    )
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(50), indexing="ij"), axis=-1)
    pixels = random.uniform(0, 49, (30, 2))
    got = scenes.on_pixel_grid(pixels @ matrix.T + 3, grid @ matrix.T + 3)
    np.testing.assert_allclose(got, pixels, atol=1e-6)


def test_targets_are_discs_with_the_class_of_the_atom() -> None:
    yx = np.array([[20.3, 30.6], [60.0, 60.0], [100.0, 100.0]])
    site, weight, kind = frames.targets(yx, np.array([4, scenes.CLASSES.index("vacancy"), scenes.IGNORED]), 2.2)
    rows, cols = np.indices(site.shape)
    near = [((rows - y) ** 2 + (cols - x) ** 2) <= 2.2**2 for y, x in yx]
    np.testing.assert_array_equal(site, near[0] | near[1])
    assert weight[100, 100] == 0
    assert weight[60, 60] == 2
    assert (kind[rows[near[0]] // 2, cols[near[0]] // 2] == 4).all()
    assert (kind >= 0).sum() < 40


@pytest.mark.parametrize("material", ["graphene", "single atoms", "empty"])
def test_samples_are_finite_and_of_the_right_size(material: str) -> None:
    random = np.random.default_rng(1)
    for scene in scenes.scenes(random, material, 2):
        drawn = frames.draw(random, scene, scene)
        assert np.isfinite(drawn.image).all()
        made = frames.sample(random, drawn)
        assert made.image.shape == made.site.shape == made.weight.shape == (frames.SIDE, frames.SIDE)
        assert np.isfinite(made.image).all()
        within = ((drawn.yx >= 0) & (drawn.yx <= frames.SIDE - 1)).all(axis=1) & (drawn.label >= 0)
        assert (made.site.sum() > 0) == within.any()


def test_a_sample_turns_image_and_targets_alike() -> None:
    yx = np.array([[40.0, 70.0], [200.0, 90.0], [120.0, 30.0]])
    image = np.zeros((frames.SIDE, frames.SIDE), dtype=np.float32)
    image[tuple(yx.astype(int).T)] = 1
    drawn = frames.Drawn(image, yx, np.array([0, 4, 6]), 1.0)
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        made = frames.sample(random, drawn)
        rows, cols = np.nonzero(made.image > 0.5)  # the extra noise has a deviation of 0.04 at most
        assert len(rows) == 3
        assert (made.site[rows, cols] == 1).all()
        assert sorted(made.kind[rows // 2, cols // 2]) == [0, 4, 6]
        seen.add((int(rows[0]), int(cols[0])))
    assert len(seen) > 2


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(0, 60))
def test_crowded_pixels_lie_near_two_atoms(seed: int, count: int) -> None:
    yx = np.random.default_rng(seed).uniform(100, 130, (count, 2))
    rows, cols = np.indices((frames.SIDE, frames.SIDE))
    expected = sum(
        ((rows - y) ** 2 + (cols - x) ** 2 <= frames.GAP_PX**2 for y, x in yx), np.zeros(rows.shape, dtype=int)
    )
    np.testing.assert_array_equal(frames.crowded(yx), expected > 1)


def test_spread_is_that_of_the_speckle_under_bright_atoms() -> None:
    speckle = np.random.default_rng(2).normal(3.0, 0.5, (300, 300)).astype(np.float32)
    speckle[:3] = 50.0  # a hundredth of the pixels
    assert frames.spread(speckle) == pytest.approx(0.5, rel=0.05)  # 22,500 values looked at: 1 % each percentile


def test_thick_carbon_is_brighter_than_its_texture_and_never_negative() -> None:
    random = np.random.default_rng(3)
    scene = next(scenes.scenes(random, "single atoms", 1))
    peak = float(np.median(scene.table[scene.species, 0] * scene.weight))
    for _ in range(8):
        carbon, texture = frames.thick_carbon(random, scene, 0.01)
        assert carbon.shape == scene.fraction.shape
        assert carbon.min() >= 0
        assert 0.02 * peak <= texture <= 0.3 * peak
