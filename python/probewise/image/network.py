# SPDX-License-Identifier: BSD-3-Clause
"""What a network is shown: a frame on the pixel grid and the intensity range that it was trained for."""

from __future__ import annotations

import math

import numpy as np

from probewise._core import image as _image
from probewise.errors import ConfigurationError
from probewise.image.intensity import IntensityScale, check_image
from probewise.inference import Card
from probewise.types import Float32Array, Frame

Pixel = float | tuple[float, float]


def network_input(image: Float32Array, out: Float32Array | None = None) -> tuple[Float32Array, IntensityScale]:
    """Robust range to about 0..1 that does not turn the noise of an empty frame into atoms; not clipped.

    offset = percentile 0.5; scale = the larger of the distance to percentile 99.5 and eight deviations of the noise,
    the latter by the kernel of Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300, as median(|.|)/0.6745; scale 1
    where both are 0.

    image    (rows, cols) float32, C-contiguous, finite
    out      of the same shape and type; may be `image` itself
    returns  (image - offset) / scale, and the scale
    raises   TypeError, ValueError for a wrong array or values that are not finite
    """
    if out is None:
        out = np.empty_like(image)
    offset, scale = _image.network_input(image, out)
    return out, IntensityScale(offset, scale)


def resample(image: Float32Array, shape: tuple[int, int], out: Float32Array | None = None) -> Float32Array:
    """The image on another grid over the same area, edge to edge.

    Along each axis the exact mean over a new pixel where it shrinks, linear interpolation between pixel centres
    (clamped at the edges) where it grows: old coordinate = (new + 0.5) * old length / new length - 0.5.

    image    (rows, cols) float32, C-contiguous, finite
    shape    (rows, cols) of the result, each at least 1
    out      of that shape, float32
    raises   TypeError, ValueError for a wrong array or shape, or `out` overlapping
    """
    if min(shape) < 1:
        raise ValueError(f"shape is {shape}, expected (rows, cols) of at least 1")
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.shape != tuple(shape):
        raise ValueError(f"out has shape {out.shape}, expected {tuple(shape)}")
    elif np.may_share_memory(out, image):
        raise ValueError("out overlaps image, expected memory of its own")
    _image.resample(image, out)
    return out


def counts_of(image: Float32Array | Frame, pixel_nm: Pixel | None) -> tuple[Float32Array, tuple[float, float] | None]:
    """The array and its (y, x) pixel size, None where it has none; a Frame's first channel and its own pixel.

    raises  TypeError, ValueError for a wrong image or pixel size
    """
    if isinstance(image, Frame):
        own = image.pixel_nm
        image = np.ascontiguousarray(image.image())
        pixel_nm = own if pixel_nm is None else pixel_nm
    check_image(image)
    if min(image.shape) < 3:
        raise ValueError(f"image has shape {image.shape}, expected at least 3 x 3")
    if pixel_nm is None:
        return image, None
    pixel: tuple[float, ...] = pixel_nm if isinstance(pixel_nm, tuple) else (pixel_nm, pixel_nm)
    if len(pixel) != 2 or not all(math.isfinite(size) and size > 0 for size in pixel):
        raise ValueError(f"pixel_nm is {pixel_nm}, expected one or two positive finite numbers")
    return image, (pixel[0], pixel[1])


def native_shape(shape: tuple[int, ...], pixel: tuple[float, float] | None, card: Card) -> tuple[int, int]:
    """Shape of a frame at the native pixel size of a model; its own where the frame or the card has no pixel size.

    raises  ConfigurationError for a pixel size outside the card's range
    """
    known = card.pixel_nm
    if known is None or pixel is None:
        return shape[0], shape[1]
    for size in pixel:
        if not known.low * (1 - 1e-6) <= size <= known.high * (1 + 1e-6):
            raise ConfigurationError(
                f"pixel_nm is {pixel[0]:g} x {pixel[1]:g}, expected {known.low:g} to {known.high:g} nm, the range "
                f"of model {card.name}"
            )
    return max(1, round(shape[0] * pixel[0] / known.native)), max(1, round(shape[1] * pixel[1] / known.native))


def normalised(image: Float32Array, how: str) -> Float32Array:
    """The image as a card's `normalisation` wants it."""
    if how == "robust":
        return network_input(image)[0]
    if how == "none":
        return image
    low, high = float(image.min()), float(image.max())
    return ((image - np.float32(low)) / np.float32(high - low if high > low else 1.0)).astype(np.float32, copy=False)


def activated(values: Float32Array, activation: str) -> Float32Array:
    """(channels, rows, cols) probabilities; where the graph applied nothing, sigmoid of one channel, else softmax."""
    if activation in ("sigmoid", "softmax"):
        return values
    if activation == "log_softmax":
        return np.minimum(np.exp(values), np.float32(1.0))
    if len(values) == 1:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), dtype=np.float32)
    raised = np.exp(values - values.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0), dtype=np.float32)
