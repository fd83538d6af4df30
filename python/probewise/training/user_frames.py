# SPDX-License-Identifier: BSD-3-Clause
"""A user's frames and labels from files."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probewise.errors import ConfigurationError
from probewise.instrument import read_picture
from probewise.training.given import UNKNOWN, Given
from probewise.types import FloatArray, IntArray

_SQUARE = 0.01  # relative, by which the sides of a pixel may differ


def read_frames(
    paths: Sequence[Path], classes: Sequence[str], *, pixel_nm: float | None, labels: Path | None
) -> list[Given]:
    """Each file, and each of a folder, in order of their names.

    pixel_nm  of all frames; None: as the files say
    labels    a CSV file for one frame, or a folder with NAME.csv for frames called NAME; others have no labels
    raises    ConfigurationError for a frame without a pixel size, a file that cannot be read, or labels without frame
    """
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise ConfigurationError(f"--frames: got {', '.join(map(str, paths))}, expected pictures")
    tables = _tables(files, labels)
    out = []
    for file in files:
        picture = read_picture(file)
        pixel = pixel_nm
        if pixel is None:
            if picture.pixel_nm is None:
                raise ConfigurationError(f"--pixel-nm: got nothing and {file} does not say it, expected nm per pixel")
            high, wide = picture.pixel_nm
            if not math.isclose(high, wide, rel_tol=_SQUARE):
                raise ConfigurationError(f"{file}: pixels of {high:g} nm x {wide:g} nm, expected square ones")
            pixel = high
        yx, label = (None, None) if file not in tables else read_labels(tables[file], classes)
        out.append(Given(file.stem, np.ascontiguousarray(picture.data), pixel, yx, label))
    return out


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.is_file() and one.suffix.lower() not in (".csv", ".json"))
    return [path]


def _tables(files: Sequence[Path], labels: Path | None) -> dict[Path, Path]:
    """The table of each frame that has one."""
    if labels is None:
        return {}
    if not labels.is_dir():
        if len(files) != 1:
            raise ConfigurationError(f"--labels: got one file for {len(files)} frames, expected a folder with NAME.csv")
        return {files[0]: labels}
    found = {file: labels / f"{file.stem}.csv" for file in files if (labels / f"{file.stem}.csv").exists()}
    if not found:
        raise ConfigurationError(f"--labels: {labels} has no {files[0].stem}.csv, expected a table called as a frame")
    return found


def read_labels(path: Path, classes: Sequence[str]) -> tuple[FloatArray, IntArray]:
    """yx (n, 2) px and label (n,), UNKNOWN without a column `class`, from a CSV file with the columns y, x[, class].

    raises  ConfigurationError for a column that is missing, a place that is no number, or a class of another model
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = [{str(key).strip().lower(): value for key, value in row.items()} for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ConfigurationError(f"{path}: cannot be read ({problem}), expected a CSV file") from problem
    yx, label = [], []
    for number, row in enumerate(rows, start=2):
        try:
            place = float(row["y"]), float(row["x"])
        except (KeyError, TypeError, ValueError) as problem:
            raise ConfigurationError(f"{path}: line {number} is {row}, expected numbers under y and x") from problem
        name = (row.get("class") or "").strip()
        if not all(map(math.isfinite, place)) or (name and name not in classes):
            raise ConfigurationError(f"{path}: line {number} is {row}, expected a class of {', '.join(classes)}")
        yx.append(place)
        label.append(classes.index(name) if name else UNKNOWN)
    return np.array(yx, dtype=np.float64).reshape(-1, 2), np.array(label, dtype=np.int64)
