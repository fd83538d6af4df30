# SPDX-License-Identifier: BSD-3-Clause
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise import _core
from probewise.instrument import SPECIMENS, Detector, Distortions, render, truth
from probewise.instrument.optics import REACH_NM, Probe, profile_tables
from probewise.instrument.specimens import build
from probewise.types import Context, RasterROI, ScanPath
from reference.render import direct_sum

STILL, IDEAL = Distortions.none(), Detector.ideal()
ELECTRONS_PER_NS = 60e-12 / 1.602176634e-19 * 1e-9


def ideal(name, roi, context=None, **options):
    """Scattered fraction of each pixel before an electron is counted once: the linear sum."""
    frame = render(name, roi, context=context, distortions=STILL, detector=IDEAL, **options)
    dwell = roi.dwell_ns if isinstance(roi, RasterROI) else roi.dwell_ns.astype(float)
    return -np.log1p(-frame.counts[0].astype(float) / (ELECTRONS_PER_NS * dwell))


def path_at(points_nm, fov_nm=200.0, dwell_ns=1000):
    count = len(points_nm)
    return ScanPath(
        yx=np.asarray(points_nm, dtype=np.float64) / fov_nm,
        dwell_ns=np.full(count, dwell_ns, dtype=np.int64),
        active=np.ones(count, dtype=bool),
        pixel=np.arange(count, dtype=np.int32),
        shape=(1, count),
    )


@pytest.mark.parametrize("name", SPECIMENS)
def test_renderer_equals_the_direct_sum_over_atoms(name):
    roi, context = RasterROI((9, 13), 1000), Context((1.1, 1.7), (4.0, -7.0))
    ours = ideal(name, roi, context)
    made = build(name)
    box = (100 + 4 - 2, 100 - 7 - 2, 100 + 4 + 2, 100 - 7 + 2)
    yx, species, weight = made.core.atoms(box)
    rows, cols = np.indices(roi.shape)
    points = np.stack([104 + ((rows + 0.5) / 9 - 0.5) * 1.1, 93 + ((cols + 0.5) / 13 - 0.5) * 1.7], axis=-1).reshape(
        -1, 2
    )
    tables = profile_tables(Probe(), made.species, 0.0)
    expected = direct_sum(points, yx, species, weight, tables, REACH_NM).reshape(roi.shape)
    # float32 positions (1.5e-5 nm) and integer units of 3e-8 of the brightest column
    assert np.allclose(ours, expected, rtol=2e-3, atol=2e-6 * tables.max())


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(SPECIMENS), data=st.data())
def test_a_position_gives_the_same_value_in_any_path(name, data):
    place = st.tuples(st.floats(1, 199), st.floats(1, 199))
    points = np.array(data.draw(st.lists(place, min_size=2, max_size=30, unique=True)))
    some = data.draw(st.integers(0, len(points) - 1))
    whole = render(name, path_at(points), distortions=STILL, detector=IDEAL).counts[0]
    alone = render(name, path_at(points[some : some + 1]), distortions=STILL, detector=IDEAL).counts[0]
    assert alone[0] == whole[some]


def test_a_sub_scan_is_a_cut_of_the_bigger_scan():
    # 256 pixels over 2 nm: fractions and lengths are exact in binary, so that positions agree to the last bit.
    big = ideal("nio-lsmo", RasterROI((256, 256), 1000), Context((32.0, 32.0)))
    small = ideal("nio-lsmo", RasterROI((64, 64), 1000), Context((8.0, 8.0), (-8.0, 4.0)))
    assert np.array_equal(small, big[32:96, 128:192])
    window = RasterROI((64, 64), 1000, centre_yx=(0.25, 0.625), size_yx=(0.25, 0.25))
    assert np.array_equal(ideal("nio-lsmo", window, Context((32.0, 32.0))), small)


def test_the_order_of_the_points_does_not_matter():
    points = np.random.default_rng(0).uniform(20, 60, (500, 2))
    forward = render("bfo", path_at(points), distortions=STILL, detector=IDEAL).counts[0]
    backward = render("bfo", path_at(points[::-1]), distortions=STILL, detector=IDEAL).counts[0]
    assert np.array_equal(forward, backward[::-1])


def test_axes_are_not_swapped_and_shift_points_the_right_way():
    dopant = next(t for t in truth("graphene", seed=0).objects if t.kind == "Si dopant").samples_nm[0]
    shift = dopant - 100 - (0.4, -0.9)  # the field's centre lies 0.4 nm above and 0.9 nm right of the dopant
    image = ideal("graphene", RasterROI((60, 120), 1000), Context((3.0, 6.0), tuple(shift)))
    row, col = np.unravel_index(image.argmax(), image.shape)
    expected = (dopant - 100 - shift) / (3.0, 6.0) + 0.5
    assert abs((row + 0.5) / 60 - expected[0]) <= 0.51 / 60
    assert abs((col + 0.5) / 120 - expected[1]) <= 0.51 / 120


def test_rotation_is_counter_clockwise():
    dopant = next(t for t in truth("graphene", seed=0).objects if t.kind == "Si dopant").samples_nm[0]
    shift = dopant - 100 - (0.0, 1.0)  # the dopant lies 1 nm right of the field's centre
    # A scan turned by +90 degrees has its right edge at the top of the sample: what lies right comes to its bottom.
    image = ideal("graphene", RasterROI((80, 80), 1000), Context((4.0, 4.0), tuple(shift), rotation_rad=math.pi / 2))
    row, col = np.unravel_index(image.argmax(), image.shape)
    assert abs((row + 0.5) / 80 - 0.75) <= 0.02
    assert abs((col + 0.5) / 80 - 0.5) <= 0.02


def test_vector_path_equals_the_raster_it_walks():
    roi, context = RasterROI((16, 24), 1000), Context((1.0, 2.0), (3.0, 4.0))
    rows, cols = np.indices(roi.shape)
    yx = np.stack([(rows + 0.5) / 16, (cols + 0.5) / 24], axis=-1).reshape(-1, 2)
    path = dataclasses.replace(path_at(yx, 1.0), shape=roi.shape)
    vector = render("bfo", path, context=context, distortions=STILL, detector=IDEAL)
    raster = render("bfo", roi, context=context, distortions=STILL, detector=IDEAL)
    # positions differ by float32 rounding only
    assert np.allclose(vector.counts[0], raster.counts[0].ravel(), rtol=1e-3)


def test_pillars_are_darker_and_the_hole_is_dark():
    made = truth("nio-lsmo", seed=1, features=("hole",))
    image = ideal("nio-lsmo", RasterROI((200, 200), 1000), seed=1, features=("hole",))
    labels = made.labels[::2, ::2]
    pillar, matrix, hole = (image[labels == k].mean() for k in (1, 0, 2))
    assert pillar < 0.97 * matrix  # NiO scatters a tenth less than LSMO of the same thickness
    assert hole < 0.01 * matrix  # a label pixel at the rim sees the columns beside it


def test_thick_and_contaminated_areas_are_brighter():
    for feature in ("thick", "contamination"):
        made = truth("graphene", seed=1, features=(feature,))
        image = ideal("graphene", RasterROI((200, 200), 1000), seed=1, features=(feature,))
        labels = made.labels[::2, ::2]
        assert image[labels == made.label_names.index(feature)].mean() > 2 * image[labels == 0].mean()


def test_mean_of_graphene_is_the_cross_section_times_the_density():
    from probewise.instrument.optics import cross_section_A2

    image = ideal("graphene", RasterROI((200, 200), 1000), Context((9.0, 9.0), (60.0, 80.0)), seed=0)
    density = 2 / (math.sqrt(3) / 2 * 2.46**2)
    expected = density * cross_section_A2(6, 60.0, (54, 200), 32.0)
    # the cut tail: 4 %; the field is not a whole number of cells: 1 %
    assert image.mean() == pytest.approx(expected * 0.96, rel=0.02)


def test_defocus_over_a_tilted_field_blurs_the_far_side():
    tilted = dataclasses.replace(STILL, tilt_deg=(0.0, 5.0))
    contrast = []
    for shift in (0.0, 60.0, 90.0):
        frame = render(
            "strained", RasterROI((50, 50), 1000), context=Context((3.0, 3.0), (0.0, shift)), distortions=tilted,
            detector=IDEAL,
        )  # fmt: skip
        contrast.append(frame.counts[0].std() / frame.counts[0].mean())
    assert contrast[0] > 1.3 * contrast[1] > 1.3 * contrast[2]
    defocused = render(
        "strained", RasterROI((50, 50), 1000), context=Context((3.0, 3.0), (0.0, 60.0)), distortions=tilted,
        detector=IDEAL, probe=Probe(defocus_nm=60 * math.tan(math.radians(5))),
    ).counts[0]  # fmt: skip
    assert defocused.std() / defocused.mean() == pytest.approx(contrast[0], rel=0.15)


def test_dose_sets_the_current():
    roi, context = RasterROI((40, 40), 4000), Context((0.8, 0.8))
    frame = render("graphene", roi, context=context, dose_e_per_A2=4e4, distortions=STILL, detector=IDEAL)
    reference = ideal("graphene", roi, context)
    assert np.allclose(frame.counts[0], -np.expm1(-reference) * 4e4 * 0.04, rtol=1e-4)
    assert frame.pixel_nm == (0.02, 0.02)


def test_dose_needs_pixels():
    with pytest.raises(ValueError, match="dose_e_per_A2 needs a RasterROI"):
        render("graphene", path_at([(100, 100)]), dose_e_per_A2=1e3)
    with pytest.raises(ValueError, match="dose_e_per_A2 is -1"):
        render("graphene", RasterROI((4, 4), 1000), dose_e_per_A2=-1)


def test_compiled_core_names_wrong_parts():
    specimen = _core.instrument.Specimen(0)
    columns = np.array([[0.0, 0, 3, 1, 0, 0, 0]])
    with pytest.raises(ValueError, match="a, b span no area"):
        specimen.add_lattice((0, 0), (1, 0), (2, 0), columns)
    with pytest.raises(ValueError, match="blob is 0, expected the index of an added blob"):
        specimen.add_lattice((0, 0), (1, 0), (0, 1), columns, region="inside_blob", blob=0)
    with pytest.raises(ValueError, match="region is 'moat'"):
        specimen.add_lattice((0, 0), (1, 0), (0, 1), columns, region="moat")
    with pytest.raises(TypeError, match="columns is a float32 array"):
        specimen.add_lattice((0, 0), (1, 0), (0, 1), columns.astype(np.float32))
    with pytest.raises(ValueError, match="radius is 0"):
        specimen.add_blob((0, 0), 0.0)
    with pytest.raises(ValueError, match="kind is 'moat'"):
        specimen.add_patch("moat", (0, 0), 1.0)
    with pytest.raises(ValueError, match="lattice is 4, expected an added lattice"):
        specimen.substitute(4, 0, 0, 0, 0)
    specimen.add_lattice((0, 0), (1, 0), (0, 1), columns)
    with pytest.raises(ValueError, match="species is 3, expected below 1"):
        _core.instrument.Microscope(
            specimen,
            np.ones((1, 1, 10), dtype=np.float32),
            reach_nm=0.5,
            focus_step_nm=1.0,
            defocus_nm=0.0,
            slope=(0.0, 0.0),
            centre=(0.0, 0.0),
            distortions=_core.instrument.Distortions(),
            detector=_core.instrument.Detector(),
            seed=0,
        )
