# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import cKDTree
from scipy.spatial.distance import mahalanobis

from probewise import models
from probewise._core import image as _image
from probewise.errors import ModelError
from probewise.image import AtomFinder
from probewise.image.familiarity import (
    ANSWER,
    INPUT,
    LATTICE,
    NOTHING,
    SCATTERED,
    HomeFrames,
    Statistics,
    atom_statistics,
    fit_home,
    names_of,
    widened,
)
from probewise.inference import Card

CLASSES = ("C", "Si")
CARD = dataclasses.replace(Card.load(models.path("atoms").with_suffix(".json")), name="fake", classes=CLASSES, ood=None)


class FakeModel:
    """What is bright is an atom of silicon."""

    def __init__(self, card=CARD):
        self.card = card

    def run(self, x):
        coarse = np.zeros((len(x), 2, x.shape[2] // 2, x.shape[3] // 2), dtype=np.float32)
        coarse[:, 1] = 1.0
        return np.clip(x, 0, 1), coarse


def lattice(spacing=8.0, side=128):
    rows, cols = np.meshgrid(np.arange(4, side - 4, spacing), np.arange(4, side - 4, spacing), indexing="ij")
    return np.stack([rows.ravel(), cols.ravel()], axis=1)


def look(scaled, yx, label=None, zoom=1.0):
    presence = np.zeros(scaled.shape, dtype=np.float32)
    row, col = np.rint(yx).astype(int).T
    presence[row, col] = 0.95
    classes = np.zeros((2, scaled.shape[0] // 2, scaled.shape[1] // 2), dtype=np.float32)
    classes[0], classes[1] = 0.75, 0.25
    label = np.zeros(len(yx), dtype=np.int64) if label is None else label
    return atom_statistics(scaled, zoom, presence, classes, CLASSES, yx, label, np.full(len(yx), 0.9), 2.0)


def named(found):
    return dict(zip(names_of(CLASSES, found.group), found.values, strict=True))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_statistics_of_the_input_against_textbook_definitions(seed):
    random = np.random.default_rng(seed)
    scaled = random.gamma(2.0, size=(96, 120)).astype(np.float32)
    scaled = (scaled + np.roll(scaled, 1, axis=1)).astype(np.float32)
    found = named(look(scaled, np.empty((0, 2)), zoom=0.5))
    assert tuple(found) == INPUT
    assert found["shrunk"] == pytest.approx(np.log(2))
    assert found["grown"] == 0
    assert found["contrast"] == pytest.approx(np.log(scaled.std()), abs=1e-4)
    assert found["skewness"] == pytest.approx(np.arcsinh(stats.skew(scaled.ravel())), abs=1e-3)
    for name, first, second in (
        ("smooth x", scaled[:, 1:], scaled[:, :-1]),
        ("smooth y", scaled[1:], scaled[:-1]),
        ("coarse x", scaled[:, 4:], scaled[:, :-4]),
        ("coarse y", scaled[4:], scaled[:-4]),
    ):
        # the whole frame's mean and variance against those of its parts
        assert found[name] == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1], abs=0.02)
    jumps = np.diff(scaled.mean(axis=1)).var() / np.diff(scaled.mean(axis=0)).var()
    assert found["rows"] == pytest.approx(np.log(jumps), abs=1e-3)


def test_statistics_of_the_answer():
    yx = lattice()
    random = np.random.default_rng(0)
    scaled = random.normal(size=(128, 128)).astype(np.float32)
    row, col = np.rint(yx).astype(int).T
    scaled[row, col] = 5.0
    label = np.zeros(len(yx), dtype=np.int64)
    label[::5] = 1
    found = look(scaled, yx, label)
    assert found.group == "C"
    values = named(found)
    assert tuple(values) == (*INPUT, *ANSWER, *LATTICE, "share of C", "share of Si")
    assert values["density"] == pytest.approx(np.log(len(yx) / 128**2))
    assert values["score"] == pytest.approx(0.9)
    assert values["certainty"] == pytest.approx(np.log(1.001 - 0.75), abs=1e-5)
    assert values["doubt"] == pytest.approx(np.log(1e-3), abs=1e-5)  # every pixel is 0 or 0.95
    height = (5.0 - scaled.mean()) / scaled.std()
    assert values["height"] == pytest.approx(np.arcsinh(height), abs=1e-4)
    assert values["share of Si"] == pytest.approx((label == 1).mean())


def test_distances_to_neighbours_against_a_tree():
    random = np.random.default_rng(1)
    yx = lattice() + random.normal(0, 0.4, lattice().shape)
    values = named(look(np.zeros((128, 128), dtype=np.float32), np.clip(yx, 0, 127)))
    asked = yx[:: -(-len(yx) // 40)]
    near = cKDTree(yx).query(asked, k=7)[0][:, 1:]
    middle = np.sort(near, axis=0)[len(near) // 2]
    assert values["spacing"] == pytest.approx(np.log(middle[0]), abs=1e-5)  # float32 distances
    for number in (2, 3, 4, 6):
        expected = np.log(middle[number - 1] / middle[0])
        assert values[f"neighbour {number}"] == pytest.approx(expected, abs=1e-5)


def test_groups():
    blank = np.zeros((128, 128), dtype=np.float32)
    assert look(blank, lattice()).group == "C"
    assert look(blank, lattice()[:7]).group == NOTHING
    apart = np.random.default_rng(2).uniform(0, 127, (60, 2))
    assert look(blank, apart).group == f"{SCATTERED} C"
    assert look(np.zeros((95, 200), dtype=np.float32), lattice()[:3]) is None


def normal_frames(count, seed, group="C", shift=0.0):
    """Correlated normal values, as many as a frame has."""
    random = np.random.default_rng(seed)
    length = len(names_of(CLASSES, group))
    mixing = np.eye(length) + 0.1 * np.random.default_rng(99).normal(size=(length, length))
    return [Statistics(group, row) for row in random.normal(size=(count, length)) @ mixing.T + shift]


def test_the_stated_share_of_home_frames_passes_the_limit():
    home = HomeFrames(CLASSES, fit_home(normal_frames(600, 0), rate=0.05))
    fresh = [home.judge(one).unfamiliar for one in normal_frames(2000, 1)]
    # 0.05 with a binomial deviation of 0.005, and the limit itself known from 600 frames to about 0.009
    assert 0.02 < np.mean(fresh) < 0.08


def test_the_distance_is_mahalanobis_and_the_reason_is_the_planted_one():
    frames = normal_frames(400, 0)
    table = fit_home(frames)
    home = HomeFrames(CLASSES, table)
    values = np.array([one.values for one in frames])
    strange = values.mean(axis=0)
    place = INPUT.index("rows")
    strange[place] += 40 * values[:, place].std()
    judged = home.judge(Statistics("C", strange))
    assert judged.unfamiliar
    assert judged.reason.startswith("rows is")
    expected = mahalanobis(strange, values.mean(axis=0), np.linalg.inv(np.cov(values.T)))
    limit = table["groups"]["C"]["limit"]
    # the variances are trimmed by the farthest fiftieth of the frames and widened by a twentieth
    assert judged.distance * limit == pytest.approx(expected, rel=0.15)


def test_a_group_that_home_does_not_have_is_infinitely_far():
    judged = HomeFrames(CLASSES, fit_home(normal_frames(60, 0))).judge(normal_frames(1, 3, "Si")[0])
    assert judged.distance == np.inf
    assert "taken for Si" in judged.reason
    with pytest.raises(ValueError, match="frames holds 5, expected more"):
        fit_home(normal_frames(5, 0))


def test_a_group_with_few_home_frames_is_not_judged():
    """A frame in two lattices is seldom at home, and yet no stranger."""
    home = HomeFrames(CLASSES, fit_home([*normal_frames(60, 0), *normal_frames(3, 1, "scattered C")]))
    assert home.judge(normal_frames(1, 2, "scattered C")[0]) is None
    assert home.judge(normal_frames(1, 2, "scattered Si")[0]).unfamiliar


def test_frames_that_were_learnt_become_familiar_and_home_stays_so():
    table = fit_home(normal_frames(300, 0))
    learnt, fresh = normal_frames(12, 5, shift=6.0), normal_frames(200, 6, shift=6.0)
    home = HomeFrames(CLASSES, table)
    assert np.mean([home.judge(one).unfamiliar for one in fresh]) > 0.9
    wider = HomeFrames(CLASSES, widened(table, learnt))
    assert np.mean([wider.judge(one).unfamiliar for one in fresh]) < 0.1
    assert np.mean([wider.judge(one).unfamiliar for one in normal_frames(200, 7)]) < 0.05
    other = HomeFrames(CLASSES, widened(table, normal_frames(12, 5, "Si")))
    assert not other.judge(normal_frames(1, 8, "Si")[0]).unfamiliar


def test_the_table_goes_through_a_card():
    table = json.loads(json.dumps(fit_home(normal_frames(100, 0))))
    one = normal_frames(1, 1)[0]
    exact, read = HomeFrames(CLASSES, fit_home(normal_frames(100, 0))), HomeFrames(CLASSES, table)
    assert read.judge(one) == exact.judge(one)


@pytest.mark.parametrize(
    ("ood", "says"),
    [
        ({"groups": {}}, "no table of home frames"),
        (
            {"rate": 0.01, "few": [], "groups": {"C": {"mean": [0.0], "whitening": ["1"], "limit": 1.0}}},
            "has 1 means, 1 rows",
        ),
        (
            {"rate": 0.01, "few": [], "groups": {"C": {"mean": [0.0], "whitening": ["x"], "limit": 1.0}}},
            "no table of home",
        ),
    ],
)
def test_a_card_with_another_table_is_refused(ood, says):
    with pytest.raises(ModelError, match=rf"fake: ood.*{says}"):
        AtomFinder(FakeModel(dataclasses.replace(CARD, ood=ood)))


def test_the_finder_judges_what_it_finds():
    image = np.zeros((128, 128), dtype=np.float32)
    row, col = lattice().astype(int).T
    image[row, col] = 100.0
    plain = AtomFinder(FakeModel(), refine=False)
    assert plain(image).familiarity is None
    one = plain.statistics(image)
    assert one is not None
    assert one.group == "Si"  # the bright ones
    assert dict(zip(names_of(CLASSES, "Si"), one.values, strict=True))["spacing"] == pytest.approx(np.log(8))
    length = len(one.values)
    whitening = [" ".join(["0"] * row + ["1"]) for row in range(length)]
    groups = {"Si": {"mean": one.values.tolist(), "whitening": whitening, "limit": 1}}
    knowing = AtomFinder(
        FakeModel(dataclasses.replace(CARD, ood={"rate": 0.01, "few": [], "groups": groups})), refine=False
    )
    familiar = knowing(image).familiarity
    assert familiar is not None
    assert familiar.distance < 1e-3
    stripes = np.where(np.arange(128) % 4 == 0, 30, 0).astype(np.float32)
    strange = knowing(np.ascontiguousarray(image + stripes[:, None])).familiarity
    assert strange is not None
    assert strange.unfamiliar
    assert knowing(np.ascontiguousarray(image[:90, :90])).familiarity is None


def test_statistics_of_the_core_against_double_precision():
    random = np.random.default_rng(5)
    image = (random.gamma(1.5, size=(97, 131)) + 100).astype(np.float32)
    mean, deviation, skewness, correlation, rows = _image.input_statistics(image)
    off = image.astype(np.float64) - image.mean(dtype=np.float64)
    # Sums in single precision over blocks of 1024.
    assert mean == pytest.approx(image.mean(dtype=np.float64), rel=1e-7)
    assert deviation == pytest.approx(off.std(), rel=1e-5)
    assert skewness == pytest.approx(stats.skew(off.ravel()), rel=1e-4)
    line = off.ravel()
    for found, step in zip(correlation, (1, 131, 4, 4 * 131), strict=True):
        assert found == pytest.approx((line[step:] * line[:-step]).mean() / off.var(), abs=1e-5)
    assert rows == pytest.approx(np.diff(off.mean(axis=1)).var() / np.diff(off.mean(axis=0)).var(), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image, maps: _image.input_statistics(image[:4].copy()), "image is a .*, expected 5 x 5"),
        (lambda image, maps: _image.answer_statistics(image, image, maps, 2.0, lattice()[:6]), "at least 7 atoms"),
        (
            lambda image, maps: _image.answer_statistics(image, image, maps, 2.0, lattice() + 100),
            "yx holds .*, expected atoms inside input",
        ),
        (
            lambda image, maps: _image.answer_statistics(image, image, maps[:0], 2.0, lattice()),
            "classes is a .*, expected at least one pixel",
        ),
    ],
)
def test_the_core_names_what_it_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((128, 128), dtype=np.float32), np.zeros((2, 64, 64), dtype=np.float32))
