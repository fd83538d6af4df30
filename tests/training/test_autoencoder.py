# SPDX-License-Identifier: BSD-3-Clause
"""Networks and training of the autoencoder; needs torch."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")
pytest.importorskip("onnx", reason="exporting needs onnx (extra train)")

from probewise.descriptors import LatentEncoder  # noqa: E402  after the skip
from probewise.inference import PixelRange, load_model  # noqa: E402
from probewise.training.autoencoder import Decoder, Encoder, Invariances, rotate  # noqa: E402
from probewise.training.exporting import encode, export_autoencoder  # noqa: E402
from probewise.training.fit import _Loss, train  # noqa: E402
from probewise.training.harmonics import disc_basis, patch_grid  # noqa: E402

SIDE = 21
# Two patterns of three atoms each, (row, col) px from the middle, with their heights; neither is symmetric.
PATTERNS = (((0, 0, 1.0), (0, 6, 0.7), (5, -4, 0.5)), ((0, 0, 1.0), (0, 6, 0.7), (-3, -5, 0.5)))


def pattern(kind, angle, shift=(0.0, 0.0), side=SIDE):
    """A patch with `kind` turned from the row axis towards the column axis by `angle`."""
    rows, cols = np.mgrid[:side, :side] - (side - 1) / 2
    out = np.zeros((side, side))
    for row, col, height in PATTERNS[kind]:
        y = np.cos(angle) * row - np.sin(angle) * col + shift[0]
        x = np.sin(angle) * row + np.cos(angle) * col + shift[1]
        out += height * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * 2.1**2))
    return out


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(0)
    angle, kind = random.uniform(-np.pi, np.pi, 1500), random.integers(0, 2, 1500)
    patches = np.array([pattern(k, a) for k, a in zip(kind, angle, strict=True)])
    return (patches + random.normal(0, 0.05, patches.shape)).astype(np.float32), angle, kind


@pytest.fixture(scope="module")
def fitted(samples):
    return train(samples[0], Invariances(SIDE, "full", False, 2), steps=200, batch=64, seed=3)


def test_content_tells_kinds_and_not_angles(fitted, samples):
    patches, angle, kind = samples
    mean, _ = encode(fitted.encoder, patches)
    content = mean[:, 3:]
    means = np.stack([content[kind == k].mean(axis=0) for k in (0, 1)])
    axis = means[1] - means[0]
    side = (content - means.mean(axis=0)) @ axis > 0
    assert (side == (kind == 1)).mean() > 0.99
    for k in (0, 1):  # within 10 % of the distance between the kinds, whatever the angle
        for sector in range(4):
            chosen = (kind == k) & (np.floor((angle + np.pi) / (np.pi / 2)) == sector)
            assert np.linalg.norm(content[chosen].mean(axis=0) - means[k]) < 0.1 * np.linalg.norm(axis)


def test_angle_is_recovered_to_five_degrees(fitted, samples):
    patches, angle, kind = samples
    mean, _ = encode(fitted.encoder, patches)
    assert (np.abs(mean[:, 0]) <= np.pi + 1e-6).all()
    for k in (0, 1):
        # Each kind has its own zero.
        apart = np.exp(1j * (mean[kind == k, 0] - angle[kind == k]))
        off = np.degrees(np.angle(apart * np.conj(apart.mean())))
        assert np.sqrt((off**2).mean()) < 5


def test_decoder_draws_what_was_encoded(fitted, samples):
    patches = samples[0][:200]
    mean, _ = encode(fitted.encoder, patches)
    with torch.no_grad():
        drawn = fitted.decoder(torch.from_numpy(mean)).numpy()
    mask = disc_basis(SIDE).mask.reshape(SIDE, SIDE)
    assert (drawn[:, mask == 0] == 0).all()
    left = ((drawn - patches) * mask)[:, mask > 0]
    assert left.std() < 2 * 0.05  # the noise that was added, and as much again


def test_same_seed_same_network(samples):
    chosen = Invariances(SIDE, "full", True, 2)
    first, second, other = (train(samples[0][:200], chosen, steps=3, batch=16, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.encoder.parameters(), other.encoder.parameters(), strict=True)
    )


def test_global_random_state_is_left_alone(samples):
    before = torch.random.get_rng_state()
    train(samples[0][:100], Invariances(SIDE, "none", False, 1), steps=1, batch=8, seed=9)
    assert torch.equal(before, torch.random.get_rng_state())


def test_untrained_encoder_is_invariant_already():
    """The content does not depend on the weights' having learnt it: patches 15 degrees apart have the same."""
    torch.manual_seed(0)
    encoder = Encoder(Invariances(27, "full", False, 3))
    patches = np.array([pattern(0, np.radians(15 * n), side=27) for n in range(24)], dtype=np.float32)
    mean, _ = encode(encoder, patches)
    spread = np.ptp(mean[:, 3:], axis=0)
    other, _ = encode(encoder, np.array([pattern(1, 0.3, side=27)], dtype=np.float32))
    # Left over: the pixels of the rim, which a turn by 15 degrees does not map onto each other.
    assert spread.max() < 0.2 * np.abs(other[0, 3:] - mean[0, 3:]).max()
    steps = np.degrees(np.angle(np.exp(1j * np.diff(mean[:, 0]))))
    assert np.allclose(steps, 15, atol=0.5)


def test_decoder_is_the_pattern_on_the_rotated_and_shifted_grid():
    torch.manual_seed(1)
    decoder = Decoder(Invariances(SIDE, "full", True, 2))
    latents = np.array([[0.7, 0.1, -0.15, 0.3, -1.0]], dtype=np.float32)
    with torch.no_grad():
        drawn = decoder(torch.from_numpy(latents)).numpy()[0]
        coefficients = decoder.pattern(torch.from_numpy(latents[:, 3:])).numpy()[0]
    cosine, sine = np.cos(0.7), np.sin(0.7)
    moved = patch_grid(SIDE) @ np.array([[cosine, sine], [-sine, cosine]]) + latents[0, 1:3]
    basis = disc_basis(SIDE, margin=0.2)
    expected = basis.synthesis(moved) @ coefficients * basis.mask
    assert np.allclose(drawn.ravel(), expected, atol=1e-4)


def test_training_path_agrees_with_the_decoder():
    """Rotation and shift of coefficients, as the loss does them, against the decoder's grid."""
    torch.manual_seed(2)
    chosen = Invariances(27, "full", True, 2)
    encoder, decoder = Encoder(chosen), Decoder(chosen)
    loss = _Loss(encoder, decoder, torch.Generator())
    basis = chosen.drawn
    # A smooth pattern, so that the basis can hold its derivatives.
    line = np.linspace(-1.2, 1.2, 40)
    wide = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    wide = wide[np.linalg.norm(wide, axis=1) <= 1.2]
    values = np.exp(-((wide - (0.2, -0.3)) ** 2).sum(axis=1) / 0.06) + np.exp(-(wide**2).sum(axis=1) / 0.06)
    smooth = np.linalg.lstsq(basis.synthesis(wide), values, rcond=1e-6)[0]
    pose = torch.tensor([[0.9, 0.12, -0.08]])
    with torch.no_grad():
        functions = decoder.functions(pose[:, 0], pose[:, 1:])[0].numpy()
        picture = (functions @ smooth) * basis.mask
        seen = encoder.coefficients(torch.tensor(picture, dtype=torch.float32).reshape(1, 27, 27))[0]
        shifted = loss._shifted(torch.tensor(smooth, dtype=torch.float32)[None], pose[:, 1:])
        path = (rotate(shifted, pose[:, 0], decoder.order) @ loss.seen_of_drawn.T)[0]
    assert float(((path - seen) ** 2).sum() / (seen**2).sum()) < 5e-3


def test_translation_takes_the_place_out_of_the_content(samples):
    random = np.random.default_rng(5)
    kind = random.integers(0, 2, 1000)
    patches = np.array([pattern(k, 0.0, random.uniform(-2, 2, 2)) for k in kind])
    patches = (patches + random.normal(0, 0.03, patches.shape)).astype(np.float32)
    fitted = train(patches, Invariances(SIDE, "none", True, 1), steps=150, batch=48, seed=0)
    mean, _ = encode(fitted.encoder, patches)
    assert abs(np.corrcoef(mean[:, 3], kind)[0, 1]) > 0.9
    assert (mean[:, 0] == 0).all()


@pytest.mark.parametrize("rotation", ["full", "small", "none"])
def test_export_runs_like_torch(tmp_path, samples, rotation):
    patches = samples[0][:300]
    fitted = train(patches, Invariances(SIDE, rotation, rotation == "small", 2), steps=4, batch=32)
    encoder, decoder = export_autoencoder(
        fitted,
        tmp_path,
        "mini",
        patches,
        pixel_nm=PixelRange(0.02, 0.01, 0.03),
        symmetry=3,
        recipe={"command": "test"},
        metrics={"probe": 0.5},
    )
    assert (encoder.name, decoder.name) == ("mini-encoder.onnx", "mini-decoder.onnx")
    latents = LatentEncoder(encoder)(patches)
    mean, spread = encode(fitted.encoder, patches)
    assert np.allclose(latents.z, mean[:, 3:], atol=2e-4)
    assert np.allclose(latents.log_std, spread, atol=2e-4)
    model = load_model(decoder)
    with torch.no_grad():
        drawn = fitted.decoder(torch.from_numpy(mean)).numpy()
    assert np.allclose(model.run(mean)[0], drawn, atol=2e-4)
    card = load_model(encoder).card
    assert (card.opset, card.latent.rotation, card.latent.symmetry) == (18, rotation, 3)
    assert card.metrics["probe"] == 0.5
    assert np.allclose(card.ood["content_mean"], mean[:, 3:].mean(axis=0), atol=1e-3)
    assert str(tmp_path).encode() not in encoder.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side_px": 4}, "side_px is 4"),
        ({"rotation": "some"}, "rotation is 'some'"),
        ({"content": 0}, "content is 0"),
        ({"shift_prior": float("nan")}, "shift_prior is nan"),
    ],
)
def test_wrong_invariances_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Invariances(SIDE), **changes)


@pytest.mark.parametrize(
    ("patches", "error", "message"),
    [
        (np.zeros((9, SIDE, SIDE)), TypeError, "patches is float64"),
        (np.zeros((9, SIDE, 5), np.float32), ValueError, "patches has shape"),
        (np.full((9, SIDE, SIDE), np.nan, np.float32), ValueError, "not finite"),
        (np.zeros((9, SIDE, SIDE), np.float32), ValueError, "constant"),
    ],
)
def test_wrong_patches_are_refused(patches, error, message):
    with pytest.raises(error, match=message):
        train(patches, Invariances(SIDE), steps=1)
