# SPDX-License-Identifier: BSD-3-Clause
"""A run as one HDF5 file in HyperSpy's tree: `hyperspy.api.load` gives the frames, the survey and the maps.

source  HyperSpy's published description of the hspy format, version 3
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.app.facts import summary_of
from probewise.app.files import replace_with
from probewise.app.panels import unit
from probewise.errors import ConfigurationError
from probewise.types import SiteLattice

if TYPE_CHECKING:
    from probewise.experiment import Run

FORMAT_VERSION = "3.3"


@dataclass(frozen=True)
class Axis:
    """One uniform axis of a signal; `offset` is the coordinate of its first entry's centre."""

    name: str
    size: int
    scale: float = 1.0
    offset: float = 0.0
    units: str = ""
    navigate: bool = False


def export_hspy(run: Run, path: Path) -> Path:
    """Write frames, survey and posterior of `run` to `path` (.hspy), whole or not at all.

    raises  ConfigurationError when `path` does not end in .hspy; StorageError when it cannot be written
    """
    if path.suffix != ".hspy":
        raise ConfigurationError(f"OUT: got {path.name}, expected a name that ends in .hspy")
    replace_with(path, lambda temporary: _write(run, temporary))
    return path


def _write(run: Run, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        file.attrs["file_format_version"] = FORMAT_VERSION
        experiments = file.create_group("Experiments")
        if len(run.frames):
            _frames(run, experiments)
        if run.survey is not None:
            _survey(run, experiments)
        _posterior(run, experiments)


def _frames(run: Run, experiments: Any) -> None:
    first = run.frames[0]
    channels = len(first.channels)
    rows, cols = first.shape
    shape = (len(run.frames), *([channels] if channels > 1 else []), rows, cols)
    axes = [Axis("visit", len(run.frames), navigate=True)]
    if channels > 1:
        axes.append(Axis("channel", channels, navigate=True))
    calibrated = _calibrated(run)
    pixel = first.pixel_nm if calibrated else (1.0, 1.0)
    units = unit(run)
    axes += [Axis("y", rows, pixel[0], units=units), Axis("x", cols, pixel[1], units=units)]
    signal = _signal(experiments, "sites", axes, run, channels=first.channels)
    data = signal.create_dataset(
        "data", shape, np.float32, chunks=(*(1 for _ in shape[:-2]), rows, cols), compression="gzip"
    )
    for visit in range(len(run.frames)):
        frame = run.frames[visit]
        if frame.shape != (rows, cols) or len(frame.channels) != channels:
            raise ConfigurationError(
                f"frames: visit {visit} has shape {frame.shape}, expected that of the first, {(rows, cols)}"
            )
        images = np.stack([frame.image(channel) for channel in range(channels)])
        data[visit] = images if channels > 1 else images[0]


def _survey(run: Run, experiments: Any) -> None:
    frame = run.survey
    assert frame is not None
    pixel = frame.pixel_nm
    axes = [
        Axis(name, size, step, step / 2, "nm") for name, size, step in zip(("y", "x"), frame.shape, pixel, strict=True)
    ]
    signal = _signal(experiments, "survey", axes, run, channels=frame.channels)
    signal.create_dataset("data", data=frame.image(), compression="gzip")


def _posterior(run: Run, experiments: Any) -> None:
    if not isinstance(run.sites, SiteLattice):
        return  # sites of a list form no image; AE holds their values
    shape = run.candidates
    units = unit(run)
    steps = [side / size for side, size in zip(run.sites.fov_nm, shape, strict=True)]
    axes = [Axis(name, size, step, step / 2, units) for name, size, step in zip(("y", "x"), shape, steps, strict=True)]
    for title, values in (("posterior mean", run.mean), ("posterior standard deviation", run.std)):
        signal = _signal(experiments, title, axes, run, channels=())
        signal.create_dataset("data", data=np.asarray(values, dtype=np.float64).reshape(shape))


def _calibrated(run: Run) -> bool:
    return not run.source.startswith("replay:")


def _signal(experiments: Any, title: str, axes: Sequence[Axis], run: Run, *, channels: Sequence[str]) -> Any:
    """A signal's group with axes and metadata; `package` stays empty, since it would name one with signal classes."""
    group = experiments.create_group(title)
    group.attrs["package"] = ""
    group.attrs["package_version"] = ""
    for number, axis in enumerate(axes):
        stored = group.create_group(f"axis-{number}")
        stored.attrs["_type"] = "UniformDataAxis"
        stored.attrs["name"] = axis.name
        stored.attrs["size"] = axis.size
        stored.attrs["scale"] = axis.scale
        stored.attrs["offset"] = axis.offset
        stored.attrs["units"] = axis.units
        stored.attrs["navigate"] = axis.navigate
        stored.attrs["is_binned"] = False
    _tree(group.create_group("metadata"), _metadata(run, title, channels))
    _tree(group.create_group("original_metadata"), {"configuration_toml": run.configuration.to_toml().splitlines()})
    group.create_group("learning_results")
    return group


def _metadata(run: Run, title: str, channels: Sequence[str]) -> dict[str, Any]:
    return {
        "General": {"title": title, "notes": f"probewise {summary_of(run)['version']}, {run.source}"},
        "Signal": {"signal_type": "", "quantity": "Counts" if channels else ""},
        "Acquisition_instrument": {"TEM": _microscope(run, channels)},
        "AE": autonomous_experiment(run),
    }


def _microscope(run: Run, channels: Sequence[str]) -> dict[str, Any]:
    """HyperSpy's keys and units: keV, nA, s."""
    tree: dict[str, Any] = {"acquisition_mode": "STEM"}
    if not _calibrated(run):
        return tree
    instrument = run.configuration.instrument
    tree["beam_energy"] = float(instrument.voltage_kV)
    if run.configuration.current_pA is not None:
        tree["beam_current"] = run.configuration.current_pA * 1e-3
    if channels:
        tree["Detector"] = {
            "names": list(channels),
            "angles_mrad": [float(angle) for angle in instrument.detector_mrad],
        }
    return tree


def autonomous_experiment(run: Run) -> dict[str, Any]:
    """The `AE` group: what was measured where, in which order and why, and what was concluded from it."""
    summary = summary_of(run)
    visited = np.asarray(run.visited, dtype=np.int64)
    length = unit(run)
    tree: dict[str, Any] = {
        "source": summary["source"],
        "seed": int(summary["seed"]),
        "policy": summary["policy"],
        "objective": summary["objective"],
        "workflow": summary["workflow"],
        "stop_reason": summary["stop_reason"],
        "sites_shape": list(run.sites.shape),
        "visited": visited,
        f"visited_yx_{length}": np.asarray(run.sites.centres_nm)[visited],
        "states": np.asarray(run.states).astype(np.int8),
        "values": np.asarray(run.values, dtype=np.float64),
        "excluded": np.asarray(run.excluded).astype(np.uint8),
        "posterior_mean": np.asarray(run.mean, dtype=np.float64),
        "posterior_std": np.asarray(run.std, dtype=np.float64),
        "component": _component(run),
        "summary_json": json.dumps(summary, indent=1).splitlines(),
        "versions": dict(run.versions),
        "journal_sha256": run.journal_hash,
    }
    if summary["dose"] is not None:
        tree["dose"] = dict(summary["dose"])
        tree["dose_map_e_per_A2"] = np.asarray(run.dose_map(), dtype=np.float64)
    return tree


def _component(run: Run) -> int:
    """The component followed at the end, -1 when none was ever fitted."""
    chosen = getattr(run, "component", None)
    return -1 if chosen is None else int(chosen)


def _tree(group: Any, tree: Mapping[str, Any]) -> None:
    """Store nested tables: tables as groups, arrays as datasets, lists under `_list_`, None as `_None_`.

    Long texts come as lists of lines: an HDF5 attribute holds 64 KiB at most.
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            _tree(group.create_group(key), value)
        elif isinstance(value, np.ndarray):
            group.create_dataset(key, data=value)
        elif isinstance(value, (list, tuple)):
            _list(group, key, list(value))
        elif value is None:
            group.attrs[key] = "_None_"
        else:
            group.attrs[key] = value


def _list(group: Any, key: str, value: list[Any]) -> None:
    import h5py

    if not value:
        group.attrs[f"_list_empty_{key}"] = "_None_"
    elif all(isinstance(item, str) for item in value):
        group.create_dataset(f"_list_{key}", data=value, dtype=h5py.string_dtype())
    else:
        group.create_dataset(f"_list_{key}", data=np.asarray(value))
