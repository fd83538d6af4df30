# SPDX-License-Identifier: BSD-3-Clause
"""Patches to latent variables and to the value of a site, by an encoder whose variables are single pixels."""

import numpy as np
import pytest

import probewise as pw
import tiny_models as tiny
from pixel_encoder import SIDE, described, encoder, patches_of, sites
from probewise.descriptors import LatentEncoder, LatentWorkflow, angle_terms


def test_encoder_splits_the_variables(pixels):
    rows = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    latents = pw.LatentEncoder(pixels.model)(patches_of(rows))
    assert np.array_equal(latents.angle, rows[:, 0])
    assert np.array_equal(latents.shift, rows[:, 1:3])
    assert np.array_equal(latents.z, rows[:, 3:])
    assert np.array_equal(latents.log_std, -rows)


def test_more_patches_than_one_call_takes(pixels, monkeypatch):
    sizes = []
    run = pixels.model.run
    monkeypatch.setattr(pixels.model, "run", lambda x: sizes.append(len(x)) or run(x))
    rows = np.random.default_rng(0).normal(size=(5000, 6)).astype(np.float32)
    assert np.array_equal(pixels(patches_of(rows)).z, rows[:, 3:])
    assert sizes == [4096, 904]


def test_no_patches_give_no_latents(pixels):
    latents = pixels(np.empty((0, SIDE, SIDE), np.float32))
    assert (len(latents), latents.shift.shape, latents.log_std.shape) == (0, (0, 2), (0, 6))


@pytest.mark.parametrize(
    ("patches", "error", "message"),
    [
        (np.zeros((2, SIDE, SIDE)), TypeError, "patches is float64"),
        (np.zeros((2, SIDE, 5), np.float32), ValueError, r"patches has shape \(2, 6, 5\), expected \(n, 6, 6\)"),
        (np.zeros((SIDE, SIDE), np.float32), ValueError, "patches has shape"),
        (np.full((2, SIDE, SIDE), np.nan, np.float32), ValueError, "patches holds 72 values that are not finite"),
        ([[1.0]], TypeError, "patches is a list"),
    ],
)
def test_wrong_patches_are_refused(pixels, patches, error, message):
    with pytest.raises(error, match=message):
        pixels(patches)


def test_another_kind_of_model_is_refused(tmp_path):
    path = tiny.write(tmp_path, tiny.as_model(tiny.segmenter_graph()))
    with pytest.raises(ValueError, match="model is of kind 'segments', expected an encoder"):
        LatentEncoder(path)


def test_angle_terms_do_not_see_the_symmetry():
    angle = np.linspace(-np.pi, np.pi, 50)
    terms = angle_terms(angle, 3)
    assert np.allclose(terms, angle_terms(angle + 2 * np.pi / 3, 3))
    assert np.allclose(np.exp(3j * angle), terms[:, 0] + 1j * terms[:, 1])
    with pytest.raises(ValueError, match="symmetry is 0"):
        angle_terms(angle, 0)


def test_columns_are_content_angle_and_outlier(pixels):
    workflow = LatentWorkflow(pixels)
    rows = sites()
    descriptions = [described(workflow, one, area_nm2=8.0) for one in rows]
    workflow.fit(descriptions)
    names = ("content 0", "content 1", "content 2", "angle cos", "angle sin", "angle discord", "outlier", "density")
    assert workflow.columns == names
    values = workflow.values(descriptions[3])
    assert np.allclose(values[:, :3], rows[3][:, 3:], atol=1e-6)
    assert np.allclose(values[:, 3:5], angle_terms(rows[3][:, 0], 3), atol=1e-5)
    assert np.allclose(values[:, 6], workflow.residual(descriptions[3]))
    assert np.allclose(values[:, 7], 40 / 8.0)


def test_an_encoder_without_rotation_has_no_angle(tmp_path):
    workflow = LatentWorkflow(encoder(tmp_path, rotation="none", symmetry=None))
    assert "angle cos" not in workflow.columns


def test_rare_content_is_followed_of_windows_and_outliers_of_atoms(pixels):
    about_atoms = LatentWorkflow(pixels, lambda frame: None)
    assert about_atoms.fit([described(about_atoms, one) for one in sites()]).name == "outlier"
    workflow = LatentWorkflow(pixels)
    descriptions = [described(workflow, one) for one in sites(odd=(2, 9))]
    report = workflow.fit(descriptions)
    assert report.name == "content 1"
    values = np.array([workflow.value(one) for one in descriptions])
    assert set(np.argsort(values)[-2:]) == {2, 9}


def test_outliers_are_counted(pixels):
    workflow = LatentWorkflow(pixels, component="outlier")
    rows = sites(odd=(2, 9))
    descriptions = [described(workflow, one) for one in rows]
    report = workflow.fit(descriptions)
    assert report.name == "outlier"
    values = np.array([workflow.value(one) for one in descriptions])
    assert values[[2, 9]].tolist() == [3 / 4, 3 / 4]  # of 4 nm^2
    assert np.delete(values, [2, 9]).max() == 0
    assert (np.argsort(workflow.residual(descriptions[2]))[-3:] < 3).all()
    fewer = LatentWorkflow(pixels, component="outlier", sense="minimise")
    fewer.fit(descriptions)
    assert fewer.value(descriptions[2]) == -3 / 4


def test_what_is_counted_is_told_by_cell(pixels):
    """Three outliers in one quarter of the frame; content is told of each patch where it lies."""
    rows = sites(odd=(2,))
    places = np.array([[0.2, 0.7]] * 3 + [[0.8, 0.3]] * 37)
    areas = np.array([1.0, 2.0, 4.0, 0.0])
    for component, expected in (("outlier", [0, 3 / 2, 0]), ("density", [0, 3 / 2, 37 / 4])):
        workflow = LatentWorkflow(pixels, component=component, sense="maximise")
        seen = [workflow.describe_patches(patches_of(one), places, area_nm2=areas) for one in rows]
        workflow.fit(seen)
        values, centres = workflow.told(seen[2])
        assert centres.tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25]]  # no patch reaches into the fourth
        assert values.tolist() == expected
        assert workflow.value(seen[2]) == (3 if component == "outlier" else 40) / 7
    workflow = LatentWorkflow(pixels, component="content 1", sense="maximise")
    workflow.fit(seen)
    values, centres = workflow.told(seen[2])
    assert np.array_equal(values, rows[2, :, 4].astype(np.float64))
    assert np.array_equal(centres, places)


def test_what_the_median_site_holds_is_no_outlier(pixels):
    """Content with tails far longer than normal: few patches of any site pass, but for those put in."""
    rows = sites(count=21, odd=(2, 9))
    rows[:, :, 3:] *= np.random.default_rng(5).standard_t(2, rows[:, :, :1].shape).astype(np.float32)
    rows[[2, 9], :3, 4] = 500
    workflow = LatentWorkflow(pixels, component="outlier")
    descriptions = [described(workflow, one) for one in rows]
    workflow.fit(descriptions)
    farthest = [workflow.residual(one).max() for one in descriptions]
    assert workflow.outlier_limit == np.median(farthest)
    values = np.array([workflow.value(one) for one in descriptions])
    assert (values > 0).sum() == 10
    assert set(np.argsort(values)[-2:]) == {2, 9}


def test_outliers_are_so_among_their_own_kind(pixels):
    """Two kinds of atoms far apart in content: neither is an outlier, a third and rare one is."""
    rows = sites(atoms=60)
    label = np.tile(np.arange(60) % 2, (len(rows), 1))
    rows[:, 1::2, 3:] += 20
    rows[:, 1::2, 4] *= 5
    rows[4, :2, 3:] = 50
    label[4, :2] = 7
    workflow = LatentWorkflow(pixels, component="outlier")
    centres = np.random.default_rng(1).random((60, 2))
    descriptions = [
        workflow.describe_patches(patches_of(one), centres, area_nm2=1.0, label=kind)
        for one, kind in zip(rows, label, strict=True)
    ]
    workflow.fit(descriptions)
    values = [workflow.value(one) for one in descriptions]
    assert values[4] == 2
    assert sum(values) == 2
    again = LatentWorkflow(pixels, component="outlier")
    again.restore(workflow.state())
    assert [again.value(one) for one in descriptions] == values


def test_discord_is_high_where_two_orientations_meet(pixels):
    """A square lattice of atoms, the left half at one angle and the right half at another; 120 degrees are nothing."""
    y, x = (np.mgrid[:10, :10] + 0.5) / 10
    rows = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    rows[:, 0] = np.where(x.ravel() < 0.5, 0.2, 0.2 + np.pi / 3)
    rows[::7, 0] += 2 * np.pi / 3
    workflow = LatentWorkflow(pixels, component="angle discord")
    description = workflow.describe_patches(patches_of(rows), np.stack([y.ravel(), x.ravel()], axis=1), area_nm2=1.0)
    workflow.fit([description])
    discord = description.extra["angle discord"].reshape(10, 10)
    assert (discord[:, 4:6] > 0.2).all()
    assert np.allclose(discord[:, [0, 1, 2, 7, 8, 9]], 0, atol=1e-6)
    assert np.isclose(abs(workflow.value(description)), discord.mean())


def test_template_patch_picks_its_unusual_content(pixels):
    template = patches_of([[0, 0, 0, 0.3, -0.2, 9.0]])[0]
    workflow = LatentWorkflow(pixels, component=template)
    assert workflow.fit([described(workflow, one) for one in sites()]).name == "content 2"


@pytest.mark.parametrize("rule", ["max-variance", 1, lambda values: 1, lambda values: values.shape[1] - 7, "content 1"])
def test_other_rules(pixels, rule):
    rows = sites()
    rows[:, :, 4] *= 3
    workflow = LatentWorkflow(pixels, component=rule)
    assert workflow.fit([described(workflow, one) for one in rows]).name == "content 1"


def test_a_site_without_atoms(pixels):
    rows = sites()
    for component, expected in (("outlier", 0.0), ("density", 0.0)):
        workflow = LatentWorkflow(pixels, component=component)
        empty = described(workflow, rows[0][:0], area_nm2=4.0)
        workflow.fit([*(described(workflow, one, area_nm2=4.0) for one in rows), empty])
        assert workflow.value(empty) == expected
        assert workflow.residual(empty).tolist() == [0]
    assert workflow.value(described(workflow, rows[0], area_nm2=4.0)) == 10.0


def test_state_restores_to_the_bit(pixels):
    workflow = LatentWorkflow(pixels, component="outlier")
    descriptions = [described(workflow, one) for one in sites(odd=(1,))]
    workflow.fit(descriptions)
    again = LatentWorkflow(None, component="outlier")  # as a finished run is read
    again.restore(workflow.state())
    assert again.fitted
    assert again.columns == workflow.columns
    assert [again.value(one) for one in descriptions] == [workflow.value(one) for one in descriptions]
    kept, restored = (one.values(descriptions[1]) for one in (workflow, again))
    assert np.array_equal(kept, restored, equal_nan=True)
    assert again.state()["encoder"] == pixels.model.card.sha256
    with pytest.raises(ValueError, match="state has encoder"):
        LatentWorkflow(pixels).restore({**workflow.state(), "encoder": "0" * 64})


def test_refit_after_sites_or_when_one_is_unlike(pixels):
    workflow = LatentWorkflow(pixels, refit_every=5)
    descriptions = [described(workflow, one) for one in sites()]
    assert not workflow.needs_refit([np.ones(1)])
    workflow.fit(descriptions)
    residuals = [workflow.residual(one) for one in descriptions]
    assert not workflow.needs_refit([])
    assert not workflow.needs_refit(residuals[:4])
    assert workflow.needs_refit(residuals[:5])
    strange = described(workflow, sites(count=1)[0] + 30)
    assert workflow.needs_refit([workflow.residual(strange)])
    report = workflow.fit([*descriptions, strange])
    assert report.mapping.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: LatentWorkflow(w._encoder, step_px=0), "step_px is 0"),
        (lambda w: LatentWorkflow(w._encoder, refit_every=0), "refit_every is 0"),
        (lambda w: LatentWorkflow(w._encoder, sense="up"), "sense is 'up'"),
        (lambda w: w.fit([]), "descriptions is empty"),
        (lambda w: w.state(), "no statistics yet"),
        (lambda w: LatentWorkflow(w._encoder, cells=0), "cells is 0"),
        (lambda w: LatentWorkflow(w._encoder, component="gold"), "got 'gold', expected an index, a template or one of"),
        (lambda w: LatentWorkflow(None).columns, "no encoder, expected one or restore"),
        (
            lambda w: LatentWorkflow(None).describe_patches(patches_of([[0] * 6]), np.zeros((1, 2)), area_nm2=1),
            "encoder",
        ),
        (
            lambda w: w.describe_patches(patches_of([[0] * 6]), np.zeros((2, 2)), area_nm2=1),
            r"centre_yx has shape \(2, 2\)",
        ),
        (lambda w: w.describe_patches(patches_of([[0] * 6]), np.zeros((1, 2)), area_nm2=0), "area_nm2 is 0"),
        (lambda w: w.describe_patches(patches_of([[0] * 6]), np.zeros((1, 2)), area_nm2=np.ones(3)), "or 4 of them"),
        (
            lambda w: w.describe_patches(patches_of([[0] * 6]), np.zeros((1, 2)), area_nm2=1, label=np.zeros(2, int)),
            "label is int64",
        ),
    ],
)
def test_wrong_arguments_are_refused(pixels, call, message):
    with pytest.raises(ValueError, match=message):
        call(LatentWorkflow(pixels))
