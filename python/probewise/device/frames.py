# SPDX-License-Identifier: BSD-3-Clause
"""Frames on a device: normalised, searched for atoms, cut into patches, without coming back to the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from probewise.device.arrays import DeviceArray, as_device_array, loaded
from probewise.device.choice import choose_device


class DeviceFrames:
    """The image room's work on device arrays; owns its working memory, which frames of one size share.

    device  "cuda" or "cuda:N"
    stream  address of a cudaStream_t; all work is ordered on it
    raises  ConfigurationError where the device is not there, CudaError when it fails
    """

    def __init__(self, device: str = "cuda", *, stream: int = 0) -> None:
        number = choose_device(device).number
        if number is None:
            raise ValueError(f"device is {device!r}, expected 'cuda' or 'cuda:N'")
        self.device = number
        self.stream = stream
        self._work = loaded().Imaging(number, stream)

    def network_input(self, image: object, out: object | None = None) -> tuple[DeviceArray, float, float]:
        """`image.network_input` on a device: robust range to about 0..1, not clipped.

        image    (rows, cols) float32, finite
        out      of the same shape; may be `image` itself
        returns  (image - offset) / scale, offset, scale
        raises   TypeError, ValueError for a wrong array or values that are not finite
        """
        source = self._array("image", image, np.float32, 2)
        target = self.empty(source.shape, np.float32) if out is None else self._array("out", out, np.float32, 2)
        if target.shape != source.shape or source.size == 0:
            raise ValueError(f"image has shape {source.shape}, out {target.shape}, expected the same, at least 1 x 1")
        offset, scale = self._work.network_input(source.address, *source.shape, target.address)
        return target, offset, scale

    def extract_patches(
        self, image: object, centres: object, side: int, *, subpixel: bool = False, circular: bool = False
    ) -> tuple[DeviceArray, DeviceArray]:
        """`extract_patches` on a device; shapes, types and errors are the same."""
        if side < 1:
            raise ValueError(f"side is {side}, expected at least 1 pixel")
        source = self._array("image", image, np.float32, 2)
        points = self._array("centres", centres, np.float64, 2)
        if points.shape[1] != 2 or source.size == 0:
            raise ValueError(f"centres has shape {points.shape}, image {source.shape}, expected (n, 2) and a pixel")
        count = len(points)
        out, kept = self.empty((count, side, side), np.float32), self.empty((count,), np.int64)
        found = self._work.extract_patches(
            source.address, *source.shape, points.address, count, side, subpixel, circular, out.address, kept.address
        )
        return out.first(found), kept.first(found)

    def find_atoms(self, probability: object, threshold: float = 0.5) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """`find_atoms` on a device: yx (n, 2), label (n,), score (n,)."""
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold is {threshold}, expected 0 <= threshold < 1")
        maps = self._array("probability", probability, np.float32, 3)
        count = self._work.find_atoms(maps.address, *maps.shape, threshold)
        yx, label = self.empty((count, 2), np.float64), self.empty((count,), np.int64)
        score = self.empty((count,), np.float64)
        if count:
            self._work.take_atoms(yx.address, label.address, score.address)
        return yx, label, score

    def to_device(self, array: np.ndarray) -> DeviceArray:
        """A copy of a NumPy array on this device and stream."""
        return DeviceArray.from_host(array, device=self.device, stream=self.stream)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return DeviceArray.empty(shape, dtype, device=self.device, stream=self.stream)

    def _array(self, name: str, value: object, dtype: Any, rank: int) -> DeviceArray:
        return as_device_array(name, value, dtype, rank, device=self.device, stream=self.stream)
