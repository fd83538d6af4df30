# SPDX-License-Identifier: BSD-3-Clause
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from probewise.errors import ConfigurationError
from probewise.instrument import SPECIMENS, atoms, truth
from probewise.instrument.boundary import BOND_NM, PERIOD_NM, graphene_boundary
from probewise.instrument.oxides import LSMO_NM, NIO_NM
from probewise.types import SiteLattice

SITES = SiteLattice((25, 25), 8.0, (200.0, 200.0))
MONOLAYERS = ("graphene", "mos2")


def as_set(yx, numbers):
    return {(float(y), float(x), int(z)) for (y, x), z in zip(yx, numbers, strict=True)}


@pytest.mark.parametrize("name", SPECIMENS)
def test_same_seed_same_specimen_and_another_seed_another(name):
    box = (80.0, 90.0, 86.0, 97.0)
    first = atoms(name, box, seed=3)
    again = atoms(name, box, seed=3)
    other = atoms(name, box, seed=4)
    assert np.array_equal(first[0], again[0])
    assert as_set(*first) != as_set(*other)


@settings(deadline=None, max_examples=12)
@given(
    name=st.sampled_from(SPECIMENS),
    y=st.floats(0, 190),
    x=st.floats(0, 190),
    height=st.floats(0.5, 8),
    width=st.floats(0.5, 8),
    cut=st.floats(0.1, 0.9),
)
def test_a_box_holds_what_its_two_halves_hold(name, y, x, height, width, cut):
    middle = x + cut * width
    whole = as_set(*atoms(name, (y, x, y + height, x + width), seed=1))
    left = as_set(*atoms(name, (y, x, y + height, middle), seed=1))
    right = as_set(*atoms(name, (y, middle, y + height, x + width), seed=1))
    assert left | right == whole
    for py, px, _ in whole:  # float32 coordinates: 1e-4 nm
        assert y - 1e-4 <= py <= y + height + 1e-4
        assert x - 1e-4 <= px <= x + width + 1e-4


def test_column_density_of_the_matrix_and_the_pillars():
    made = truth("nio-lsmo", seed=0)
    pillar = max(made.objects, key=lambda thing: len(thing.samples_nm))
    y, x = pillar.samples_nm.mean(axis=0)
    half = 4.0
    _, numbers = atoms("nio-lsmo", (y - half, x - half, y + half, x + half), seed=0)
    inside = np.isin(numbers, (28,)).sum() / 64
    assert inside == pytest.approx((2 / NIO_NM) ** 2, rel=0.05)  # edge columns: a row in forty
    free = SITES.centres_nm[~made.interesting(SITES.centres_nm, 14.0)]
    y, x = free[np.abs(free - 100).sum(axis=1).argmin()]
    _, numbers = atoms("nio-lsmo", (y - half, x - half, y + half, x + half), seed=0)
    assert (numbers == 57).sum() / 64 == pytest.approx(1 / LSMO_NM**2, rel=0.06)
    assert (numbers == 25).sum() / 64 == pytest.approx(1 / LSMO_NM**2, rel=0.06)


def test_pillars_are_as_stated_in_ten_fields():
    interesting = []
    for seed in range(10):
        made = truth("nio-lsmo", seed=seed)
        assert 20 <= len(made.objects) <= 25
        areas = np.array([thing.measure * len(thing.samples_nm) for thing in made.objects])
        diameters = 2 * np.sqrt(areas / math.pi)
        assert diameters.min() > 4.5  # 5 to 20 nm; sampling by 0.5 nm squares
        assert diameters.max() < 20.5
        points = np.concatenate([thing.samples_nm for thing in made.objects])
        assert len(np.unique(points, axis=0)) == len(points)
        trees = [cKDTree(thing.samples_nm) for thing in made.objects]
        for k, tree in enumerate(trees):
            assert all(tree.count_neighbors(other, 1.0) == 0 for other in trees[k + 1 :])
        interesting.append(made.interesting(SITES.centres_nm, 8.0).sum())
    assert 60 <= np.mean(interesting) <= 80  # "about 70 of 625"


@pytest.mark.parametrize("name", SPECIMENS)
def test_at_least_twenty_objects_within_the_field(name):
    made = truth(name, seed=2)
    assert len(made.objects) >= 20
    for thing in made.objects:
        assert (thing.samples_nm >= 0).all()
        assert (thing.samples_nm <= 200).all()
        assert thing.measure > 0
    found = made.found(SITES.centres_nm, 8.0)
    assert found.all()  # a full raster of touching sites holds everything
    assert made.labels.shape == (400, 400)
    assert set(np.unique(made.labels)) == set(range(len(made.label_names)))


@pytest.mark.parametrize("name", MONOLAYERS)
def test_defects_cover_under_two_per_cent(name):
    assert (truth(name, seed=0).labels > 0).mean() < 0.02


def test_grain_boundary_is_a_chain_of_five_and_seven_rings():
    seam = graphene_boundary()
    assert np.abs(seam.bond_nm / BOND_NM - 1).max() < 0.05
    pairs = np.linalg.norm(seam.pair_sw[0] - seam.pair_sw[1])
    assert 0.2 < pairs < 0.26
    chain = np.concatenate([seam.strip_sw + np.array([k * PERIOD_NM, 0.0]) for k in range(-2, 3)])
    for centre, size in zip(seam.pair_sw, (5, 7), strict=True):
        distance = np.sort(np.linalg.norm(chain - centre, axis=1))
        corners = distance < (0.15 if size == 5 else 0.19)
        assert corners.sum() == size
        # radius of a regular polygon with this side; the core is strained
        assert distance[:size].mean() == pytest.approx(BOND_NM / (2 * math.sin(math.pi / size)), rel=0.05)


def test_every_atom_of_bicrystal_graphene_has_three_neighbours():
    made = truth("graphene", seed=0, defects=0)
    start = made.objects[10].samples_nm[0]
    box = (start[0] - 8, start[1] - 8, start[0] + 8, start[1] + 8)
    yx, _ = atoms("graphene", box, seed=0, defects=0)
    inner = (np.abs(yx - start) < 7.5).all(axis=1)
    tree = cKDTree(yx)
    degree = np.array([len(near) - 1 for near in tree.query_ball_point(yx[inner], 0.16)])
    assert (degree == 3).all()
    assert tree.query(yx, k=2)[0][:, 1].min() > 0.13


@pytest.mark.parametrize("statistics", ["uncorrelated", "clustered", "boundary"])
def test_graphene_defects_are_where_truth_says(statistics):
    made = truth("graphene", seed=5, defect_statistics=statistics)
    assert made.notes["defect_statistics"] == statistics
    kinds = set()
    for thing in made.objects:
        if thing.kind == "boundary segment":
            continue
        kinds.add(thing.kind)
        y, x = thing.samples_nm[0]
        yx, numbers = atoms("graphene", (y - 0.3, x - 0.3, y + 0.3, x + 0.3), seed=5, defect_statistics=statistics)
        at = np.linalg.norm(yx - (y, x), axis=1) < 0.02
        assert at.sum() == (1 if thing.kind == "Si dopant" else 0)
        assert (numbers[at] == 14).all()
    assert kinds == {"vacancy", "Si dopant"}


@pytest.mark.parametrize("name", MONOLAYERS)
def test_defect_statistics_differ_as_their_names_say(name):
    # Mean distance to the nearest other defect: 0.5 / sqrt(density) = 12.9 nm for 60 at random (Clark and Evans 1954).
    spacing = {}
    for statistics in ("uncorrelated", "clustered", "boundary"):
        values = []
        for seed in range(4):
            made = truth(name, seed=seed, defect_statistics=statistics)
            points = np.array([t.samples_nm[0] for t in made.objects if t.kind != "boundary segment"])
            values.append(cKDTree(points).query(points, k=2)[0][:, 1].mean())
        spacing[statistics] = np.mean(values)
    assert 11 < spacing["uncorrelated"] < 15
    assert spacing["clustered"] < 0.6 * spacing["uncorrelated"]
    assert spacing["boundary"] < 0.6 * spacing["uncorrelated"]


def test_mos2_lattice_and_defects():
    made = truth("mos2", seed=1)
    for thing in made.objects[:20]:
        y, x = thing.samples_nm[0]
        yx, numbers = atoms("mos2", (y - 0.5, x - 0.5, y + 0.5, x + 0.5), seed=1)
        at = np.linalg.norm(yx - (y, x), axis=1) < 0.02
        expected = {"W dopant": [74], "S vacancy": [16], "S2 vacancy": []}[thing.kind]
        assert list(numbers[at]) == expected
    yx, numbers = atoms("mos2", (100, 100, 110, 110), seed=1, defects=0)
    metal, sulphur = yx[numbers == 42], yx[numbers == 16]
    assert cKDTree(metal).query(metal, k=2)[0][:, 1].mean() == pytest.approx(0.316, abs=1e-4)
    inner = metal[(np.abs(metal - 105) < 4.5).all(axis=1)]
    assert np.allclose(cKDTree(sulphur).query(inner, k=3)[0], 0.316 / math.sqrt(3), atol=1e-4)


def fe_shift(made, seed, centre, **options):
    """Mean displacement (y, x) of Fe from the centre of its four Bi within 3 nm of a point."""
    y, x = centre
    yx, numbers = atoms("bfo", (y - 3, x - 3, y + 3, x + 3), seed=seed, **options)
    bismuth, iron = yx[numbers == 83], yx[numbers == 26]
    iron = iron[(np.abs(iron - centre) < 2.4).all(axis=1)]
    _, near = cKDTree(bismuth).query(iron, k=4)
    return (iron - bismuth[near].mean(axis=1)).mean(axis=0)


def test_polarisation_of_bfo_is_what_the_labels_say():
    made = truth("bfo", seed=0, mistilt_pm=0.0)
    walls = np.concatenate([thing.samples_nm for thing in made.objects])
    directions = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) / math.sqrt(2)
    seen = set()
    for centre in SITES.centres_nm[::7]:
        if np.linalg.norm(walls - centre, axis=1).min() < 8:
            continue
        label = made.labels[tuple((centre / 0.5).astype(int))]
        seen.add(int(label))
        # 2 pm static displacement over about 140 columns, and invisible walls change nothing: 1 pm
        assert np.allclose(fe_shift(made, 0, centre, mistilt_pm=0.0), 0.025 * directions[label], atol=1e-3)
    assert seen == {0, 1, 2, 3}


def test_mistilt_moves_fe_by_picometres():
    made = truth("bfo", seed=0, mistilt_pm=0.0)
    change = fe_shift(made, 0, (100.0, 100.0), mistilt_pm=4.0) - fe_shift(made, 0, (100.0, 100.0), mistilt_pm=0.0)
    assert np.linalg.norm(change) == pytest.approx(0.004, abs=2e-4)


def test_walls_of_bfo_separate_the_classes_they_are_named_after():
    made = truth("bfo", seed=3)
    for thing in made.objects:
        start, end = thing.samples_nm[0], thing.samples_nm[-1]
        along = (end - start) / np.linalg.norm(end - start)
        middle = thing.samples_nm[len(thing.samples_nm) // 2]
        across = np.array([-along[1], along[0]])
        sides = [made.labels[tuple(((middle + sign * 1.0 * across) / 0.5).astype(int))] for sign in (1, -1)]
        turn = (int(sides[0]) - int(sides[1])) % 4
        assert turn == 2 if thing.kind == "180 degree wall" else turn in (1, 3)


def test_strained_islands_have_a_period_one_per_cent_larger():
    made = truth("strained", seed=0)
    island = max(made.objects, key=lambda thing: len(thing.samples_nm))
    y, x = island.samples_nm.mean(axis=0)
    yx, numbers = atoms("strained", (y - 4, x - 4, y + 4, x + 4), seed=0)
    a_site = yx[numbers == 57]
    period = cKDTree(a_site).query(a_site[(np.abs(a_site - (y, x)) < 3.4).all(axis=1)], k=5)[0][:, 1:].mean()
    # 2 pm static displacement, some 300 columns
    assert period == pytest.approx(LSMO_NM * 1.01, abs=5e-4)


def test_particles_touch_at_their_junctions():
    made = truth("particles", seed=0)
    for thing in made.objects[:8]:
        y, x = thing.samples_nm.mean(axis=0)
        _, numbers = atoms("particles", (y - 1, x - 1, y + 1, x + 1), seed=0)
        assert (numbers == 79).sum() > 20


def test_features_mask_and_leave_the_truth_alone():
    plain = truth("nio-lsmo", seed=1)
    masked = truth("nio-lsmo", seed=1, features=("hole", "contamination"))
    assert masked.mask_names == ("hole", "contamination")
    assert len(masked.objects) == len(plain.objects)
    hole = np.argwhere(masked.labels == masked.label_names.index("hole")).mean(axis=0) * 0.5
    yx, _ = atoms("nio-lsmo", (hole[0] - 3, hole[1] - 3, hole[0] + 3, hole[1] + 3), seed=1, features=("hole",))
    assert len(yx) == 0


def test_smaller_and_oblong_fields():
    made = truth("graphene", fov_nm=(60.0, 40.0), seed=1)
    assert made.fov_nm == (60.0, 40.0)
    assert made.labels.shape == (120, 80)
    assert len(truth("nio-lsmo", fov_nm=80.0, seed=1).objects) >= 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: truth("quartz"), ConfigurationError, "specimen is 'quartz', expected one of nio-lsmo, bfo"),
        (lambda: truth("bfo", strain=0.1), ConfigurationError, "strain is no option of specimen bfo"),
        (lambda: truth("bfo", features=("moat",)), ConfigurationError, "features has 'moat'"),
        (lambda: truth("bfo", mistilt_pm=-1.0), ValueError, "mistilt_pm is -1.0, expected 0 to 20"),
        (lambda: truth("strained", strain=math.nan), ValueError, "strain is nan"),
        (lambda: truth("graphene", defect_statistics="even"), ValueError, "defect_statistics is 'even'"),
        (lambda: truth("mos2", defects=-1), ValueError, "defects is -1"),
        (lambda: truth("bfo", fov_nm=math.nan), ValueError, "fov_nm is"),
        (lambda: truth("bfo", seed=-1), ValueError, "seed is -1"),
        (lambda: atoms("bfo", (1.0, 1.0, 0.0, 2.0)), ValueError, "box_nm is"),
        (lambda: atoms("bfo", (0.0, 0.0, math.inf, 2.0)), ValueError, "box_nm is"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in SPECIMENS]
    + [("bfo", {"mistilt_pm": 0.0, "features": ("thick",)}), ("strained", {"strain": 0.05, "fov_nm": (60.0, 80.0)})],
)
def test_a_truth_knows_the_atoms_of_its_own_specimen(name, options):
    box = (20.0, 30.0, 24.0, 33.0)
    made = truth(name, seed=6, **options)
    for own in (made, pickle.loads(pickle.dumps(made))):  # noqa: S301  our own bytes
        yx_nm, number = own.atoms(box)
        expected = atoms(name, box, seed=6, **options)
        assert len(yx_nm) > 10
        np.testing.assert_array_equal(yx_nm, expected[0])
        np.testing.assert_array_equal(number, expected[1])
    with pytest.raises(ValueError, match=r"box_nm is \(2.0, 2.0, 1.0, 3.0\), expected finite"):
        made.atoms((2.0, 2.0, 1.0, 3.0))
    with pytest.raises(ValueError, match="read from a journal, which keeps no atoms"):
        replace(made, columns_in=None).atoms(box)


@pytest.mark.parametrize("name", SPECIMENS)
def test_masks_are_the_class_map_label_by_label(name):
    made = truth(name, seed=2, features=("thick", "hole"))
    assert list(made.masks) == [*truth(name, seed=2).label_names, "hole", "thick"]
    assert (sum(mask.astype(int) for mask in made.masks.values()) == 1).all()
    painted = np.zeros(made.labels.shape, dtype=int)
    for number, mask in enumerate(made.masks.values()):
        painted[mask] = number
    np.testing.assert_array_equal(painted, made.labels)


def test_a_pillar_lies_in_the_mask_of_its_phase():
    made = truth("nio-lsmo", seed=2)
    samples = np.concatenate([thing.samples_nm for thing in made.objects])
    row, col = (samples / made.label_nm).astype(int).T
    assert made.masks["NiO"][row, col].mean() > 0.93  # pixels of 0.5 nm at a pillar's edge belong to either side
    assert not made.masks["LSMO"][row, col].all()


def test_walls_run_between_domains_and_only_there():
    made = truth("bfo", seed=5)
    assert len(made.walls) == len(made.objects) >= 20
    for wall in made.walls:
        assert wall.kind in ("90 degree wall", "180 degree wall")
        centred = wall.samples_nm - wall.samples_nm.mean(axis=0)
        assert np.linalg.svd(centred, compute_uv=False)[1] < 1e-9  # straight
        row, col = (wall.samples_nm / made.label_nm).astype(int).T
        near = [
            {int(label) for label in made.labels[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].ravel()}
            for r, c in zip(row, col, strict=True)
        ]
        assert all(len(labels) >= 2 for labels in near)
    assert truth("nio-lsmo", seed=5).walls == ()
    segments = truth("graphene", seed=5).walls
    assert {thing.kind for thing in segments} == {"boundary segment"}
    points = np.concatenate([thing.samples_nm for thing in segments])
    centred = points - points.mean(axis=0)
    assert np.linalg.svd(centred, compute_uv=False)[1] < 1e-6  # one line across the field, a 5-7 pair each period
    assert np.ptp(points, axis=0).max() > 150
