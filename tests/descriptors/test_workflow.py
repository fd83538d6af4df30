# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.stats import pearsonr

from probewise.descriptors import LinearWorkflow, component_picture
from probewise.descriptors.basis import match_columns, residual_limit
from probewise.descriptors.picture import ask_choices, positions_nm
from probewise.types import Context, Frame, RasterROI
from reference.lattices import frame_of, pillar_image

DISCS = [None] * 11 + [(4, 4, 3.5), (0, 0, 5), (8, 4, 4), (4, 4, 2.0), (2, 6, 2.5)]


@pytest.fixture(scope="module")
def sites():
    """(frames, share filled by a pillar) of 16 sites, the beam current flickering by 3 %."""
    rng = np.random.default_rng(8)
    images = [
        pillar_image(disc, seed=seed, current=1 + 0.03 * rng.standard_normal()) for seed, disc in enumerate(DISCS)
    ]
    frames = [frame_of(image, shift_nm=(8.0 * i, -8.0 * i)) for i, (image, _) in enumerate(images)]
    return frames, np.array([share for _, share in images])


def fitted(frames, **options):
    workflow = LinearWorkflow(**options)
    descriptions = [workflow.describe(frame) for frame in frames]
    report = workflow.fit(descriptions, seed=0)
    return workflow, descriptions, report


@pytest.mark.parametrize("method", ["nmf", "pca", "nfindr"])
def test_value_follows_the_share_of_the_rare_phase(sites, method):
    frames, share = sites
    workflow, descriptions, report = fitted(frames, method=method)
    values = np.array([workflow.value(description) for description in descriptions])
    assert values[share > 0.05].min() > values[share == 0].max()
    assert pearsonr(values, share).statistic > 0.97
    assert report.component == workflow.component
    assert workflow.values(descriptions[0]).shape == (25, len(workflow.columns))


def test_gain_and_beam_current_do_not_change_a_value(sites):
    frames, _ = sites
    workflow, descriptions, _ = fitted(frames, method="pca")
    brighter = frame_of(np.ascontiguousarray(frames[12].image() * np.float32(1.7)))
    # float32 frames: only rounding differs
    assert workflow.value(workflow.describe(brighter)) == pytest.approx(workflow.value(descriptions[12]), rel=1e-4)
    plain, bright = descriptions[12].extra["intensity"], workflow.describe(brighter).extra["intensity"]
    assert np.allclose(bright, 1.7 * plain, rtol=1e-5)


def test_description_is_one_row_a_window(sites):
    frames, _ = sites
    description = LinearWorkflow().describe(frames[0])
    assert description.features.shape == (25, 2097)
    assert description.features.dtype == np.float32
    assert (description.features >= 0).all()
    assert np.allclose(description.centre_yx[[0, 1, 24]], [(0.16, 0.16), (0.16, 0.33), (0.84, 0.84)])
    assert list(description.extra) == ["intensity", "spacing_nm", "spacing_1_nm", "spacing_2_nm"]


def test_unknown_phase_calls_for_a_refit(sites):
    frames, _ = sites
    workflow = LinearWorkflow(method="pca")
    descriptions = [workflow.describe(frame) for frame in frames]
    workflow.fit(descriptions[:10])
    known, unknown = workflow.residual(descriptions[10]), workflow.residual(descriptions[11])
    assert unknown.mean() > 1.5 * known.mean()
    assert workflow.needs_refit([unknown])
    assert workflow.needs_refit([known, unknown])
    assert not workflow.needs_refit([])
    assert workflow.needs_refit([known] * 20)
    assert not workflow.needs_refit([known] * 19)
    workflow.fit(descriptions)
    assert not workflow.needs_refit([workflow.residual(descriptions[11])])


@pytest.mark.parametrize("method", ["nmf", "pca"])
def test_columns_keep_their_place_over_a_refit(sites, method):
    frames, _ = sites
    workflow, descriptions, first = fitted(frames, method=method)
    assert (first.mapping == -1).all()
    before = np.concatenate([workflow.values(description) for description in descriptions])
    second = workflow.fit([*descriptions, workflow.describe(frames[3])], seed=1)
    after = np.concatenate([workflow.values(description) for description in descriptions])
    for column in np.flatnonzero(second.mapping >= 0):
        assert second.mapping[column] == column
        assert pearsonr(before[:, column], after[:, column]).statistic >= 0.5
    assert second.mapping[workflow.component] == workflow.component == first.component
    assert second.similarity[workflow.component] > 0.9


def test_state_restores_the_same_bits(sites):
    frames, _ = sites
    workflow, descriptions, _ = fitted(frames)
    again = LinearWorkflow()
    again.restore(workflow.state())
    assert again.component == workflow.component
    assert again.columns == workflow.columns
    for frame, description in zip(frames, descriptions, strict=True):
        assert np.array_equal(again.values(description), workflow.values(description), equal_nan=True)
        assert np.array_equal(again.describe(frame).features, description.features)
        assert again.value(description) == workflow.value(description)
        residual = workflow.residual(description)
        assert again.needs_refit([residual]) == workflow.needs_refit([residual])


def test_state_of_another_setting_is_refused(sites):
    workflow, _, _ = fitted(sites[0][:12], method="pca")
    with pytest.raises(ValueError, match="state has method 'pca', expected 'nmf'"):
        LinearWorkflow().restore(workflow.state())
    with pytest.raises(ValueError, match="state has convention 'hamming', expected 'log'"):
        LinearWorkflow(method="pca", convention="log").restore(workflow.state())


def test_repeated_fits_give_the_same_bits(sites):
    first, descriptions, _ = fitted(sites[0])
    second, _, _ = fitted(sites[0])
    assert [first.value(d) for d in descriptions] == [second.value(d) for d in descriptions]


def test_component_by_name_index_callable_and_template(sites):
    frames, share = sites
    by_name, descriptions, _ = fitted(frames, component="intensity", sense="minimise")
    assert by_name.columns[by_name.component] == "intensity"
    assert by_name.value(descriptions[0]) == pytest.approx(-float(descriptions[0].extra["intensity"].mean()))
    by_index, _, _ = fitted(frames, component=2, sense="maximise")
    assert by_index.component == 2
    residual = len(by_index.basis)
    by_number, _, _ = fitted(frames, component=residual)
    assert by_number.columns[by_number.component] == "residual"
    seen = []
    by_callable, _, _ = fitted(frames, component=lambda values: seen.append(values.shape) or 1)
    assert by_callable.component == 1
    assert seen == [(16 * 25, 4)]
    window = np.ascontiguousarray(frames[11].image()[136:264, 136:264])
    by_picture, _, _ = fitted(frames, component=window, sense="maximise")
    values = np.array([by_picture.value(description) for description in descriptions])
    assert values[share > 0.4].min() > values[share == 0].max()
    spectrum = by_picture.basis[3].copy()
    assert fitted(frames, component=spectrum)[0].component == 3


def test_a_person_is_asked_once_while_the_component_lives_on(sites):
    calls = []
    workflow, descriptions, _ = fitted(sites[0], method="pca", component=lambda values: calls.append(1) or 0)
    workflow.fit(descriptions, seed=1)
    assert len(calls) == 1


def test_deviation_is_the_distance_from_the_median(sites):
    workflow, descriptions, _ = fitted(sites[0], component="intensity", sense="deviation")
    every = np.concatenate([description.extra["intensity"] for description in descriptions])
    expected = np.abs(descriptions[4].extra["intensity"] - np.median(every))
    assert np.allclose(workflow.window_values(descriptions[4]), expected)


def test_windows_without_a_peak_are_left_out_of_the_mean(sites):
    workflow, descriptions, _ = fitted(sites[0], component="spacing_nm", sense="maximise")
    flat = workflow.describe(frame_of(np.random.default_rng(0).poisson(50, (400, 400)).astype(np.float32)))
    assert np.isnan(workflow.value(flat))
    mixed = descriptions[11].extra["spacing_nm"]
    assert 0 < np.isnan(mixed).sum() < 25
    assert workflow.value(descriptions[11]) == pytest.approx(float(np.nanmean(mixed)))


def test_dark_frame_has_no_features(sites):
    workflow, _, _ = fitted(sites[0])
    dark = np.random.default_rng(0).normal(-1.0, 1.0, (400, 400)).astype(np.float32)
    description = workflow.describe(frame_of(dark))
    assert not description.features.any()
    assert np.isfinite(workflow.value(description))


def test_few_sites_are_noted(sites):
    _, _, report = fitted(sites[0][:6], method="pca")
    assert any("fitted to 6 sites, at least 12" in notice for notice in report.notices)


def test_spectra_have_unit_length_and_noise_alone_is_short(sites):
    lengths = np.linalg.norm(LinearWorkflow().describe(sites[0][0]).features, axis=1)
    assert ((lengths > 0.99) & (lengths <= 1 + 1e-6)).all()
    flat = np.random.default_rng(0).poisson(50, (400, 400)).astype(np.float32)
    noise = np.linalg.norm(LinearWorkflow().describe(frame_of(flat)).features, axis=1)
    assert noise.max() < 0.3  # 0.1 over hypot(0.1, 0.4) medians a bin


def test_fading_fringes_do_not_pass_for_another_phase(sites):
    frames, _ = sites
    workflow, descriptions, _ = fitted(frames, method="pca")
    plain = frames[0].image()
    faded = frame_of(plain + np.float32(0.5 * plain.mean()))
    values = [workflow.value(description) for description in descriptions]
    assert workflow.value(workflow.describe(faded)) == pytest.approx(values[0], abs=0.02 * np.ptp(values))


def test_log_convention_evens_out_strong_and_weak_peaks(sites):
    plain = LinearWorkflow().describe(sites[0][0]).features
    even = LinearWorkflow(convention="log").describe(sites[0][0]).features
    assert ((even > 0) == (plain > 0)).all()
    assert even.max() < 0.5 * plain.max()


def test_small_frames_are_one_window():
    image, _ = pillar_image(None, side_px=64)
    description = LinearWorkflow().describe(frame_of(image))
    assert len(description.features) == 1
    assert np.allclose(description.centre_yx, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ica"}, "method is 'ica'"),
        ({"convention": "power"}, "convention is 'power'"),
        ({"sense": "up"}, "sense is 'up'"),
        ({"refit_every": 0}, "refit_every is 0"),
        ({"components": 0}, "components is 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LinearWorkflow(**options)


def test_wrong_frames_and_order_are_named(sites):
    workflow = LinearWorkflow()
    with pytest.raises(ValueError, match="no basis yet"):
        _ = workflow.component
    with pytest.raises(ValueError, match="descriptions is empty"):
        workflow.fit([])
    description = workflow.describe(sites[0][0])
    with pytest.raises(ValueError, match="no basis yet"):
        workflow.values(description)
    with pytest.raises(ValueError, match=r"frame has \(64, 64\) pixels"):
        workflow.describe(frame_of(np.ones((64, 64), np.float32)))
    broken = sites[0][0].image().copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="non-finite pixel"):
        workflow.describe(frame_of(broken))
    with pytest.raises(ValueError, match="window is 500"):
        LinearWorkflow(window_px=500).describe(sites[0][0])
    with pytest.raises(ValueError, match="too few to hold lattice periods"):
        LinearWorkflow(window_px=16).describe(frame_of(np.ones((64, 64), np.float32), pixel_nm=0.001))


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("brightest", "by is 'brightest'"),
        (40, "component is 40, expected 0 to 8"),
        (np.ones(3), r"template float64 of shape \(3,\)"),
        (np.zeros((128, 128), np.float32), "template with mean 0.0"),
    ],
)
def test_wrong_component_rules_are_named(sites, component, message):
    with pytest.raises(ValueError, match=message):
        fitted(sites[0][:12], method="pca", component=component)


def test_columns_are_matched_through_order_and_sign():
    rng = np.random.default_rng(0)
    previous = rng.normal(size=(200, 3))
    fresh = np.column_stack([previous[:, 2], rng.normal(size=200), -previous[:, 0]])
    match, similarity = match_columns(previous, fresh, signed=True)
    assert match.order.tolist() == [2, 1, 0]
    assert match.signs[[0, 2]].tolist() == [-1, 1]
    assert match.previous.tolist() == [0, -1, 2]
    assert np.allclose(similarity[[0, 2]], 1)
    unsigned, _ = match_columns(previous, fresh, signed=False)
    assert unsigned.previous.tolist()[2] == 2
    assert unsigned.previous[unsigned.order == 2] == -1


def test_fewer_or_more_columns_than_before():
    rng = np.random.default_rng(0)
    previous = rng.normal(size=(50, 3))
    fewer, _ = match_columns(previous, previous[:, [0, 1]], signed=False)
    assert sorted(fewer.order.tolist()) == [0, 1]
    more, _ = match_columns(previous, np.column_stack([rng.normal(size=50), previous]), signed=False)
    assert more.order.tolist() == [1, 2, 3, 0]
    assert more.previous.tolist() == [0, 1, 2, -1]


def test_residual_limit_stands_over_the_fitted_sites():
    assert residual_limit([0.1, 0.1, 0.1]) == pytest.approx(0.1)
    assert residual_limit([0.1, 0.12, 0.14]) == pytest.approx(0.12 + 5 * 1.4826 * 0.02)
    assert residual_limit([0.1, 0.1, 0.1, 0.9]) == pytest.approx(0.9)


def test_component_picture_is_written(sites, tmp_path):
    frames, _ = sites
    workflow, descriptions, _ = fitted(frames, method="nfindr")
    component_picture(descriptions, frames, workflow, tmp_path / "components.png")
    from skimage.io import imread

    picture = imread(tmp_path / "components.png")
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 20
    with pytest.raises(ValueError, match="16 descriptions and 2 frames"):
        component_picture(descriptions, frames[:2], workflow, tmp_path / "none.png")


def test_choices_name_the_extreme_windows(sites):
    frames, _ = sites
    workflow, descriptions, _ = fitted(frames, method="nfindr")
    choices = ask_choices(descriptions, workflow)
    assert [choice.index for choice in choices] == [0, 1, 2, 3]
    followed = next(choice for choice in choices if choice.followed)
    site, window = followed.highest[0]
    table = np.stack([workflow.values(description)[:, followed.index] for description in descriptions])
    assert table[site, window] == table.max()
    assert followed.skewness == pytest.approx(float(((table - table.mean()) ** 3).mean() / table.std() ** 3))


def test_window_positions_are_in_the_survey_field():
    image, _ = pillar_image(None, side_px=128)
    scan = RasterROI((128, 128), 4000, centre_yx=(0.25, 0.75), size_yx=(0.1, 0.2))
    frame = Frame(image[None], ("HAADF",), Context((100.0, 50.0), (3.0, 4.0)), scan, 0, 0, 1, image.size)
    workflow = LinearWorkflow(window_px=64, step_px=64)
    place = positions_nm(frame, workflow.describe(frame).centre_yx)
    assert np.allclose(place[0], (3 - 25 - 2.5, 4 + 12.5 - 2.5))
    assert np.allclose(place[3], (3 - 25 + 2.5, 4 + 12.5 + 2.5))
