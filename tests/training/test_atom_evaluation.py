# SPDX-License-Identifier: BSD-3-Clause
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.app.cli import status
from probewise.errors import ConfigurationError
from probewise.image import AtomFinder
from probewise.training.atom_evaluation import evaluate, risk_coverage
from probewise.training.given import UNKNOWN, Given
from probewise.training.user_frames import read_frames, read_labels

CLASSES = ("C", "heavy")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_the_area_is_the_mean_over_all_orders_of_equal_scores(answers):
    score, correct = (np.array(values) for values in zip(*answers, strict=True))
    areas = []
    for order in itertools.permutations(range(len(score))):
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order)):
            false = (~correct[list(order)]).astype(float)
            areas.append(np.mean(np.cumsum(false) / np.arange(1, len(false) + 1)))
    coverage, risk, area = risk_coverage(score, correct)
    assert area == pytest.approx(np.mean(areas))
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx((~correct).mean())


def test_a_score_that_knows_the_errors_has_the_smaller_area():
    correct = np.random.default_rng(0).random(200) < 0.8
    knowing, blind = risk_coverage(correct * 1.0, correct)[2], risk_coverage(np.zeros(200), correct)[2]
    assert knowing < 0.3 * blind
    assert blind == pytest.approx((~correct).mean())
    with pytest.raises(ValueError, match="score is empty"):
        risk_coverage(np.empty(0), np.empty(0, dtype=bool))


def spots(places, shape=(96, 96)):
    image = np.random.default_rng(0).normal(0, 0.3, shape)
    rows, cols = np.indices(shape)
    for y, x in places:
        image += 20 * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
    return image.astype(np.float32)


PLACES = np.array([(20.0, 20.0), (20.0, 70.0), (60.0, 40.0)])


@pytest.fixture(scope="module")
def finder():
    pytest.importorskip("onnxruntime", reason="models run in the extra cpu")
    return AtomFinder("atoms")


def test_hits_false_ones_and_misses_are_counted(finder, tmp_path):
    heavy = finder.card.classes.index("heavy")
    labelled = np.array([(20.5, 20.0), (60.0, 40.0), (85.0, 85.0)])  # one is not labelled, one is not there
    frame = Given("a", spots(PLACES), 0.02, labelled, np.full(3, heavy))
    found = evaluate(finder, [frame, Given("b", spots([]), 0.02)], tolerance_nm=0.06, picture=tmp_path / "p.png")
    assert (found["hit"], found["false"], found["missed"]) == (2, 1, 1)
    assert found["f1"] == pytest.approx(4 / 6, abs=1e-4)
    assert [row["frame"] for row in found["frames"]] == ["a"]
    assert found["classes"]["heavy"]["labelled"] == 3
    assert found["risk_coverage"]["risk"][-1] == pytest.approx(1 / 3, abs=1e-3)
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"
    unnamed = evaluate(finder, [Given("a", spots(PLACES), 0.02, PLACES, np.full(3, UNKNOWN))], tolerance_nm=0.06)
    assert unnamed["classes"] is None
    assert unnamed["f1"] == 1
    with pytest.raises(ValueError, match="frames has no labels"):
        evaluate(finder, [Given("b", spots([]), 0.02)], tolerance_nm=0.06)


def write(path, text):
    path.write_text(text)
    return path


def test_labels_from_a_table(tmp_path):
    yx, label = read_labels(write(tmp_path / "a.csv", "X,Y, Class\n3,1.5,heavy\n4,2,\n"), CLASSES)
    assert yx.tolist() == [[1.5, 3], [2, 4]]
    assert label.tolist() == [1, UNKNOWN]
    assert read_labels(write(tmp_path / "b.csv", "y,x\n"), CLASSES)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("y,z\n1,2\n", "expected numbers under y and x"),
        ("y,x\n1,two\n", "line 2 is .*expected numbers under y and x"),
        ("y,x\n1\n", "expected numbers under y and x"),
        ("y,x\n1,nan\n", "expected a class of C, heavy"),
        ("y,x,class\n1,2,gold\n", "'gold'.*expected a class of C, heavy"),
    ],
)
def test_labels_that_are_none(tmp_path, text, says):
    with pytest.raises(ConfigurationError, match=says):
        read_labels(write(tmp_path / "a.csv", text), CLASSES)


def test_frames_with_and_without_labels(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", spots(PLACES))
    write(tmp_path / "b.csv", "y,x\n20,20\n")
    first, second = read_frames([tmp_path], CLASSES, pixel_nm=0.03, labels=tmp_path)
    assert (first.name, first.yx, first.pixel_nm) == ("a", None, 0.03)
    assert second.yx is not None
    assert second.yx.tolist() == [[20, 20]]
    one = read_frames([tmp_path / "a.npy"], CLASSES, pixel_nm=0.03, labels=tmp_path / "b.csv")
    assert one[0].yx is not None
    both = [tmp_path / "a.npy", tmp_path / "b.npy"]
    with pytest.raises(ConfigurationError, match="one file for 2 frames, expected a folder"):
        read_frames(both, CLASSES, pixel_nm=0.03, labels=tmp_path / "b.csv")
    with pytest.raises(ConfigurationError, match=r"--pixel-nm: got nothing and .*a.npy does not say it"):
        read_frames(both, CLASSES, pixel_nm=None, labels=None)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigurationError, match=r"has no a.csv, expected a table called as a frame"):
        read_frames(both, CLASSES, pixel_nm=0.03, labels=tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"--frames: got .*none, expected pictures"):
        read_frames([tmp_path / "none"], CLASSES, pixel_nm=0.03, labels=None)


def test_the_command(tmp_path, capsys, finder):
    np.save(tmp_path / "a.npy", spots(PLACES))
    write(tmp_path / "a.csv", "y,x\n20,20\n20,70\n60,40\n")
    base = ["models", "evaluate", "atoms", "--frames", str(tmp_path / "a.npy"), "--labels", str(tmp_path)]
    assert status([*base, "--pixel-nm", "0.02", "--picture", str(tmp_path / "p.png")]) == 0
    said = capsys.readouterr().out
    assert "F1 1.0000: 3 found, 0 false, 0 missed" in said
    assert (tmp_path / "p.png").exists()
    assert status([*base, "--pixel-nm", "0.02", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1
    for options, says in (
        (["--pixel-nm", "-1"], "--pixel-nm: got -1, expected a positive number"),
        (["--tolerance-nm", "nan"], "--tolerance-nm: got nan, expected a positive number"),
        (["--pixel-nm", "0.02", "--threshold", "1"], "--threshold: got 1, expected at least 0 and below 1"),
    ):
        assert status([*base, *options]) == 2
        assert says in capsys.readouterr().err
