# SPDX-License-Identifier: BSD-3-Clause
"""Pictures from files: npy, png, tif, hspy and emd here; vendors' formats through RosettaSciIO (extra `read`).

Whatever is wrong with a file is one ConfigurationError that names the file, what came and what was expected.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probewise.errors import ConfigurationError
from probewise.instrument import hdf5_pictures
from probewise.instrument.raw_picture import MAX_PIXELS, RawPicture, check_size, length_in_nm, pixel_of_axes
from probewise.types import Float32Array

_FOREIGN = (".dm3", ".dm4", ".ser", ".emi", ".mrc", ".bcf", ".blo", ".tvips", ".prz", ".sur", ".zspy", ".mib")
_OWN = (".npy", ".png", ".tif", ".tiff", ".hspy", ".emd")


@dataclass(frozen=True, eq=False)
class Picture:
    """One grey picture, ready to be sampled.

    data      (rows, cols) float32 counts, finite
    pixel_nm  (y, x) size of a pixel, None when the file does not say
    notices   what was done to the data on the way
    """

    data: Float32Array
    pixel_nm: tuple[float, float] | None
    notices: tuple[str, ...] = ()


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read one grey picture and, where the file tells it, the size of a pixel.

    Integer and float values of any byte order become float32 counts; the notices say from what.
    raises  ConfigurationError for a file that is missing, unreadable, empty, damaged, too large, of an unknown
            kind, coloured, a stack of more than one frame, or holding a value that is not finite
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in _OWN + _FOREIGN:
        raise _refused(file, f"its ending is {suffix!r}", f"one of {' '.join(e[1:] for e in _OWN + _FOREIGN)}")
    _check_file(file)
    if suffix in _FOREIGN:
        raw = _guarded(file, _read_foreign)
    elif suffix == ".npy":
        raw = _guarded(file, _read_npy)
    elif suffix == ".png":
        raw = _guarded(file, _read_png)
    elif suffix in (".tif", ".tiff"):
        raw = _guarded(file, _read_tif)
    elif suffix == ".hspy":
        raw = _guarded(file, hdf5_pictures.read_hspy)
    else:
        raw = _guarded(file, hdf5_pictures.read_emd)
    return _finish(file, raw)


def _refused(file: Path, came: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{file}: {came}, expected {expected}")


def _check_file(file: Path) -> None:
    try:
        if not file.exists():
            raise _refused(file, "no such file", "a picture")
        if not file.is_file():
            raise _refused(file, "not a file", "a picture")
        size = file.stat().st_size
        with file.open("rb"):
            pass
    except OSError as error:
        raise _refused(file, f"cannot be read ({error.strerror})", "a readable picture") from error
    if size == 0:
        raise _refused(file, "an empty file", "a picture")


def _guarded(file: Path, reader: Callable[[Path], RawPicture]) -> RawPicture:
    """Readers of damaged files raise whatever they stumble over; all of it means the same to a user."""
    try:
        return reader(file)
    except ConfigurationError:
        raise
    except MemoryError as error:
        raise _refused(file, "more data than memory holds", f"at most {MAX_PIXELS} pixels") from error
    except Exception as error:
        said = " ".join(str(error).split())[:200] or "no reason given"
        raise _refused(file, f"cannot be read ({type(error).__name__}: {said})", "a whole, undamaged file") from error


def _finish(file: Path, raw: RawPicture) -> Picture:
    notices = list(raw.notices)
    data = _one_grey_frame(file, raw.data, notices)
    kind = data.dtype.kind
    if kind not in "iuf":
        raise _refused(file, f"values of type {data.dtype}", "integer or real values")
    if min(data.shape) < 2:
        raise _refused(file, f"{data.shape[0]} x {data.shape[1]} pixels", "at least 2 x 2")
    counts = np.ascontiguousarray(data, dtype=np.float32)
    bad = int(counts.size - np.count_nonzero(np.isfinite(counts)))
    if bad:
        raise _refused(file, f"{bad} of {counts.size} values not finite as float32", "finite values")
    if data.dtype != np.dtype(np.float32):
        exact = kind != "f" and bool((counts.astype(data.dtype) == data).all())
        rounding = "" if exact else ", rounded to 24 bits"
        order = " big-endian" if data.dtype.byteorder == ">" else ""
        notices.append(f"{file.name}:{order} {data.dtype.name} values taken as float32 counts{rounding}")
    if counts.min() == counts.max():
        notices.append(f"{file.name}: all values are {float(counts[0, 0]):g}")
    return Picture(counts, _usable_pixel(file, raw.pixel_nm, notices), tuple(notices))


def _usable_pixel(file: Path, pixel_nm: tuple[float, float] | None, notices: list[str]) -> tuple[float, float] | None:
    if pixel_nm is None:
        return None
    if not all(np.isfinite(side) and side > 0 for side in pixel_nm):
        notices.append(f"{file.name}: its pixel size {pixel_nm} nm makes no sense and is not used")
        return None
    return pixel_nm


def _one_grey_frame(file: Path, data: npt.NDArray[Any], notices: list[str]) -> npt.NDArray[Any]:
    if data.ndim < 2:
        raise _refused(file, f"an array of {data.ndim} axes", "a picture (rows, cols)")
    if data.ndim == 3 and data.shape[2] in (3, 4) and data.shape[0] > 1:
        return _grey_of_colour(file, data, notices)
    if data.ndim > 2:
        longest = sorted(range(data.ndim), key=lambda axis: -data.shape[axis])[:2]
        others = [data.shape[axis] for axis in range(data.ndim) if axis not in longest]
        if any(length != 1 for length in others):
            shape = " x ".join(map(str, data.shape))
            raise _refused(file, f"a stack of shape {shape}", "one frame (save the frame, or their mean)")
        return data.reshape([data.shape[axis] for axis in sorted(longest)])
    return data


def _grey_of_colour(file: Path, data: npt.NDArray[Any], notices: list[str]) -> npt.NDArray[Any]:
    colour = data[:, :, :3]
    opaque = data.shape[2] == 3 or data[:, :, 3].min() == data[:, :, 3].max()
    if not opaque or not (colour == colour[:, :, :1]).all():
        raise _refused(file, "a colour image", "grey values (a coloured rendering is not a measurement)")
    notices.append(f"{file.name}: grey values stored as colour, one channel taken")
    return colour[:, :, 0]


def _read_npy(file: Path) -> RawPicture:
    mapped = np.load(file, mmap_mode="r", allow_pickle=False)
    check_size(file, mapped.shape)
    return RawPicture(np.array(mapped))


def _read_png(file: Path) -> RawPicture:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Image.open(file, formats=["PNG"]) as image:
            check_size(file, (image.height, image.width))
            data = np.asarray(image.convert("RGBA") if image.mode in ("P", "PA", "LA") else image)
            per_inch = image.info.get("dpi")
    notices: list[str] = []
    pixel = None
    if per_inch is not None and min(per_inch) > 0:
        pixel = _printed_size(file, (25.4e6 / per_inch[1], 25.4e6 / per_inch[0]), notices)
    return RawPicture(data, pixel, tuple(notices))


def _printed_size(file: Path, pixel_nm: tuple[float, float], notices: list[str]) -> tuple[float, float] | None:
    """A resolution tag is a printer's setting unless it is finer than any printer (100 nm is 254,000 dpi)."""
    if max(pixel_nm) > 100.0 or min(pixel_nm) < 1e-4:
        return None
    notices.append(f"{file.name}: pixel size {pixel_nm[0]:.4g} x {pixel_nm[1]:.4g} nm from its resolution tag")
    return pixel_nm


def _read_tif(file: Path) -> RawPicture:
    import tifffile

    notices: list[str] = []
    with tifffile.TiffFile(file) as tif:
        if len(tif.series) == 0:
            raise _refused(file, "a tif without images", "one picture")
        series = tif.series[0]
        page = series.keyframe
        check_size(file, series.shape)
        data = np.asarray(series.asarray())
        if len(tif.series) > 1:
            notices.append(f"{file.name}: {len(tif.series)} images, the first one taken")
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            notices.append(f"{file.name}: its colour table is ignored, the stored values are taken")
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            notices.append(f"{file.name}: small values are meant as white; the stored values are taken")
        if series.axes == "SYX":
            data = np.moveaxis(data, 0, -1)
        if tif.byteorder == ">":
            notices.append(f"{file.name}: big-endian values swapped")
        pixel = _tif_pixel(file, page, tif.imagej_metadata, notices)
    return RawPicture(data, pixel, tuple(notices))


def _tif_pixel(file: Path, page: Any, imagej: dict[str, Any] | None, notices: list[str]) -> tuple[float, float] | None:
    per_unit: list[float] = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        numerator, denominator = tag.value if tag is not None else (0, 0)
        if numerator == 0 or denominator == 0:
            return None
        per_unit.append(numerator / denominator)
    unit = (imagej or {}).get("unit")
    if unit is not None:
        nm = length_in_nm(str(unit))
        if nm is None:
            return None
        notices.append(f"{file.name}: pixel size from ImageJ's unit {unit!r}")
        return (nm / per_unit[0], nm / per_unit[1])
    tag = page.tags.get("ResolutionUnit")
    nm = {2: 25.4e6, 3: 1e7}.get(int(tag.value) if tag is not None else 2)  # inch, centimetre
    if nm is None:
        return None
    return _printed_size(file, (nm / per_unit[0], nm / per_unit[1]), notices)


def _read_foreign(file: Path) -> RawPicture:
    if file.is_file() and file.stat().st_size > 8 * MAX_PIXELS:
        raise _refused(file, f"{file.stat().st_size} bytes", f"at most {8 * MAX_PIXELS}")
    try:
        specifications = importlib.import_module("rsciio").IO_PLUGINS
    except ImportError as error:
        raise _refused(
            file, f"{file.suffix} needs the extra `read`", 'it installed: pip install "probewise[read]"'
        ) from error
    ending = file.suffix.lower()[1:]
    plugins = [p for p in specifications if ending in (e.lower() for e in p["file_extensions"])]
    if not plugins:
        raise _refused(file, f"RosettaSciIO has no reader for {file.suffix}", "a file that it reads")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that is not used here
        signals = importlib.import_module(plugins[0]["api"]).file_reader(str(file))
    if not signals:
        raise _refused(file, "no data", "one picture")
    first = signals[0]
    data = np.asarray(first["data"])
    check_size(file, data.shape)
    notices = [f"{file.name}: {len(signals)} data sets, the first one taken"] if len(signals) > 1 else []
    pixel = pixel_of_axes(
        [
            (axis.get("size", n), axis.get("scale"), axis.get("units"))
            for axis, n in zip(first["axes"], data.shape, strict=True)
        ]
    )
    return RawPicture(data, pixel, tuple(notices))
