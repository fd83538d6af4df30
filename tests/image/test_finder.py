# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import numpy as np
import pytest
from scipy import ndimage

import probewise as pw
from probewise.image import AtomFinder, network_input
from probewise.image.contrast import stand_out
from probewise.inference import Card, ModelInput, ModelOutput, PixelRange
from probewise.types import Context, Frame, RasterROI

CARD = Card(
    name="fake",
    kind="atoms",
    sha256="0" * 64,
    size_bytes=1,
    opset=17,
    input=ModelInput("frames", "N1HW", 8, None),
    outputs=(ModelOutput("presence", "sigmoid", 1), ModelOutput("classes", "softmax", 2)),
    classes=("C", "Si"),
    background="absent",
    pixel_nm=PixelRange(0.02, 0.01, 0.04),
    normalisation="robust",
    latent=None,
    ood=None,
    licence="BSD-3-Clause",
    recipe={},
    metrics={},
)
AS_ATOMAI = dataclasses.replace(
    CARD, outputs=(ModelOutput("logits", "none", 1),), background="last", pixel_nm=None, normalisation="minmax"
)


class FakeModel:
    """Bright pixels are atoms; very bright ones are the second class. `blur` stands for another training."""

    def __init__(self, card=CARD, gain=1.0):
        self.card = card
        self.gain = gain
        self.seen = []

    def run(self, x):
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert all(n % self.card.input.multiple_of == 0 for n in x.shape[2:])
        self.seen.append(x)
        frame = x[:, 0]
        present = np.clip(self.gain * frame, 0, 1)
        if len(self.card.outputs) == 2:
            coarse = frame.reshape(len(frame), frame.shape[1] // 2, 2, frame.shape[2] // 2, 2).max(axis=(2, 4))
            second = (coarse > 0.75).astype(np.float32)
            return present[:, None], np.stack([1 - second, second], axis=1)
        return (np.stack([20 * frame - 10, np.full_like(frame, -50), 10 - 20 * frame], axis=1),)


def peaks(shape, points, heights, width):
    y, x = np.indices(shape)
    image = np.zeros(shape)
    for (row, col), height in zip(points, heights, strict=True):
        image += height * np.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * width**2))
    return (1000 * image + 100).astype(np.float32)


def grid_points(rows, cols, spacing):
    axes = [np.arange(spacing / 2, n - spacing / 2 + 1e-9, spacing) for n in (rows, cols)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def matched(found, points):
    """Distances (n,) from each point to the nearest atom, which has to be another for each."""
    distance = np.linalg.norm(found[:, None] - points[None], axis=2)
    assert len(found) == len(points)
    assert len(set(distance.argmin(axis=0))) == len(points)
    return distance.min(axis=0)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("pixel_nm", [0.01, 0.02, 0.03, (0.02, 0.035), 0.04])
def test_positions_are_those_of_the_given_image_at_any_pixel_size(pixel_nm, refine):
    size = np.broadcast_to(pixel_nm, 2)
    shape = (97, 110)
    points_nm = grid_points(*(np.array(shape) * size), 0.32)
    points = points_nm / size - 0.5
    y, x = np.indices(shape)
    image = np.full(shape, 100.0)
    for row, col in points:
        image += 1000 * np.exp(-(((y - row) * size[0]) ** 2 + ((x - col) * size[1]) ** 2) / (2 * 0.06**2))
    atoms = AtomFinder(FakeModel(), refine=refine)(image.astype(np.float32), pixel_nm=pixel_nm)
    # Centroids of thresholded pixels are good to a fraction of a native pixel; the wrong convention would be off by
    # half of the difference between both pixel sizes. The fit has one width for both axes, which square pixels have.
    best = 0.25 if size[0] != size[1] else 0.1
    assert matched(atoms.yx, points).max() < (best if refine else 0.2 * max(1, 0.02 / size.min()))


def test_a_vacancy_stays_where_the_network_sees_it():
    points = grid_points(64, 64, 16.0) + np.array([0.3, -0.2])
    image = peaks((64, 64), points, np.where(np.arange(len(points)) % 3 == 0, 1.0, 0.6), 2.0)
    model = FakeModel(dataclasses.replace(CARD, classes=("C", "vacancy")))
    seen, fitted = AtomFinder(model, refine=False)(image), AtomFinder(model, refine=True)(image)
    vacancy = seen.label == 1
    assert vacancy.any()
    assert (~vacancy).any()
    np.testing.assert_array_equal(fitted.yx[vacancy], seen.yx[vacancy])
    assert (fitted.yx[~vacancy] != seen.yx[~vacancy]).any(axis=1).all()


def test_frames_are_padded_by_reflection_and_no_atom_comes_from_the_padding():
    points = grid_points(61, 51, 12.0)
    model = FakeModel()
    atoms = AtomFinder(model, refine=False)(peaks((61, 51), points, np.ones(len(points)), 2.0))
    assert matched(atoms.yx, points).max() < 0.1
    given = model.seen[0][0, 0]
    assert given.shape == (64, 56)
    np.testing.assert_array_equal(given[61:], given[58:61][::-1])
    np.testing.assert_array_equal(given[:, 51:], given[:, 46:51][:, ::-1])


def test_labels_come_from_the_class_maps_and_scores_from_presence():
    points = grid_points(64, 64, 16.0)
    heights = np.where(np.arange(len(points)) % 3 == 0, 1.0, 0.6)
    image = peaks((64, 64), points, heights, 2.0)
    finder = AtomFinder(FakeModel(), refine=False)
    atoms = finder(image)
    order = np.linalg.norm(atoms.yx[:, None] - points[None], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(atoms.label, (heights[order] == 1.0).astype(int))
    assert atoms.classes == ("C", "Si")
    assert ((atoms.score > 0.5) & (atoms.score <= 1)).all()
    maps = finder.maps(image)
    np.testing.assert_allclose(maps.probability[0], np.clip(network_input(image)[0], 0, 1))
    assert not maps.deviation.any()
    assert maps.classes.shape == (2, 32, 32)


def test_a_net_with_background_and_logits_has_them_turned_into_probabilities():
    points = grid_points(64, 64, 16.0)
    image = peaks((64, 64), points, np.ones(len(points)), 2.0)
    finder = AtomFinder(FakeModel(AS_ATOMAI), refine=False)
    maps = finder.maps(image)
    frame = ((image - image.min()) / (image.max() - image.min())).astype(np.float64)
    logits = np.stack([20 * frame - 10, np.full_like(frame, -50.0), 10 - 20 * frame])
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(maps.probability, expected[:2], atol=1e-5)
    assert maps.classes is None
    atoms = finder(image)
    assert matched(atoms.yx, points).max() < 0.1
    assert (atoms.label == 0).all()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "log_softmax"])
def test_what_the_graph_has_applied_is_not_applied_again(activation):
    card = dataclasses.replace(AS_ATOMAI, outputs=(ModelOutput("p", activation, 1),))

    class Applied(FakeModel):
        def run(self, x):
            p = np.clip(x[:, 0], 0.001, 0.999)
            out = np.stack([p, np.full_like(p, 1e-6), 1 - p], axis=1)
            return (np.log(out) if activation == "log_softmax" else out,)

    image = peaks((32, 32), grid_points(32, 32, 16.0), np.ones(4), 2.0)
    maps = AtomFinder(Applied(card)).maps(image)
    frame = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(maps.probability[0], np.clip(frame, 0.001, 0.999), atol=1e-5)


def test_an_ensemble_gives_mean_and_deviation_and_lowers_scores():
    points = grid_points(64, 64, 16.0)
    image = peaks((64, 64), points, np.ones(len(points)), 2.0)
    alone = AtomFinder(FakeModel(gain=1.0), refine=False)
    other = AtomFinder(FakeModel(gain=0.7), refine=False)
    both = AtomFinder([FakeModel(gain=1.0), FakeModel(gain=0.7)], refine=False)
    first, second, maps = (finder.maps(image) for finder in (alone, other, both))
    stacked = np.stack([first.probability, second.probability]).astype(np.float64)
    np.testing.assert_allclose(maps.probability, stacked.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(maps.deviation, stacked.std(axis=0), atol=1e-6)
    mean = pw.find_atoms(maps.probability)
    atoms = both(image)
    np.testing.assert_array_equal(atoms.yx, mean.yx)
    at = tuple(np.rint(mean.yx).astype(int).T)
    np.testing.assert_allclose(atoms.score, mean.score - maps.deviation[0][at], atol=1e-6)
    assert (atoms.score < mean.score).all()


def test_a_frame_brings_its_pixel_size_and_first_channel():
    points = grid_points(64, 64, 16.0)
    image = peaks((64, 64), points, np.ones(len(points)), 2.0)
    scan = RasterROI((64, 64), 1000)

    def frame(side_nm):
        return Frame(
            np.stack([image, np.zeros_like(image)]), ("HAADF", "BF"), Context((side_nm,) * 2), scan, 0, 0, 1, 64 * 64
        )

    finder = AtomFinder(FakeModel(), refine=False)
    np.testing.assert_array_equal(finder(frame(1.28)).yx, finder(image, pixel_nm=0.02).yx)
    with pytest.raises(pw.ConfigurationError, match=r"pixel_nm is 0.1 x 0.1, expected 0.01 to 0.04 nm.*model fake"):
        finder(frame(6.4))


def test_an_empty_frame_has_no_atoms():
    rng = np.random.default_rng(0)
    atoms = AtomFinder(FakeModel())(rng.normal(100, 3, (64, 64)).astype(np.float32) * 0 + 7)
    assert len(atoms) == 0
    assert atoms.yx.shape == (0, 2)
    assert atoms.classes == ("C", "Si")


def test_pixel_sizes_and_images_outside_the_contract_are_refused():
    finder = AtomFinder(FakeModel())
    image = np.zeros((16, 16), dtype=np.float32)
    for pixel in (0.005, 0.05, (0.02, 0.05)):
        with pytest.raises(pw.ConfigurationError, match=r"expected 0\.01 to 0\.04 nm, the range of model fake"):
            finder(image, pixel_nm=pixel)
    for pixel in (0.0, -1.0, np.nan, (0.02, np.inf)):
        with pytest.raises(ValueError, match="pixel_nm is"):
            finder(image, pixel_nm=pixel)
    with pytest.raises(TypeError, match="image is a float64 array"):
        finder(image.astype(np.float64))
    with pytest.raises(ValueError, match="image has shape"):
        finder(image[0])
    image[3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        finder(image)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="threshold is 1"):
        AtomFinder(FakeModel(), threshold=1)
    with pytest.raises(ValueError, match="empty sequence"):
        AtomFinder([])
    segments = dataclasses.replace(AS_ATOMAI, kind="segments")
    with pytest.raises(pw.ConfigurationError, match="of kind segments, expected atoms"):
        AtomFinder(FakeModel(segments))
    for change, name in (
        ({"classes": ("C", "B")}, "classes"),
        ({"pixel_nm": None}, "pixel_nm"),
        ({"normalisation": "none"}, "normalisation"),
    ):
        with pytest.raises(pw.ConfigurationError, match=f"has {name} "):
            AtomFinder([FakeModel(), FakeModel(dataclasses.replace(CARD, **change))])
    strides = dataclasses.replace(CARD, outputs=(CARD.outputs[0], ModelOutput("classes", "softmax", 4)))
    with pytest.raises(pw.ConfigurationError, match="output strides"):
        AtomFinder([FakeModel(), FakeModel(strides)])


def test_the_finder_asks_the_counts():
    points = grid_points(128, 128, 10.0)
    assert len(points) > 120
    height = np.ones(len(points))
    missing = np.flatnonzero(((points > 30) & (points < 100)).all(axis=1))[::9]
    height[missing] = 0.5
    image = peaks((128, 128), points, height, 2.0)
    model = FakeModel(dataclasses.replace(CARD, classes=("TMD chalcogen", "vacancy")))
    model.run = lambda x, run=model.run: (run(x)[0], np.stack([np.ones_like(p := run(x)[1][:, 0]), 0 * p], axis=1))
    alone = AtomFinder(model, threshold=0.3, refine=False, test_amplitudes=False)(image)
    atoms = AtomFinder(model, threshold=0.3, refine=False)(image)
    assert alone.relabelled is None
    assert (alone.label == 0).all()
    np.testing.assert_array_equal(atoms.yx, alone.yx)
    order = np.linalg.norm(atoms.yx[:, None] - points[missing][None], axis=2).argmin(axis=0)
    expected = np.isin(np.arange(len(atoms)), order)
    np.testing.assert_array_equal(atoms.label == 1, expected)
    np.testing.assert_array_equal(atoms.relabelled, expected)
    # A vacancy is not moved by the fit; its neighbours are.
    moved = AtomFinder(model, threshold=0.3, refine=True)(image)
    np.testing.assert_array_equal(moved.yx[expected], alone.yx[expected])
    assert (moved.yx[~expected] != alone.yx[~expected]).any()
    few = peaks((64, 64), grid_points(64, 64, 16.0), np.ones(16), 2.0)
    assert AtomFinder(model, refine=False)(few).relabelled is None


def test_atoms_of_a_sparse_frame_stand_out_of_its_grain():
    rng = np.random.default_rng(5)
    shape, size = (256, 256), 0.02
    grain = ndimage.gaussian_filter(rng.normal(size=shape), 3.0)
    grain *= 0.05 / grain.std()
    points = np.array([[40.0, 50.0], [120.0, 200.0], [200.0, 90.0]])
    image = (1000 * grain + peaks(shape, points, np.ones(3), 3.0)).astype(np.float32)
    grains = np.argwhere((grain == ndimage.maximum_filter(grain, 15)) & (grain > 0.12))
    far = np.linalg.norm(grains[:, None] - points, axis=2).min(axis=1) > 25
    grains = grains[far].astype(float)
    assert 2 <= len(grains) <= 40
    both = np.concatenate([points, grains])
    # On either scale, at any gain, on any level.
    for pixel, gain, level in (((size, size), 1.0, 0.0), ((size, size), 250.0, -7.0)):
        found = stand_out((gain * image + level).astype(np.float32), both, pixel)
        np.testing.assert_array_equal(found, np.arange(len(both)) < 3)
    assert stand_out(image, np.concatenate([both] * 50), (size, size)).all()  # too many to see the film between
    assert stand_out(image, np.empty((0, 2)), (size, size)).shape == (0,)
    flat = stand_out(np.full(shape, 3.0, np.float32), both, (size, size))
    assert not flat.any()


def test_the_finder_drops_what_does_not_stand_out():
    rng = np.random.default_rng(6)
    points = np.array([[40.0, 48.0], [120.0, 200.0], [200.0, 88.0]])
    image = (peaks((256, 256), points, np.ones(3), 3.0) + 100 * rng.normal(size=(256, 256))).astype(np.float32)
    nothing = np.array([[40.0, 200.0], [120.0, 50.0], [200.0, 200.0]])
    seen = (peaks((256, 256), np.concatenate([points, nothing]), np.full(6, 0.9), 3.0) - 100)[None, None] / 1000
    for classes, second in ((("C", "Si"), "Si"), (("C", "vacancy"), "vacancy")):
        model = FakeModel(dataclasses.replace(CARD, classes=classes))
        label = np.zeros((1, 2, 128, 128), dtype=np.float32)
        label[:, 0, :, :64], label[:, 1, :, 64:] = 1.0, 1.0  # the right half is the second class
        model.run = lambda x, label=label: (seen, label)
        untested = AtomFinder(model, test_amplitudes=False)(image, pixel_nm=0.02)
        assert (len(untested), untested.dropped) == (6, 0)
        for pixel_nm in (0.02, None):  # None: the card's own
            atoms = AtomFinder(model, refine=False)(image, pixel_nm=pixel_nm)
            kept = points if second == "Si" else np.concatenate([points, nothing[[0, 2]]])  # a vacancy is not bright
            assert len(atoms) == len(kept)
            assert atoms.dropped == 6 - len(kept)
            off = np.linalg.norm(atoms.yx[:, None] - kept, axis=2).min(axis=0)
            np.testing.assert_allclose(off, 0, atol=1e-3)  # centroids of float32 maps
