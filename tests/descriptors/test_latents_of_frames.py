# SPDX-License-Identifier: BSD-3-Clause
"""Windows and surroundings of atoms, cut out of frames, to latent variables."""

import numpy as np
import pytest

import probewise as pw
from pixel_encoder import SIDE, encoder
from probewise.descriptors import LatentWorkflow, cut_patches, latent_workflow
from probewise.inference import PixelRange
from probewise.types import Atoms, NetworkInput


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


@pytest.mark.parametrize(
    ("shape", "how", "taken"), [((30, 24), "robust", True), ((30, 25), "robust", False), ((30, 24), "minmax", False)]
)
def test_patches_are_cut_from_what_the_eyes_were_shown_where_the_encoder_is_shown_the_same(tmp_path, shape, how, taken):
    own = encoder(tmp_path, pixel_nm=PixelRange(0.04, 0.01, 0.05))
    frame = pw.render("mos2", pw.RasterROI((60, 48), 4000), seed=1, context=pw.Context((2.4 / 2, 1.92 / 2)))
    yx, label, score = np.array([[20.25, 30.5], [40.0, 21.0]]), np.zeros(2, dtype=np.int64), np.ones(2)
    marked = NetworkInput(np.full(shape, 7.0, dtype=np.float32), how)
    blind, shown = (
        LatentWorkflow(own, lambda _, given=given: Atoms(yx, label, score, shown=given)).describe(frame)
        for given in (None, marked)
    )
    assert (shown.features == 7).all() if taken else np.array_equal(shown.features, blind.features)
    assert np.array_equal(shown.centre_yx, blind.centre_yx)


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
