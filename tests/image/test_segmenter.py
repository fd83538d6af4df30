# SPDX-License-Identifier: BSD-3-Clause
"""A frame is resampled to the network's pixel, its range made robust, and the maps cover it edge to edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import probewise as pw
from probewise.errors import ConfigurationError
from probewise.image import Segmenter

onnx = pytest.importorskip("onnx", reason="tiny models are written with onnx")
pytest.importorskip("onnxruntime", reason="models run in the extra `cpu`")

import tiny_models  # noqa: E402


@pytest.fixture(name="tiny")
def _tiny(tmp_path: Path) -> Path:
    """Native pixel 0.02 nm, 0.01 to 0.05 allowed, sides multiples of 8, one class and the background."""
    return tiny_models.write(
        tmp_path, tiny_models.as_model(tiny_models.segmenter_graph()), tiny_models.segmenter_card()
    )


def test_maps_cover_the_frame_at_the_native_pixel(tiny: Path) -> None:
    frame = np.random.default_rng(0).random((100, 130), dtype=np.float32)
    found = Segmenter(tiny)(frame, pixel_nm=(0.04, 0.02))
    # 4 nm and 2.6 nm at 0.02 nm, up to multiples of 8
    assert found.probability.shape == (2, 200, 136)
    assert found.classes == ("grain", "background")
    np.testing.assert_allclose(found.pixel_nm, (4.0 / 200, 2.6 / 136))
    np.testing.assert_allclose(found.probability.sum(axis=0), 1, atol=1e-6)  # float32 softmax
    assert np.array_equal(found.label, (found.probability[1] > found.probability[0]).astype(int))


def test_at_the_native_pixel_the_network_sees_the_robust_frame(tiny: Path) -> None:
    segmenter = Segmenter(tiny)
    frame = 500 + 90 * np.random.default_rng(1).random((64, 72), dtype=np.float32)
    low, high = np.percentile(frame, [0.5, 99.5])
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    windows = np.lib.stride_tricks.sliding_window_view(frame.astype(float), (3, 3))
    noise = np.median(np.abs((windows * kernel).sum(axis=(2, 3)))) / 0.6745
    seen = ((frame - low) / max(high - low, 8 * noise)).astype(np.float32)
    (expected,) = segmenter.model.run(seen[None, None])
    # float32 percentiles of another summation order
    np.testing.assert_allclose(segmenter(frame, pixel_nm=0.02).probability, expected[0], atol=1e-5)


def test_a_frame_brings_its_own_pixel(tiny: Path) -> None:
    frame = pw.render("bfo", pw.RasterROI((40, 60), 4000), context=pw.Context((1.6, 2.4)))
    segmenter = Segmenter(tiny)
    found = segmenter(frame)
    assert found.probability.shape == (2, 80, 120)
    assert np.array_equal(found.probability, segmenter(frame.image(), pixel_nm=0.04).probability)


def test_an_array_without_a_pixel_has_the_native_one(tiny: Path) -> None:
    frame = np.random.default_rng(2).random((64, 64), dtype=np.float32)
    segmenter = Segmenter(tiny)
    assert np.array_equal(segmenter(frame).probability, segmenter(frame, pixel_nm=0.02).probability)
    np.testing.assert_allclose(segmenter(frame).pixel_nm, 0.02)


@pytest.mark.parametrize("pixel_nm", [0.2, 0.001, (0.02, 0.06)])
def test_a_pixel_outside_the_range_of_the_card_is_refused(tiny: Path, pixel_nm: float) -> None:
    with pytest.raises(
        ConfigurationError, match=r"pixel_nm is .*, expected 0\.01 to 0\.05 nm, the range of model tiny"
    ):
        Segmenter(tiny)(np.zeros((64, 64), dtype=np.float32), pixel_nm=pixel_nm)


def test_wrong_images_are_refused(tiny: Path) -> None:
    segmenter = Segmenter(tiny)
    with pytest.raises(ValueError, match=r"image has shape \(64,\)"):
        segmenter(np.zeros(64, dtype=np.float32))
    with pytest.raises(TypeError, match="float64"):
        segmenter(np.zeros((64, 64)))
    with pytest.raises(ValueError, match="pixel_nm is nan"):
        segmenter(np.zeros((64, 64), dtype=np.float32), pixel_nm=float("nan"))


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    card = tiny_models.segmenter_card(kind="atoms")
    path = tiny_models.write(tmp_path, tiny_models.as_model(tiny_models.segmenter_graph()), card)
    with pytest.raises(ConfigurationError, match="model tiny is of kind atoms, expected segments"):
        Segmenter(path)
