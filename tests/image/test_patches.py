# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import probewise as pw

IMAGE = np.random.default_rng(2).normal(0, 1, (40, 50)).astype(np.float32)


def reference(image, centres, side, subpixel, circular):
    """One centre after the other, by SciPy where the window lies between pixels."""
    patches, kept = [], []
    middle = (side - 1) / 2
    offset = np.arange(side)
    outside = (offset[:, None] - middle) ** 2 + (offset - middle) ** 2 > (side / 2) ** 2
    for number, centre in enumerate(centres):
        corner = centre - middle if subpixel else np.floor(centre + 0.5) - side // 2
        if (corner < 0).any() or (corner + side - 1 > np.array(image.shape) - 1).any():
            continue
        grid = np.meshgrid(corner[0] + offset, corner[1] + offset, indexing="ij")
        patch = ndimage.map_coordinates(image.astype(np.float64), grid, order=1)
        patches.append(np.where(outside, 0, patch) if circular else patch)
        kept.append(number)
    return np.array(patches).reshape(-1, side, side), np.array(kept, dtype=np.int64)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 16), st.booleans(), st.booleans(), st.sampled_from([1.0, 0.5, 0.01]), st.integers(0, 2**31))
def test_patches_are_those_of_a_loop(side, subpixel, circular, grid, seed):
    rng = np.random.default_rng(seed)
    centres = np.round(rng.uniform(-4, 54, (30, 2)) / grid) * grid  # halves and wholes are the cases with an edge
    patches, kept = pw.extract_patches(IMAGE, centres, side, subpixel=subpixel, circular=circular)
    expected, expected_kept = reference(IMAGE, centres, side, subpixel, circular)
    np.testing.assert_array_equal(kept, expected_kept)
    np.testing.assert_allclose(patches, expected, atol=1e-6)  # four float32 products
    if not subpixel and not circular:
        assert np.isin(patches, IMAGE).all()


def test_conventions_by_hand():
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    even, _ = pw.extract_patches(image, np.array([[5.0, 5.0]]), 4)
    np.testing.assert_array_equal(even[0], image[3:7, 3:7])
    odd, _ = pw.extract_patches(image, np.array([[5.0, 5.0]]), 3)
    np.testing.assert_array_equal(odd[0], image[4:7, 4:7])
    half, _ = pw.extract_patches(image, np.array([[4.5, 3.5]]), 3)  # floor(x + 0.5), not half to even
    np.testing.assert_array_equal(half[0], image[4:7, 3:6])
    between, _ = pw.extract_patches(image, np.array([[4.5, 4.5]]), 2, subpixel=True)
    np.testing.assert_array_equal(between[0], image[4:6, 4:6])
    disc, _ = pw.extract_patches(image + 1, np.array([[5.0, 5.0]]), 5, circular=True)
    np.testing.assert_array_equal((disc[0] > 0).sum(axis=1), [3, 5, 5, 5, 3])


def test_windows_that_touch_the_edge_are_kept_and_those_that_cross_it_are_not():
    corners = np.array([[2.0, 2.0], [1.0, 2.0], [37.0, 47.0], [37.0, 48.0], [1e300, 5.0], [-1e300, 5.0]])
    for subpixel in (False, True):
        patches, kept = pw.extract_patches(IMAGE, corners, 5, subpixel=subpixel)
        np.testing.assert_array_equal(kept, [0, 2])
        np.testing.assert_array_equal(patches[1], IMAGE[-5:, -5:])


def test_a_reused_buffer_is_written_from_its_start():
    buffer = np.full((9, 4, 4), -1.0, dtype=np.float32)
    patches, kept = pw.extract_patches(IMAGE, np.array([[0.0, 0.0], [20.0, 20.0]]), 4, out=buffer)
    assert patches.base is buffer
    assert len(patches) == len(kept) == 1
    np.testing.assert_array_equal(buffer[0], IMAGE[18:22, 18:22])
    assert (buffer[1:] == -1).all()


def test_no_centres_give_no_patches():
    patches, kept = pw.extract_patches(IMAGE, np.empty((0, 2)), 8)
    assert patches.shape == (0, 8, 8)
    assert kept.shape == (0,)


def test_what_is_not_a_number_stays_so():
    image = IMAGE.copy()
    image[20, 20] = np.nan
    patches, _ = pw.extract_patches(image, np.array([[20.0, 20.0]]), 3)
    assert np.isnan(patches).sum() == 1


def test_wrong_arguments_are_refused():
    centre = np.array([[10.0, 10.0]])
    with pytest.raises(ValueError, match="centres holds nan at row 1"):
        pw.extract_patches(IMAGE, np.array([[1.0, 2.0], [3.0, np.nan]]), 4)
    with pytest.raises(TypeError, match="centres is a int64 array"):
        pw.extract_patches(IMAGE, centre.astype(np.int64), 4)
    with pytest.raises(ValueError, match="expected length 2 on axis 1"):
        pw.extract_patches(IMAGE, np.zeros((1, 3)), 4)
    with pytest.raises(TypeError, match="image is a float64 array"):
        pw.extract_patches(IMAGE.astype(np.float64), centre, 4)
    with pytest.raises(ValueError, match="not C-contiguous"):
        pw.extract_patches(IMAGE[:, ::2], centre, 4)
    with pytest.raises(ValueError, match="side is 0"):
        pw.extract_patches(IMAGE, centre, 0)
    with pytest.raises(ValueError, match=r"out has shape \(1, 5, 5\)"):
        pw.extract_patches(IMAGE, centre, 4, out=np.empty((1, 5, 5), dtype=np.float32))
    with pytest.raises(ValueError, match="room for 2 patches"):
        pw.extract_patches(IMAGE, np.repeat(centre, 2, axis=0), 4, out=np.empty((1, 4, 4), dtype=np.float32))
    with pytest.raises(TypeError, match="out is a float64 array"):
        pw.extract_patches(IMAGE, centre, 4, out=np.empty((1, 4, 4)))
    stack = np.zeros((10, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        pw.extract_patches(stack[0], np.array([[2.0, 2.0]]), 4, out=stack)
