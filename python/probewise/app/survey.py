# SPDX-License-Identifier: BSD-3-Clause
"""`probewise survey`: one low-dose frame, what it masks, and its components to choose from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probewise.app import panels
from probewise.app.files import replace_with, write_atomically
from probewise.errors import ConfigurationError
from probewise.types import RasterROI

if TYPE_CHECKING:
    from probewise.experiment import Configuration
    from probewise.types import Frame

FILES = ("config.toml", "survey.npz", "survey.png", "components.png")


def take(configuration: Configuration) -> dict[str, Any]:
    """Take the frame and fill the folder `run.out`; return what was found.

    raises  ConfigurationError for a replay or `survey.shape = "none"`, which have no survey
    """
    from probewise.experiment.folder import make_folder
    from probewise.experiment.survey import survey_only

    if configuration.run.replay or configuration.survey.shape == "none":
        raise ConfigurationError("survey.shape: got no survey, expected [rows, cols] and no replay")
    directory = make_folder(configuration.run.out, configuration.instrument.uri, configuration.run.seed)
    write_atomically(directory / "config.toml", configuration.to_toml().encode())
    taken = survey_only(configuration)
    frame = taken.frame
    assert frame is not None
    class_map = np.asarray(taken.masks["class_map"])
    _store(frame, taken.masks, directory / "survey.npz")
    _draw(frame, class_map, directory / "survey.png")
    notices = [*frame.notices, *taken.notices, *_components(configuration, frame, directory / "components.png")]
    return {
        "schema": 1,
        "uri": configuration.instrument.uri,
        "shape": list(frame.shape),
        "pixel_nm": list(frame.pixel_nm),
        "masked": {mask: float((class_map == code).mean()) for code, mask in enumerate(panels.MASKS, start=1)},
        "sites": int(taken.sites.size),
        "free": int((~taken.excluded).sum()),
        "files": [str(path) for name in FILES if (path := directory / name).exists()],
        "notices": notices,
    }


def as_text(found: dict[str, Any]) -> list[str]:
    masked = ", ".join(f"{name} {share:.1%}" for name, share in found["masked"].items())
    rows, cols = found["shape"]
    return [
        f"{found['uri']}: {rows} x {cols} px of {panels.number(found['pixel_nm'][1])} nm",
        f"masked  {masked}; {found['free']} of {found['sites']} sites are free",
        *(f"notice  {text}" for text in found["notices"]),
        *found["files"],
    ]


def survey(configuration: Configuration, *, as_json: bool) -> int:
    found = take(configuration)
    print(json.dumps(found) if as_json else "\n".join(as_text(found)))
    return 0


def _store(frame: Frame, masks: dict[str, Any], path: Path) -> None:
    """counts (rows, cols), pixel_nm (y, x), class_map (rows, cols), and each mask (sites,) by name."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, counts=frame.image(), pixel_nm=np.array(frame.pixel_nm), **masks)

    replace_with(path, write)


def _components(configuration: Configuration, frame: Frame, path: Path) -> list[str]:
    """The components of the survey's own windows; a field too uniform for any is a notice."""
    from probewise.descriptors import LinearWorkflow, component_picture

    tiles = _tiles(frame)
    window = max(16, min(tiles[0].shape) // 4) // 2 * 2
    workflow = LinearWorkflow(
        window_px=window, step_px=window // 2, components=configuration.descriptor.components, component="max-variance"
    )
    try:
        descriptions = [workflow.describe(tile) for tile in tiles]
        report = workflow.fit(descriptions, seed=configuration.run.seed)
    except ValueError as problem:
        return [f"components.png was not drawn: {problem}"]
    component_picture(descriptions, tiles, workflow, path)
    return list(report.notices)


def _tiles(frame: Frame, side: int = 4) -> list[Frame]:
    """The survey as `side` x `side` frames of its parts, the places where extreme windows are looked for."""
    image = frame.image()
    rows, cols = (size // side for size in frame.shape)
    tiles = []
    for row in range(side):
        for col in range(side):
            part = np.ascontiguousarray(image[row * rows : (row + 1) * rows, col * cols : (col + 1) * cols])
            centre = ((row + 0.5) * rows / frame.shape[0], (col + 0.5) * cols / frame.shape[1])
            size = (rows / frame.shape[0], cols / frame.shape[1])
            scan = RasterROI((rows, cols), 1, centre, size)
            tiles.append(dataclasses.replace(frame, counts=part[None], scan=scan, valid=rows * cols))
    return tiles


def _draw(frame: Frame, class_map: np.ndarray, path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from probewise.app.report import DPI, STYLE, encoded, rendered

    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5.4), dpi=DPI, layout="constrained")
        image = frame.image()
        low, high = (float(value) for value in np.nanpercentile(image, (0.5, 99.5)))
        height, width = frame.context.fov_nm
        edges = (0.0, width, height, 0.0)
        for axes, title in zip(figure.subplots(1, 2), ("Survey", "Survey and masks"), strict=True):
            shown = axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=edges, interpolation="antialiased")
            axes.set(title=title, xlabel="x (nm)", ylabel="y (nm)")
            panels.scale_bar(axes, width)
        panels.colour_bar(axes, shown, "counts")
        overlay = np.zeros((*class_map.shape, 4))
        handles, labels = [], []
        for code, (name, colour) in enumerate(panels.MASKS.items(), start=1):
            overlay[class_map == code] = to_rgba(colour, 0.45)
            handles.append(Patch(facecolor=colour, alpha=0.6))
            labels.append(f"{name} ({(class_map == code).mean():.1%})")
        axes.imshow(overlay, extent=edges, interpolation="nearest")
        panels.below(axes, handles, labels, columns=4)
        write_atomically(path, encoded(rendered(figure)))
