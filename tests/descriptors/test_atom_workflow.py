# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

import probewise as pw
from probewise.descriptors import AtomWorkflow
from probewise.descriptors.atom_columns import describe_areas, describe_atoms
from probewise.types import Atoms, Context, Description, Frame, Segments

CLASSES = ("C", "vacancy")
PIXEL = (0.02, 0.02)
SHAPE = (200, 200)


def lattice(step: float = 10.0) -> np.ndarray:
    grid = np.arange(step / 2, 200, step)
    return np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)


def sheet(vacancies: tuple[int, ...] = ()) -> Atoms:
    yx = lattice() + np.random.default_rng(len(vacancies)).normal(0, 0.1, lattice().shape)
    label = np.zeros(len(yx), dtype=np.int64)
    label[list(vacancies)] = 1
    return Atoms(yx, label, np.ones(len(yx)), CLASSES)


def frame(number: int) -> Frame:
    scan = pw.RasterROI(SHAPE, 1000)
    return Frame(np.zeros((1, *SHAPE), np.float32), ("HAADF",), Context((4.0, 4.0)), scan, number, 0, 1, 40000)


def workflow(seen: list[Atoms], **options) -> AtomWorkflow:
    return AtomWorkflow(lambda taken: seen[taken.sequence], CLASSES, **options)


def test_densities_count_the_atoms_of_each_cell():
    atoms = sheet((0, 1, 399))
    found = describe_atoms(atoms, SHAPE, PIXEL, cells=2)
    cell_nm2 = 4.0
    quarter = (atoms.yx[:, 0] >= 99.5) * 2 + (atoms.yx[:, 1] >= 99.5)
    expected = np.array([np.count_nonzero(quarter == cell) for cell in range(4)]) / cell_nm2
    assert np.allclose(found.extra["atoms"], expected)
    assert np.allclose(found.extra["vacancy"], np.array([2, 0, 0, 1]) / cell_nm2)
    assert np.allclose(found.extra["C"] + found.extra["vacancy"], found.extra["atoms"])
    assert np.allclose(found.centre_yx, [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)])
    assert np.allclose(found.extra["spacing"], 200, atol=6)  # 10 px of 20 pm, less what the noise takes


def test_a_rare_class_and_a_hole_are_outliers():
    plain, marked = sheet(), sheet((45,))
    assert describe_atoms(plain, SHAPE, PIXEL, cells=1).extra["outliers"][0] == 0
    assert describe_atoms(marked, SHAPE, PIXEL, cells=1).extra["outliers"][0] == pytest.approx(1 / 16)
    yx = np.delete(plain.yx, 210, axis=0)
    holed = Atoms(yx, np.zeros(len(yx), dtype=np.int64), np.ones(len(yx)), CLASSES)
    around = describe_atoms(holed, SHAPE, PIXEL, cells=1).extra["outliers"][0] * 16
    assert 8 <= around <= 30  # those next to the hole, and theirs


def test_displacements_of_a_perovskite():
    cage = lattice(20.0)
    left = cage[:, 1] < 80
    caged = cage + 10.0 + np.where(left, 1.0, -1.0)[:, None] * np.array([0.0, 1.0])
    caged = caged[(caged < 190).all(axis=1) & (np.abs(caged[:, 1] - 100) > 5)]  # none on the wall between the cells
    yx = np.concatenate([cage, caged])
    label = np.repeat([0, 1], [len(cage), len(caged)]).astype(np.int64)
    atoms = Atoms(yx, label, np.ones(len(yx)), ("perovskite A", "perovskite B"))
    found = describe_atoms(atoms, SHAPE, PIXEL, cells=2).extra
    assert found["off_centre_x"][0] == pytest.approx(20)  # 1 px of 20 pm
    assert found["off_centre_x"][1] == pytest.approx(-20)
    assert np.abs(found["off_centre_y"]).max() < 1e-9
    whole = describe_atoms(atoms, SHAPE, PIXEL, cells=1).extra
    assert whole["off_centre_spread"][0] > 15
    assert np.isnan(describe_atoms(sheet(), SHAPE, PIXEL).extra["off_centre_x"]).all()


@pytest.mark.parametrize(("shape", "cells"), [((8, 8), 2), ((9, 12), 3), ((7, 5), 2)])
def test_shares_of_areas_are_means_over_their_cells(shape, cells):
    first = np.random.default_rng(1).random(shape).astype(np.float32)
    found = describe_areas(Segments(np.stack([first, 1 - first]), ("crystal", "wall"), (0.1, 0.1)), cells=cells)
    places = [np.minimum(((np.arange(count) + 0.5) * cells // count).astype(int), cells - 1) for count in shape]
    for row in range(cells):
        for col in range(cells):
            part = first[np.ix_(places[0] == row, places[1] == col)]
            # single precision sums against double ones
            assert found["crystal"][row * cells + col] == pytest.approx(part.mean(), rel=1e-5)
    assert np.allclose(found["crystal"] + found["wall"], 1)


def test_maps_smaller_than_the_cells_are_refused():
    with pytest.raises(ValueError, match="segments has maps of 1 x 8, expected at least 2 pixels a side"):
        describe_areas(Segments(np.ones((1, 1, 8), np.float32), ("crystal",), (1.0, 1.0)), cells=2)


def test_an_area_may_be_followed():
    def areas(taken: Frame) -> Segments:
        wall = np.zeros((1, 8, 8), np.float32)
        wall[0, :, :4] = 0.5 * (taken.sequence % 4 == 3)
        return Segments(np.concatenate([1 - wall, wall]), ("crystal", "wall"), (0.5, 0.5))

    flow = AtomWorkflow(lambda taken: sheet(), CLASSES, areas, ("crystal", "wall"))
    descriptions = [flow.describe(frame(number)) for number in range(12)]
    report = flow.fit(descriptions)
    assert report.name in ("wall", "crystal")
    values = np.array([flow.value(description) for description in descriptions])
    assert values[3::4].min() > np.delete(values, np.s_[3::4]).max()
    assert np.allclose(flow.values(descriptions[3])[:, flow.columns.index("wall")], [0.5, 0, 0.5, 0])


KINDS = ("crystal", "wall")


def told(count: int, **columns) -> list[Description]:
    """Sites of one cell with given columns; those not given are as a perfect sheet has them."""
    plain = dict.fromkeys(("vacancy", "defects", "outliers", "wall"), 0.0)
    plain |= {"atoms": 9.0, "C": 9.0, "spacing": 140.0, "crystal": 1.0}
    plain |= dict.fromkeys(("off_centre_y", "off_centre_x", "off_centre_spread"), np.nan)
    return [
        Description(
            np.zeros((1, 0), np.float32),
            np.full((1, 2), 0.5),
            {name: np.array([columns[name][site] if name in columns else usual]) for name, usual in plain.items()},
        )
        for site in range(count)
    ]


def chosen(descriptions: list[Description], flow: AtomWorkflow | None = None) -> str:
    flow = flow or AtomWorkflow(lambda taken: sheet(), CLASSES, lambda taken: None, KINDS, refit_every=1)
    return flow.fit(descriptions).name


def test_directions_are_not_ranked_though_they_vary_most():
    along = np.where(np.arange(20) < 5, 25.0, -25.0)
    spread = np.where(np.isin(np.arange(20), (4, 11)), 8.0, 2.0)
    assert chosen(told(20, off_centre_y=along, off_centre_x=along, off_centre_spread=spread)) == "off_centre_spread"


def test_a_class_that_is_seldom_there_stands_over_one_that_often_is():
    noise = np.random.default_rng(0).poisson(1.0, 40).astype(float)
    lone = (np.arange(40) == 7).astype(float)
    assert chosen(told(40, defects=lone, outliers=noise)) == "defects"
    assert chosen(told(40, defects=noise, outliers=lone)) == "outliers"


def test_what_is_known_of_few_cells_is_not_ranked():
    """Spacings far apart in two cells of twelve, and atoms nowhere else: their presence is what is rare."""

    def film(bare: int, particles: int) -> list[Description]:
        atoms = np.array([0.0] * bare + [9.0] * particles)
        spacing = np.array([np.nan] * bare + [270.0 * 15**n for n in np.linspace(0, 1, particles)])
        none = np.zeros(bare + particles)
        return told(len(atoms), atoms=atoms, C=none, crystal=none, spacing=spacing)

    flow = AtomWorkflow(lambda taken: sheet(), CLASSES, lambda taken: None, KINDS, refit_every=1)
    assert chosen(film(10, 2), flow) == "atoms"
    assert chosen(film(10, 14), flow) == "atoms"  # nor does it take over when more cells are known


def test_a_rare_class_is_ranked_among_the_defects_only():
    lone = (np.arange(40) == 7).astype(float)
    assert chosen(told(40, vacancy=lone, defects=0.1 * lone)) == "defects"
    many = 4.0 * np.isin(np.arange(40), (7, 21, 33))  # 0.3 of 9 atoms per nm^2
    assert chosen(told(40, vacancy=many, defects=0.0 * many)) == "vacancy"


def test_defects_count_by_how_sure_they_are():
    atoms = sheet((0, 1, 399))
    score = np.full(len(atoms), 0.9)
    score[[0, 1, 399]] = 1.0, 0.75, 0.5
    found = describe_atoms(Atoms(atoms.yx, atoms.label, score, CLASSES), SHAPE, PIXEL, cells=2)
    assert np.allclose(found.extra["defects"] * 4.0, [1.25, 0, 0, 0])  # nm^2 of a cell
    half = np.arange(len(atoms)) % 2
    common = Atoms(atoms.yx, half.astype(np.int64), np.ones(len(atoms)), CLASSES)
    assert not describe_atoms(common, SHAPE, PIXEL, cells=2).extra["defects"].any()


def test_an_area_that_shows_itself_later_takes_over():
    flow = AtomWorkflow(lambda taken: sheet(), CLASSES, lambda taken: None, KINDS, refit_every=1)
    noise = np.random.default_rng(0).poisson(1.0, 30).astype(float)
    unsure = np.random.default_rng(1).uniform(0, 0.04, 30)  # under what counts as shown
    assert chosen(told(30, outliers=noise, wall=unsure), flow) == "outliers"
    wall = np.where(np.arange(30) > 27, 0.4, unsure)
    assert chosen(told(30, outliers=noise, wall=wall), flow) == "wall"
    assert chosen(told(30, outliers=noise, wall=wall), flow) == "wall"


def test_a_callable_is_given_the_values_themselves():
    seen = []

    def third(values):
        seen.append(values)
        return 2

    spread = np.arange(12.0)
    flow = workflow([], component=third)
    descriptions = told(12, vacancy=spread)
    flow.fit(descriptions)
    assert np.array_equal(seen[0][:, list(descriptions[0].extra).index("vacancy")], spread)


def test_no_atoms_at_all():
    nothing = Atoms(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), np.zeros(0), CLASSES)
    found = describe_atoms(nothing, SHAPE, PIXEL).extra
    assert (found["atoms"] == 0).all()
    assert np.isnan(found["spacing"]).all()


def test_labels_without_names_are_refused():
    atoms = sheet((0,))
    with pytest.raises(ValueError, match="label 1, expected below its 1 classes"):
        describe_atoms(Atoms(atoms.yx, atoms.label, atoms.score, ("C",)), SHAPE, PIXEL)


def test_rare_follows_what_few_sites_show():
    seen = [sheet() for _ in range(10)] + [sheet((50, 51, 150, 155)), sheet((60, 61, 62))]
    flow = workflow(seen)
    descriptions = [flow.describe(frame(number)) for number in range(12)]
    assert not flow.fitted
    report = flow.fit(descriptions)
    assert flow.fitted
    assert report.name in ("defects", "outliers")
    values = [flow.value(description) for description in descriptions]
    assert min(values[10:]) > max(values[:10])
    assert report.sign == 1.0


def test_a_named_column_and_its_sense():
    seen = [sheet((50,) * (number % 3)) for number in range(12)]
    flow = workflow(seen, component="atoms", sense="minimise", cells=1)
    descriptions = [flow.describe(frame(number)) for number in range(12)]
    flow.fit(descriptions)
    assert flow.columns[flow.component] == "atoms"
    assert flow.value(descriptions[0]) == pytest.approx(-400 / 16)


def test_a_column_new_to_the_run_may_take_over():
    plain = [sheet() for _ in range(12)]
    flow = workflow([*plain, *[sheet((50, 51, 150, 155)) for _ in range(3)]], refit_every=3)
    descriptions = [flow.describe(frame(number)) for number in range(15)]
    flow.fit(descriptions[:12])
    first = flow.columns[flow.component]
    assert first not in ("defects", "outliers")
    assert not flow.needs_refit([np.zeros(4)] * 2)
    assert flow.needs_refit([np.zeros(4)] * 3)
    report = flow.fit(descriptions)
    assert report.name in ("defects", "outliers")
    assert any("the followed column is now" in text for text in report.notices)


def test_state_gives_the_same_values():
    seen = [sheet((50,) * (number % 2)) for number in range(12)]
    flow = workflow(seen)
    descriptions = [flow.describe(frame(number)) for number in range(12)]
    flow.fit(descriptions)
    again = workflow(seen)
    again.restore(flow.state())
    assert [again.value(d) for d in descriptions] == [flow.value(d) for d in descriptions]
    assert again.columns == flow.columns
    one, other = flow.fit(descriptions), again.fit(descriptions)
    assert one.name == other.name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"refit_every": 0}, "refit_every is 0, expected at least 1"),
        ({"cells": 0}, "cells is 0, expected 1 to 16"),
        ({"component": np.zeros(3)}, "component is a template"),
        ({"sense": "up"}, "sense is 'up'"),
        ({"component": "gold"}, "got 'gold', expected a rule, an index or one of atoms, C, vacancy, defects, outliers"),
    ],
)
def test_wrong_settings_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        workflow([], **options)


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="descriptions is empty"):
        workflow([]).fit([])
    flow = workflow([sheet()], component=99)
    with pytest.raises(ValueError, match="component is 99"):
        flow.fit([flow.describe(frame(0))])
