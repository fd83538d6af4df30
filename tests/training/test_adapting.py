# SPDX-License-Identifier: BSD-3-Clause
"""Training on: what is taught, and the whole way from a user's frames to new models."""

import dataclasses
import hashlib
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs the extra train")
onnx = pytest.importorskip("onnx", reason="training needs the extra train")
pytest.importorskip("onnxscript", reason="training needs the extra train")
pytest.importorskip("onnxruntime", reason="models run in the extra cpu")

from probewise import models  # noqa: E402
from probewise.app.cli import status  # noqa: E402
from probewise.errors import ConfigurationError, ModelError  # noqa: E402
from probewise.image import AtomFinder  # noqa: E402
from probewise.inference import Card, load_model  # noqa: E402
from probewise.training import adaptation, adapting  # noqa: E402
from probewise.training.adapting import between, rehearsal, train_on  # noqa: E402
from probewise.training.asked import atoms_by, home_f1  # noqa: E402
from probewise.training.atom_network import Exported, from_onnx  # noqa: E402
from probewise.training.given import UNKNOWN, Given  # noqa: E402
from probewise.training.home_score import is_read  # noqa: E402
from probewise.training.lessons import DISC_PX, RING_PX, Lesson, confident, cut, labelled, varied, views  # noqa: E402


@pytest.fixture(scope="module")
def parent():
    return from_onnx("atoms")


@pytest.fixture(scope="module")
def home(parent):
    return rehearsal(parent[1], 5, 6)


def test_the_weights_come_back_from_the_file(parent):
    frame = np.random.default_rng(1).random((2, 1, 72, 96), dtype=np.float32)
    with torch.no_grad():
        expected = Exported(parent[0])(torch.from_numpy(frame))
    for got, wanted in zip(load_model("atoms").run(frame), expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4)  # sums in another order


def changed(tmp_path, change):
    """The shipped finder with another graph and a card that fits it."""
    model = onnx.load(models.path("atoms"))
    change(model)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = Card.load(models.path("atoms").with_suffix(".json"))
    card = dataclasses.replace(card, name="changed", sha256=digest, size_bytes=path.stat().st_size)
    path.with_suffix(".json").write_text(card.to_json())
    return path


def test_other_graphs_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"network.stem.0.weight is missing, expected \(16, 1, 6, 6\): only the atom"):
        from_onnx("segments")

    def another_activation(model):
        next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Softplus"

    with pytest.raises(ModelError, match="differs from its weights in torch by"):
        from_onnx(changed(tmp_path, another_activation))

    def another_name(model):
        for node in model.graph.node:
            node.input[:] = ["w" if name == "network.kind.bias" else name for name in node.input]
        next(one for one in model.graph.initializer if one.name == "network.kind.bias").name = "w"

    with pytest.raises(ModelError, match=r"network.kind.bias is missing, expected \(8,\)"):
        from_onnx(changed(tmp_path, another_name))
    with pytest.raises(ConfigurationError, match="model is 'nothing', expected a shipped one"):
        from_onnx("nothing")


def test_torch_finds_what_the_finder_finds(parent, home):
    finder = AtomFinder("atoms", refine=False)
    for frame in home:
        ours, theirs = atoms_by(*parent, frame.counts, frame.pixel_nm), finder(frame.counts, pixel_nm=frame.pixel_nm)
        # one in a hundred may be at the threshold, where float32 sums in another order decide
        assert abs(len(ours) - len(theirs)) <= 0.01 * len(theirs)
        if len(ours) == len(theirs):
            np.testing.assert_allclose(ours.yx, theirs.yx, atol=0.05)


class Echo(torch.nn.Module):
    """Logits that are the frame itself, so that what a view turns has to be turned back."""

    def forward(self, frame):
        return frame, torch.nn.functional.avg_pool2d(frame, 2).repeat(1, 2, 1, 1)


def test_views_are_turned_back():
    image = np.random.default_rng(0).normal(size=(30, 42)).astype(np.float32)
    mean, deviation, classes = views([Echo()], image)
    np.testing.assert_allclose(mean, 1 / (1 + np.exp(-image)), atol=1e-6)
    assert deviation.max() < 1e-6
    assert classes.shape == (2, 15, 21)
    np.testing.assert_allclose(classes, 0.5, atol=1e-6)


def test_only_sure_answers_are_taught():
    image = np.full((16, 16), -5.0, dtype=np.float32)
    image[4, 4], image[4, 5], image[10, 10] = 5.0, 0.0, 0.5
    lesson = confident([Echo()], image)
    assert lesson.site[4, 4] == lesson.weight[4, 4] == 1
    assert lesson.weight[4, 5] == 0  # 0.5 is not above 0.5
    assert lesson.weight[10, 10] == lesson.site[10, 10] == 1
    assert lesson.weight.sum() == 16 * 16 - 1
    assert (lesson.kind == UNKNOWN).all()  # 0.5 for either class

    class Wavering(Echo):
        def forward(self, frame):
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(frame + (2.0 if self.calls % 2 else -2.0))

    unsure = confident([Wavering()], image)
    assert unsure.weight[10, 10] == 0
    assert unsure.weight[4, 4] == 1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.floats(-1, 40), st.floats(-1, 48)), min_size=1, max_size=4))
def test_discs_about_labels_against_every_pixel(places):
    yx = np.array(places)
    lesson = labelled(np.zeros((40, 48), dtype=np.float32), yx, np.arange(len(yx)))
    rows, cols = np.indices((40, 48))
    distance = np.min([np.hypot(rows - y, cols - x) for y, x in yx], axis=0)
    np.testing.assert_array_equal(lesson.site, distance <= DISC_PX)
    np.testing.assert_array_equal(lesson.weight, (distance <= DISC_PX) | (distance > RING_PX))
    coarse = (distance <= DISC_PX).reshape(20, 2, 24, 2).any(axis=(1, 3))
    np.testing.assert_array_equal(lesson.kind >= 0, coarse)


def test_neighbours_in_a_lattice_stay_apart():
    yx = np.array([(20.0, 20.0), (20.0, 27.1)])  # graphene at 0.02 nm a pixel
    lesson = labelled(np.zeros((40, 48), dtype=np.float32), yx, np.zeros(2, dtype=np.int64))
    between_them = slice(23, 25)
    assert (lesson.site[20, between_them] == 0).all()
    assert lesson.weight[20, between_them].any()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(20, 70), st.integers(20, 70))
def test_squares_keep_image_and_targets_together(seed, rows, cols):
    random = np.random.default_rng(seed)
    image = random.random((rows, cols), dtype=np.float32)
    fine = np.kron(random.integers(0, 2, (-(-rows // 2), -(-cols // 2))), np.ones((2, 2)))[:rows, :cols]
    site = (fine * (image > 0.5)).astype(np.float32)
    kind = np.where(fine[::2, ::2] > 0, 3, UNKNOWN)
    square = cut(random, Lesson(image, site, np.ones_like(image), kind), 32)
    assert square.image.shape == square.site.shape == square.weight.shape == (32, 32)
    assert square.kind.shape == (16, 16)
    assert square.weight.sum() == min(rows, 32) * min(cols, 32)
    seen = varied(random, square)
    assert seen.weight.sum() == square.weight.sum()
    inside = seen.weight.reshape(16, 2, 16, 2).min(axis=(1, 3)) > 0
    marked = seen.site.reshape(16, 2, 16, 2).max(axis=(1, 3)) > 0
    assert (seen.kind[marked & inside] == 3).all()
    bright = seen.image[(seen.weight > 0) & (seen.site > 0)]
    dark = square.image[(square.weight > 0) & (square.image <= 0.5)]
    if len(bright) and len(dark):
        assert bright.mean() > dark.mean()


def test_weights_between_parent_and_learnt(parent):
    network, _ = parent
    other = from_onnx("atoms")[0]
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1.0)
    for toward in (0.0, 0.4, 1.0):
        made = between(network, other, toward)
        for ours, first in zip(made.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(ours, first + toward)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(adapting, "CHECKED", 4)
    monkeypatch.setattr(adaptation, "REHEARSED", 4)


def test_what_costs_too_much_at_home_is_taken_back(parent, home, quick, monkeypatch):
    """A "training" that ruins the network leaves the parent's weights, or hardly another."""
    network, card = parent

    def ruin(*arguments, **options):
        spoilt = from_onnx("atoms")[0]
        with torch.no_grad():
            spoilt.site[0].bias.fill_(-30.0)
        return spoilt, 1, None

    monkeypatch.setattr(adapting, "_learn", ruin)
    frame = Given("a", home[0].counts, home[0].pixel_nm)
    found = train_on(network, card, [frame], home, minutes=1, seed=0)
    assert found.toward < 0.5
    assert found.home_after >= found.home_before - adapting.LARGEST_LOSS
    with pytest.raises(ValueError, match="minutes is nan, expected a positive number"):
        train_on(network, card, [frame], home, minutes=math.nan, seed=0)
    with pytest.raises(ValueError, match="frames is empty"):
        train_on(network, card, [], home, minutes=1, seed=0)


def test_home_frames_have_their_truth(parent, home):
    network, card = parent
    assert home_f1(network, card, home) > 0.9  # of a network that reads its home frames
    read = [is_read(atoms_by(network, card, frame.counts, frame.pixel_nm), frame) for frame in home]
    assert np.mean(read) > 0.5
    elsewhere = dataclasses.replace(home[0], yx=home[0].yx + 4.0)
    assert not is_read(atoms_by(network, card, home[0].counts, home[0].pixel_nm), elsewhere)


@pytest.mark.slow
def test_the_command_makes_a_model_from_frames(parent, home, quick, tmp_path, capsys):
    frames, out = tmp_path / "frames", tmp_path / "models"
    frames.mkdir()
    for name, frame in zip("ab", [one for one in home if one.pixel_nm == 0.02], strict=False):
        np.save(frames / f"{name}.npy", frame.counts)
    (frames / "a.csv").write_text("y,x,class\n30,40,C\n60,61.5,\n")
    start = tmp_path / "start.onnx"  # a lab's own finder, with reference statistics
    shutil.copy(models.path("atoms"), start)
    ood = {"rate": 0.01, "few": [], "groups": {}}
    start.with_suffix(".json").write_text(dataclasses.replace(parent[1], name="start", ood=ood).to_json())
    command = ["models", "adapt", str(start), "--frames", str(frames), "--out", str(out), "--pixel-nm", "0.02"]
    command += ["--minutes", "0.02"]
    assert status([*command, "--labels", str(frames), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["model"] for one in found] == [str(out / "start-adapted.onnx")]
    card = Card.load(out / "start-adapted.json")
    assert card.recipe["parent"] == {"name": "start", "sha256": parent[1].sha256}
    assert (card.recipe["frames"], card.recipe["frames_with_labels"]) == (["b"], ["a"])
    assert found[0]["home_f1_after"] >= found[0]["home_f1_before"] - 0.005
    assert (card.classes, card.pixel_nm) == (parent[1].classes, parent[1].pixel_nm)
    both = AtomFinder([start, out / "start-adapted.onnx"], refine=False)  # an ensemble: the interfaces agree
    assert len(both(np.load(frames / "b.npy"), pixel_nm=0.02)) > 0
    for options, taken in (([], "start-adapted"), (["--name", "start", "--members", "2"], "start-2")):
        (out / f"{taken}.onnx").touch()
        assert status([*command, *options]) == 2
        assert f"{taken}.onnx is there already, expected a new name" in capsys.readouterr().err


def test_the_command_refuses(tmp_path, capsys, home):
    np.save(tmp_path / "a.npy", home[0].counts)
    base = ["models", "adapt", "atoms", "--frames", str(tmp_path / "a.npy"), "--out", str(tmp_path)]
    for options, code, says in (
        (["--pixel-nm", "0.02", "--members", "0"], 2, "--members: got 0, expected 1 to 16"),
        (["--pixel-nm", "0.02", "--minutes", "0"], 2, "--minutes: got 0, expected a positive number"),
        (["--pixel-nm", "0.02", "--name", "My Model"], 2, "--name: got 'My Model', expected 1 to 60 of a-z"),
        (["--pixel-nm", "0.2"], 2, "got pixels of 0.2 nm, expected 0.01 to 0.05 nm, the range of model atoms"),
    ):
        assert status([*base, *options]) == code
        assert says in capsys.readouterr().err
    assert status(["models", "adapt", "segments", *base[3:], "--pixel-nm", "0.02"]) == 4
    with pytest.raises(ConfigurationError, match=r"pixels of 0\.2 nm"):
        adaptation.adapt("atoms", [Given("a", home[0].counts, 0.2)], tmp_path, "new", minutes=1)
