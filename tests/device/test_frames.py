# SPDX-License-Identifier: BSD-3-Clause
"""Device arrays and the image room on a device: on a GPU, or emulated where _cuda was built so."""

import numpy as np
import pytest

from on_a_device import Foreign, on_a_device
from probewise.device import DeviceArray, DeviceFrames, as_device_array, cuda_module
from probewise.errors import ConfigurationError, CudaError
from probewise.image import extract_patches, find_atoms, network_input

pytestmark = on_a_device


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
def test_arrays_go_there_and_come_back_by_either_protocol(dtype):
    array = (100 * picture(3, 4, 5)).astype(dtype)
    there = DeviceArray.from_host(array)
    np.testing.assert_array_equal(there.to_host(), array)
    for other in (Foreign(there), Foreign(there, by="dlpack"), there):
        view = as_device_array("x", other, dtype, 3)
        assert view.address == there.address
        np.testing.assert_array_equal(view.to_host(), array)
    np.testing.assert_array_equal(there.first(2).to_host(), array[:2])


def test_memory_lives_as_long_as_a_view_of_it():
    array = picture(1000)
    view = as_device_array("x", Foreign(DeviceArray.from_host(array), by="dlpack"), np.float32, 1)
    np.testing.assert_array_equal(view.to_host(), array)


def test_a_capsule_is_taken_once():
    capsule = DeviceArray.from_host(picture(4)).__dlpack__()
    cuda_module().take_dlpack(capsule)
    with pytest.raises(ValueError, match="used before"):
        cuda_module().take_dlpack(capsule)


def test_wrong_arrays_are_named():
    there = DeviceArray.from_host(picture(4, 6))
    strided = Foreign(there, strides=(48, 8), shape=(4, 3))
    for value, error, says in (
        (picture(4, 6), TypeError, "x is a ndarray, expected a device array"),
        (
            DeviceArray.from_host(np.zeros((4, 6))),
            TypeError,
            "x is a float64 device array of shape .* expected float32",
        ),
        (there.first(4), None, None),
        (DeviceArray.from_host(picture(4)), ValueError, "expected 2 axes"),
        (strided, ValueError, "x is a strided device array"),
        (Foreign(there, mask=there), ValueError, "x has a mask"),
    ):
        if isinstance(value, np.ndarray) and cuda_module().emulated():
            continue  # NumPy's own arrays are in the emulation's device memory
        if error is None:
            assert as_device_array("x", value, np.float32, 2).shape == (4, 6)
            continue
        with pytest.raises(error, match=says):
            as_device_array("x", value, np.float32, 2)
    with pytest.raises(BufferError, match="copy"):
        there.__dlpack__(copy=True)
    with pytest.raises(ValueError, match="count is 5, expected 0 to 4"):
        there.first(5)


def test_a_device_that_is_not_there():
    with pytest.raises(ConfigurationError, match="device is 'cuda:99'"):
        DeviceFrames("cuda:99")
    with pytest.raises(ValueError, match="device is 'cpu'"):
        DeviceFrames("cpu")


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (37, 50)])
def test_normalised_as_on_the_cpu(shape):
    frames, image = DeviceFrames(), 1e3 * picture(*shape) ** 4
    expected, scale = network_input(image)
    out, offset, width = frames.network_input(frames.to_device(image))
    assert offset == scale.offset
    assert width == pytest.approx(scale.scale, rel=1e-6)  # products fused or not
    np.testing.assert_allclose(out.to_host(), expected, rtol=1e-5, atol=1e-6)
    there = frames.to_device(image)
    frames.network_input(there, out=there)
    np.testing.assert_allclose(there.to_host(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_is_refused():
    frames, image = DeviceFrames(), picture(5, 5)
    image[2, 3] = np.nan
    with pytest.raises(ValueError, match="image holds values that are not finite"):
        frames.network_input(frames.to_device(image))
    with pytest.raises(ValueError, match="centres holds a number that is not finite"):
        frames.extract_patches(frames.to_device(picture(5, 5)), frames.to_device(np.array([[1.0, np.inf]])), 3)
    with pytest.raises(ValueError, match="outside 0 to 1 in row 2 of class 0"):
        frames.find_atoms(frames.to_device(image[None]))


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("subpixel", [False, True])
def test_patches_as_on_the_cpu(subpixel, circular):
    frames, image = DeviceFrames(), picture(21, 17)
    centres = np.random.default_rng(1).uniform(-2, 22, (30, 2))
    expected, kept = extract_patches(image, centres, 5, subpixel=subpixel, circular=circular)
    patches, which = frames.extract_patches(
        frames.to_device(image), frames.to_device(centres), 5, subpixel=subpixel, circular=circular
    )
    np.testing.assert_array_equal(which.to_host(), kept)
    np.testing.assert_allclose(patches.to_host(), expected, rtol=1e-6)  # products fused or not


def test_atoms_as_on_the_cpu():
    frames, maps = DeviceFrames(), picture(2, 19, 23)
    for threshold in (0.2, 0.6, 0.99999):
        expected = find_atoms(maps, threshold)
        yx, label, score = frames.find_atoms(frames.to_device(maps), threshold)
        np.testing.assert_array_equal(label.to_host(), expected.label)
        np.testing.assert_allclose(yx.to_host(), expected.yx, rtol=1e-12)  # sums in another order
        np.testing.assert_allclose(score.to_host(), expected.score, rtol=1e-12)


def test_a_lost_device_is_a_cuda_error():
    if not cuda_module().emulated():
        pytest.skip("a device cannot be lost on purpose")
    frames = DeviceFrames()
    image = frames.to_device(picture(8, 8))
    cuda_module().lose_device_after(3)
    try:
        with pytest.raises(CudaError, match="lost by a test"):
            frames.network_input(image)
    finally:
        cuda_module().lose_device_after(-1)
