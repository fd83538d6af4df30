# SPDX-License-Identifier: BSD-3-Clause
"""How long does the panel of Nion Swift hold the thread of Swift's windows while an experiment runs?

A run of 20 steps with Swift's own test interface over Nion's simulator, every button's call and every message of the
worker timed where it runs: wall time, which a busy machine and the worker's hold on the interpreter lengthen, and the
time of the thread itself. Swift's own share, a new data item and its display, is in it. Needs the extra `nion`.

    python bench/nion_panel.py [--steps 20]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nionswift_plugin
from nion.swift import Facade, Panel
from nion.swift.model import PlugInManager
from nion.swift.test import TestContext

from probewise.experiment.recorder import machine
from probewise.instrument.nion.swift import simulator

ROOT = Path(__file__).resolve().parents[1]
TOLD = {"sites": 8, "side_nm": 10, "pixel_nm": 0.2, "dwell_us": 1, "survey_px": 512, "blanker": "C_Blank"}


class Timer:
    """Longest wall and thread time in ms, by name."""

    def __init__(self) -> None:
        self.longest: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        wall, own = time.perf_counter(), time.thread_time()
        function(*arguments)
        took = ((time.perf_counter() - wall) * 1e3, (time.thread_time() - own) * 1e3)
        self.longest[name] = [round(max(pair), 2) for pair in zip(self.longest[name], took, strict=True)]


def run(steps: int, timer: Timer) -> str:
    """One run in a window; what the panel says at its end."""
    with TestContext.create_memory_context() as context:
        controller = context.create_document_controller_with_application()
        PlugInManager.load_plug_ins(None, None, None)
        panel = PlugInManager.extensions[-1].panel
        Panel.PanelManager().create_panel_content(controller, panel.panel_id, "probewise", ["left"], "left", None)
        for name, value in {**TOLD, "steps": steps}.items():
            panel.edits[name].text = str(value)
        show = panel._show
        panel._show = lambda kind, value: timer.call(kind, show, kind, value)
        timer.call("Start pressed", panel.buttons["Start"]._widget.on_clicked)
        pressed = False
        while panel.worker.busy:
            controller.periodic()
            time.sleep(0.002)
            if not pressed and panel.status.text.startswith("step"):
                timer.call("Pause pressed", panel.buttons["Pause"]._widget.on_clicked)
                timer.call("Go on pressed", panel.buttons["Go on"]._widget.on_clicked)
                pressed = True
        controller.periodic()
        PlugInManager.unload_plug_ins()
        return str(panel.status.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    microscope = simulator("flakes")
    timer = Timer()
    try:
        nionswift_plugin.__path__ = [str(ROOT / "nionswift_plugin")]
        Facade.initialize()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            ended = run(arguments.steps, timer)
            os.chdir(ROOT)
    finally:
        microscope.release()
    results = {
        "steps": arguments.steps,
        "ended": ended.rpartition(":")[0],
        "longest_ms": {name: {"wall": wall, "thread": own} for name, (wall, own) in timer.longest.items()},
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "machine": machine(),
    }
    print(json.dumps(results, indent=2))
    (ROOT / "bench" / "results" / "nion_panel.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
