# SPDX-License-Identifier: BSD-3-Clause
"""Pictures in HDF5 files: HyperSpy's hspy, and the two kinds of emd (Velox, and Berkeley's open one).

A cut or foreign file is refused; one whose inner structure was overwritten in place can crash libhdf5 itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError
from probewise.instrument.raw_picture import RawPicture, check_size, length_in_nm, pixel_of_axes


def read_hspy(file: Path) -> RawPicture:
    """The first signal of a HyperSpy file, with the scale of its axes."""
    import h5py

    with h5py.File(file, "r") as store:
        experiments = store.get("Experiments")
        names = [n for n in experiments or () if "data" in experiments[n]]
        if not names:
            raise ConfigurationError(f"{file}: no signal under Experiments, expected a HyperSpy file")
        signal = experiments[names[0]]
        check_size(file, signal["data"].shape)
        data = np.asarray(signal["data"][()])
        axes = [signal[f"axis-{i}"].attrs for i in range(data.ndim) if f"axis-{i}" in signal]
        pixel = pixel_of_axes(
            [(n, a.get("scale"), _text(a.get("units"))) for n, a in zip(data.shape, axes, strict=False)]
        )
    return RawPicture(data, pixel, _choice(file, "signals", names))


def read_emd(file: Path) -> RawPicture:
    """One image of an emd file, Velox's (Data/Image) or Berkeley's (groups marked emd_group_type 1)."""
    import h5py

    with h5py.File(file, "r") as store:
        if "Data/Image" in store and len(store["Data/Image"]):
            return _velox(file, store["Data/Image"])
        groups: list[Any] = []

        def collect(_name: str, item: Any) -> None:
            if isinstance(item, h5py.Group) and item.attrs.get("emd_group_type") == 1 and "data" in item:
                groups.append(item)

        store.visititems(collect)
        if not groups:
            raise ConfigurationError(f"{file}: no image in it, expected an emd file of Velox or of the Berkeley kind")
        return _berkeley(file, groups)


def _velox(file: Path, images: Any) -> RawPicture:
    """Frames lie on the last axis; the calibration is JSON in a padded byte column per frame."""
    described = {name: _velox_metadata(images[name]) for name in images}
    detectors = {name: str(d.get("Detector", name)) for name, d in described.items()}
    names = sorted(images, key=lambda name: (not detectors[name].upper().startswith("HAADF"), detectors[name]))
    chosen = images[names[0]]["Data"]
    check_size(file, chosen.shape)
    described_by = described[names[0]]
    pixel = None
    size = described_by.get("PixelSize", {})
    nm = [length_in_nm(str(described_by.get(key, ""))) for key in ("PixelUnitY", "PixelUnitX")]
    if nm[0] is not None and nm[1] is not None and {"height", "width"} <= set(size):
        pixel = (float(size["height"]) * nm[0], float(size["width"]) * nm[1])
    data = np.asarray(chosen[()])
    if data.ndim == 3 and data.shape[2] == 1:
        data = data[:, :, 0]
    elif data.ndim == 3:
        data = np.moveaxis(data, 2, 0)
    return RawPicture(data, pixel, _choice(file, "images", [detectors[name] for name in names]))


def _velox_metadata(group: Any) -> dict[str, Any]:
    if "Metadata" not in group:
        return {}
    column = np.asarray(group["Metadata"][:, 0], dtype=np.uint8).tobytes()
    result = json.loads(column.split(b"\0", 1)[0].decode("utf-8")).get("BinaryResult", {})
    return result if isinstance(result, dict) else {}


def _berkeley(file: Path, groups: list[Any]) -> RawPicture:
    group = groups[0]
    check_size(file, group["data"].shape)
    data = np.asarray(group["data"][()])
    axes: list[tuple[int, Any, Any]] = []
    names = []
    for axis, length in enumerate(data.shape, start=1):
        dimension = group.get(f"dim{axis}")
        steps = np.diff(np.asarray(dimension[()], dtype=np.float64)) if dimension is not None else np.empty(0)
        names.append(_text(dimension.attrs.get("name")) if dimension is not None else None)
        even = steps.size > 0 and bool(np.allclose(steps, steps[0], rtol=1e-3))
        unit = _text(dimension.attrs.get("units")) if dimension is not None else None
        axes.append((length, steps[0] if even else None, unit.strip("[]").replace("_", "") if unit else None))
    if names == ["x", "y"]:  # HyperSpy writes the axes in this order, the format's own tools in the other
        data, axes = data.T, axes[::-1]
    return RawPicture(data, pixel_of_axes(axes), _choice(file, "images", [g.name for g in groups]))


def _choice(file: Path, what: str, names: list[str]) -> tuple[str, ...]:
    if len(names) < 2:
        return ()
    return (f"{file.name}: {len(names)} {what} ({', '.join(names)}), {names[0]} taken",)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
