# SPDX-License-Identifier: BSD-3-Clause
"""Patches to latent variables and to the value of a site, by an encoder whose variables are single pixels."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import probewise as pw
import tiny_models as tiny
from probewise.descriptors import LatentEncoder, LatentWorkflow, angle_terms, cut_patches, latent_workflow
from probewise.inference import LatentLayout, ModelInput, ModelOutput, PixelRange
from probewise.types import Atoms

SIDE = 6
# Pixels that angle, shift y, shift x and three contents are read from.
PIXELS = (0, 1, 2, 3, 4, 5)


def encoder(folder, *, rotation="full", symmetry=3, pixel_nm=None):
    """z_mean = the first row of the patch, z_logsd = its negative."""
    weights = np.zeros((SIDE * SIDE, 6), np.float32)
    weights[PIXELS, range(6)] = 1
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"], axis=1),
            helper.make_node("MatMul", ["f", "w"], ["z_mean"]),
            helper.make_node("Neg", ["z_mean"], ["z_logsd"]),
        ],
        "pixels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6]) for name in ("z_mean", "z_logsd")],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    card = tiny.segmenter_card(
        kind="encoder",
        input=ModelInput("x", "NHW", 1, SIDE),
        outputs=(ModelOutput("z_mean", "none", 1), ModelOutput("z_logsd", "none", 1)),
        classes=(),
        background="absent",
        pixel_nm=pixel_nm,
        latent=LatentLayout(rotation, True, 3, symmetry),
    )
    return LatentEncoder(tiny.write(folder, tiny.as_model(graph), card))


@pytest.fixture
def pixels(tmp_path):
    return encoder(tmp_path)


def patches_of(rows):
    """Patches whose first row is given, (n, 6)."""
    out = np.zeros((len(rows), SIDE, SIDE), np.float32)
    out[:, 0] = rows
    return out


def sites(count=14, atoms=40, odd=(), seed=0):
    """First rows (atoms, 6) of each site; sites in `odd` hold three atoms with content 1 far away."""
    random = np.random.default_rng(seed)
    out = random.normal(0, 1, (count, atoms, 6)).astype(np.float32)
    out[:, :, 0] = random.uniform(-np.pi, np.pi, (count, atoms))
    for site in odd:
        out[site, :3, 4] += 15
    return out


def described(workflow, rows, area_nm2=4.0):
    centres = np.random.default_rng(1).random((len(rows), 2))
    return workflow.describe_patches(patches_of(rows), centres, area_nm2=area_nm2)


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


def test_windows_of_a_frame(tmp_path):
    """describe(): the frame resampled to the card's pixels, scaled, cut into windows from edge to edge."""
    own = encoder(tmp_path, pixel_nm=PixelRange(0.04, 0.01, 0.05))
    workflow = LatentWorkflow(own, step_px=6)
    frame = pw.render("mos2", pw.RasterROI((60, 48), 4000), seed=1, context=pw.Context((2.4 / 2, 1.92 / 2)))
    description = workflow.describe(frame)
    from probewise.image import network_input, resample

    scaled, _ = network_input(resample(frame.image(), (30, 24)))
    assert description.centre_yx.shape == (5 * 4, 2)
    assert np.allclose(description.centre_yx[0], [3 / 30, 3 / 24])
    assert np.allclose(description.features[0], scaled[0, :6])
    assert np.allclose(description.features[5], scaled[6, 6:12])


def test_patches_about_the_atoms_of_a_frame(tmp_path):
    """describe() with eyes: patches in the middle of the network's pixels, labels kept, those at the rim left out."""
    own = encoder(tmp_path, pixel_nm=PixelRange(0.04, 0.01, 0.05))
    frame = pw.render("mos2", pw.RasterROI((60, 48), 4000), seed=1, context=pw.Context((2.4 / 2, 1.92 / 2)))
    yx = np.array([[20.25, 30.5], [1.0, 30.0], [40.0, 11.0]])
    seen = Atoms(yx, np.array([1, 1, 0]), np.ones(3), ("S", "Mo"))
    workflow = LatentWorkflow(own, lambda _: seen, cells=3)
    description = workflow.describe(frame)
    from probewise.image import extract_patches, network_input, resample

    scaled, _ = network_input(resample(frame.image(), (30, 24)))
    expected, kept = extract_patches(scaled, (yx + 0.5) / 2 - 0.5, SIDE, subpixel=True)
    assert kept.tolist() == [0, 2]
    assert np.allclose(description.features, expected[:, 0, :6], atol=1e-6)
    assert np.allclose(description.centre_yx, (yx[kept] + 0.5) / [60, 48])
    assert description.extra["label"].tolist() == [1, 0]
    # Centres of patches of 6 pixels can lie 3 pixels of 0.04 nm from each edge, or farther in.
    heights = np.array([10 - 3, 10, 10 - 3]) * 0.04
    widths = np.array([8 - 3, 8, 8 - 3]) * 0.04
    assert np.allclose(description.extra["area_nm2"], np.outer(heights, widths).ravel())


@pytest.mark.parametrize(("how", "low", "high"), [("none", 3.0, 8.0), ("minmax", 0.0, 1.0)])
def test_windows_are_scaled_as_the_card_says(tmp_path, how, low, high):
    image = np.linspace(3, 8, 64, dtype=np.float32).reshape(8, 8)
    out = cut_patches.scaled(image, how)
    assert np.allclose(out, np.linspace(low, high, 64).reshape(8, 8), atol=1e-6)
    assert out.dtype == np.float32


def test_a_frame_smaller_than_a_patch_has_no_window(pixels):
    frame = pw.render("mos2", pw.RasterROI((5, 9), 4000), seed=1, context=pw.Context((0.1, 0.18)))
    with pytest.raises(ValueError, match="window is 6, expected one that fits in 5 x 9"):
        LatentWorkflow(pixels).describe(frame)


class Drawer:
    """A decoder: every pixel of a patch is its content 0 plus ten times content 1 plus a hundred times content 2."""

    def __init__(self):
        self.calls = []

    def run(self, latents):
        self.calls.append(latents)
        level = latents[:, 3:] @ np.array([1, 10, 100], np.float32)
        return (np.broadcast_to(level[:, None, None], (len(level), SIDE, SIDE)).copy(),)


def test_the_picture_to_choose_from_shows_what_the_decoder_draws(tmp_path, monkeypatch):
    own = encoder(tmp_path)
    drawer = Drawer()
    workflow = LatentWorkflow(own, decoder=drawer)
    frames = [
        pw.render("mos2", pw.RasterROI((48, 48), 4000), seed=seed, context=pw.Context((1.2, 1.2))) for seed in (1, 2, 3)
    ]
    descriptions = [workflow.describe(frame) for frame in frames]
    workflow.fit(descriptions)
    drawn = []
    draw = latent_workflow.columns_picture
    monkeypatch.setattr(
        latent_workflow, "columns_picture", lambda *args, **named: drawn.append((args, named)) or draw(*args, **named)
    )
    workflow.picture(descriptions, frames, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    (arguments, named), content = drawn[0], np.concatenate([one.features[:, 3:] for one in descriptions])
    assert arguments[4] == (SIDE / 48, SIDE / 48)
    manifold = named["manifold"]
    low, high = np.percentile(content[:, :2], (1, 99), axis=0)
    first, second = np.linspace(low[0], high[0], 7), np.linspace(low[1], high[1], 7)
    expected = first[None] + 10 * second[:, None] + 100 * np.median(content[:, 2])
    assert np.allclose(manifold.drawn[:, :, 0, 0], expected, rtol=1e-4)
    assert not np.concatenate(drawer.calls)[:, :3].any()
    with pytest.raises(ValueError, match="3 descriptions and 2 frames"):
        workflow.picture(descriptions, frames[:2], tmp_path / "q.png")


def test_frames_off_the_range_are_refused(tmp_path):
    workflow = LatentWorkflow(encoder(tmp_path, pixel_nm=PixelRange(0.1, 0.05, 0.2)))
    frame = pw.render("mos2", pw.RasterROI((60, 60), 4000), seed=1, context=pw.Context((1.2, 1.2)))
    with pytest.raises(ValueError, match="frame has pixels of"):
        workflow.describe(frame)


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
